"""Plan files: written whole, and nothing in one is trusted."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import re
import resource
import struct
import subprocess
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kvmplan.cli import planfile, run
from kvmplan.cli.inputs import options_json
from kvmplan.diagnostics import Failure
from kvmplan.kinds.skeletons import SOURCE_TREE
from kvmplan.plan import saved
from kvmplan.plan.options import PlanOptions
from kvmplan.plan.saved import MANIFEST, MEMBERS, BadPlanFile
from kvmplan.spec.stored import dump, fingerprint
from kvmplan.views.gitstate import GitState
from kvmplan.views.plan_json import digest, plan_id, plan_json
from tests.unit.fakehost import FakeHost, planned
from tests.unit.test_random_plans import loaded
from tests.unit.test_views_plan import rich_plan

CONTENT = {name: {"of": name} for name in MEMBERS}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "p.plan"
    saved.write(path, CONTENT)
    return path


def code_of(path: Path) -> str:
    with pytest.raises(BadPlanFile) as caught:
        saved.read(path)
    return caught.value.code


def test_what_is_written_is_read(file: Path) -> None:
    assert saved.read(file)[0] == CONTENT
    assert saved.is_plan_file(file)


def test_only_its_owner_may_read_it(file: Path) -> None:
    assert file.stat().st_mode & 0o777 == 0o600


def test_the_same_plan_makes_the_same_bytes(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.plan"
    saved.write(other, CONTENT)
    assert other.read_bytes() == file.read_bytes()


def test_nothing_is_left_where_it_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        saved.write(tmp_path / "missing" / "p.plan", CONTENT)
    assert list(tmp_path.iterdir()) == []


def test_an_earlier_plan_and_an_empty_file_are_replaced(file: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty.plan"
    empty.touch()
    for path in (file, empty):
        saved.write(path, {**CONTENT, "plan.json": "newer"})
        assert saved.read(path)[0]["plan.json"] == "newer"


def test_a_link_is_followed(file: Path, tmp_path: Path) -> None:
    for name in ("p.plan", "not-there-yet.plan"):
        link = tmp_path / f"link-to-{name}"
        link.symlink_to(name)
        saved.write(link, {**CONTENT, "plan.json": "newer"})
        assert link.is_symlink()
        assert saved.read(tmp_path / name)[0]["plan.json"] == "newer"


def _no_plan(kind: str, path: Path) -> None:
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "directory":
            path.mkdir()
        case "link to a pipe":
            os.mkfifo(path.with_name("pipe"))
            path.symlink_to("pipe")
        case "link to itself":
            path.symlink_to(path.name)
        case "specs":
            path.write_text("stack: {}")
        case "another zip":
            rewritten(path, **{"photos.txt": "mine", MANIFEST: "{}"})


@pytest.mark.parametrize(
    "kind", ["pipe", "directory", "link to a pipe", "link to itself", "specs", "another zip"]
)
def test_nothing_but_a_plan_is_replaced(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x"
    _no_plan(kind, path)
    before = path.lstat()
    with pytest.raises(saved.NotReplaced):
        saved.write(path, CONTENT)
    assert run(["plan", str(tmp_path / "no-specs"), "--out", str(path)]) == 1
    assert "error[KVP315]: cannot write" in capsys.readouterr().err
    after = path.lstat()
    kept = (before.st_ino, before.st_mode, before.st_size, before.st_mtime_ns)
    assert (after.st_ino, after.st_mode, after.st_size, after.st_mtime_ns) == kept
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("size", [2, 30, 200, 400])
def test_a_truncated_file_is_damaged(file: Path, size: int) -> None:
    file.write_bytes(file.read_bytes()[:size])
    assert code_of(file) == "KVP311"


def test_every_damaged_byte_is_noticed_or_harmless(file: Path) -> None:
    whole = file.read_bytes()
    for position in range(0, len(whole), 7):
        broken = bytearray(whole)
        broken[position] ^= 0xFF
        file.write_bytes(bytes(broken))
        with contextlib.suppress(BadPlanFile):
            assert saved.read(file)[0] == CONTENT


def rewritten(path: Path, **members: str) -> None:
    """A zip with these members, made by somebody else."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name, text)


def test_a_forged_member_is_noticed(file: Path) -> None:
    with zipfile.ZipFile(file) as archive:
        texts = {name: archive.read(name).decode() for name in archive.namelist()}
    texts["plan.json"] = '{"of": "an enemy"}'
    rewritten(file, **texts)
    assert code_of(file) == "KVP311"


def test_another_version_is_named(file: Path) -> None:
    with zipfile.ZipFile(file) as archive:
        texts = {name: archive.read(name).decode() for name in archive.namelist()}
    texts[MANIFEST] = json.dumps({**json.loads(texts[MANIFEST]), "format": 99})
    rewritten(file, **texts)
    assert code_of(file) == "KVP312"


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "extra.json"])
def test_members_of_other_names_are_refused(file: Path, name: str) -> None:
    rewritten(file, **dict.fromkeys((MANIFEST, *MEMBERS, name), "{}"))
    assert code_of(file) == "KVP310"


def test_a_bomb_is_not_unpacked(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saved, "LARGEST", 1000)
    rewritten(file, **dict.fromkeys((MANIFEST, *MEMBERS), "0" * 100000))
    assert code_of(file) == "KVP311"


def test_a_bomb_with_a_forged_size_is_not_unpacked(file: Path) -> None:
    size, told = 300 * 2**20, 1000
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in MEMBERS:
            archive.writestr(name, "{}")
        with archive.open(MANIFEST, "w") as member:
            for _ in range(size // 2**20):
                member.write(b"0" * 2**20)
    whole = file.read_bytes()
    file.write_bytes(whole.replace(struct.pack("<L", size), struct.pack("<L", told)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert code_of(file) == "KVP311"
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < size // 2


def test_a_member_that_is_there_twice_is_refused(file: Path) -> None:
    with zipfile.ZipFile(file, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("plan.json", "{}")
    assert code_of(file) == "KVP310"


@pytest.mark.parametrize("member", MEMBERS)
@pytest.mark.parametrize("content", [None, [], 5, "x", {}, {"stack": 5}, [[]] * 10])
def test_a_member_of_another_shape_is_damage(member: str, content: object, tmp_path: Path) -> None:
    file = tmp_path / "p.plan"
    good = a_plan()
    saved.write(file, good)
    assert planfile.load(file).plan.stack_name == "prod"
    saved.write(file, {**good, member: content})
    with pytest.raises(Failure) as caught:
        planfile.load(file)
    assert [item.code for item in caught.value.diagnostics] == ["KVP311"]


def a_plan() -> dict[str, Any]:
    """The members of a plan file with something of everything in it."""
    specs = {
        "networks": {"lan": {"ips": [{"address": "10.0.0.1/24"}]}},
        "domains": {
            "a": {"memory": "1GiB", "vcpus": 1, "interfaces": {"eth0": {"network": "lan"}}},
            "b": {"depends_on": ["domain.a"], "lifecycle": {"prevent_destroy": True}},
        },
    }
    made = planned(loaded(specs), FakeHost())
    rich = rich_plan()
    changes = (*made.plan.changes, *(it for it in rich.changes if it.address.kind != "network"))
    plan = replace(rich, changes=changes)
    dumped = dump(made.births.desired)
    options = options_json(PlanOptions(targets=("domain.*",), allow_data_loss=("volume.*",)))
    inputs = {"specs": fingerprint(dumped), "templates": None, "options": options}
    document = plan_json(plan, GitState("abc", "main", dirty=True), inputs)
    origin = {"path": "/specs", "origin": "git.example/lab"}
    contents = (document, dumped, origin)
    return json.loads(json.dumps(dict(zip(MEMBERS, contents, strict=True))))  # type: ignore[no-any-return]


UNBOUND = re.compile(
    r"plan\.json\.(created|git|busy|diagnostics|resource_(changes|drift)\.\d+\.source)\b"
    r"|origin\.json\.(path|origin)"
    r"|desired\.json\.(sources|resources\.\d+\.(places?|(depends_on|references)\.\d+\.2))\b"
)
"""What a plan's digest is not of: when, where and in which lines; what one machine cannot read."""


def spots(value: Any, name: str = "") -> Iterator[tuple[Any, Any, str]]:
    """Every place in a JSON value: what holds it, its key there, and its name."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        here = f"{name}.{key}" if name else str(key)
        yield value, key, here
        if isinstance(inner, dict | list):
            yield from spots(inner, here)


def test_whatever_is_forged_is_refused(tmp_path: Path) -> None:
    """A reviewer approves a digest: nothing may be put under it that it is not of."""
    file = tmp_path / "p.plan"
    good = a_plan()
    saved.write(file, good)
    approved, whole = good["plan.json"]["digest"], planfile.load(file).file_digest
    assert planfile.load(file, expected=approved).file_digest == whole
    assert planfile.load(file, expected=whole).document == good["plan.json"]
    bound = loose = 0
    for number in range(len(list(spots(good)))):
        forged = copy.deepcopy(good)
        holder, key, name = list(spots(forged))[number]
        if holder is forged:
            continue
        holder[key] = "forged" if isinstance(holder[key], str | None) else {"forged": 1}
        saved.write(file, forged)
        with pytest.raises(Failure) as caught:
            planfile.load(file, expected=whole, secrets=False)
        assert {item.code for item in caught.value.diagnostics} <= {"KVP302", "KVP311"}, name
        if UNBOUND.match(name):
            loose += 1
            continue
        with pytest.raises(Failure) as caught:
            planfile.load(file, expected=approved, secrets=False)
        assert {item.code for item in caught.value.diagnostics} <= {"KVP302", "KVP311"}, name
        bound += 1
    assert bound > 500, bound
    assert 10 < loose < bound


def test_no_secret_of_another_plan_is_read(tmp_path: Path) -> None:
    """It may be a command: whoever wrote it into the file waits for somebody to apply that."""
    file, ran = tmp_path / "p.plan", tmp_path / "ran"
    good = a_plan()
    approved = good["plan.json"]["digest"]
    fields = good["desired.json"]["resources"][0]["fields"]
    fields["title"] = {"!secret": {"command": ["touch", str(ran)]}}
    saved.write(file, good)
    for rehashed in (False, True):
        if rehashed:
            document = good["plan.json"]
            document["inputs"]["specs"] = fingerprint(good["desired.json"])
            document["digest"] = digest(document)
            document["plan_id"] = plan_id(document)
            saved.write(file, good)
        with pytest.raises(Failure) as caught:
            planfile.load(file, expected=approved)
        codes = [item.code for item in caught.value.diagnostics]
        assert codes == ["KVP302" if rehashed else "KVP311"]
    assert not ran.exists()


def test_a_digest_is_not_of_places_and_comments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (
        "stack: {name: a, uid: 5c9ad3fe-5a0c-4b74-8f4c-6c1e9a6f0a01}\n"
        "networks: {n: {forward: nat}}\n"
        "domains: {d: {interfaces: {e: {network: n}}}}\n"
    )
    edited = "# a comment\n\n" + text.replace("domains:", "# another\ndomains:")
    texts = {"one": text, "two/deep": edited}
    seen: dict[tuple[str, str], str] = {}
    for name, content in texts.items():
        folder = tmp_path / name
        (folder / "specs").mkdir(parents=True)
        (folder / "specs" / f"{len(seen)}.yaml").write_text(content)
        if seen:
            subprocess.run(["git", "init", "-q", str(folder)], check=True)
        for where, path in ((folder, "specs"), (tmp_path, f"{name}/specs")):
            monkeypatch.chdir(where)
            file = tmp_path / "p.plan"
            flags = [path, "--connect", "test:///default"]
            assert run(["plan", *flags, "--format", "json", "--out", str(file)]) == 0
            document = json.loads(capsys.readouterr().out)
            assert planfile.load(file).document["digest"] == document["digest"]
            seen[name, path] = document["digest"]
    assert len(seen) == 4
    assert len(set(seen.values())) == 1, seen
    template = tmp_path / "one" / "templates" / "domain.xml.j2"
    template.parent.mkdir()
    template.write_text((SOURCE_TREE / "domain.xml.j2").read_text() + "{# edited #}")
    assert run(["plan", f"{tmp_path}/one/specs", *flags[1:], "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["digest"] not in seen.values()


def test_specs_are_no_plan_files(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("stack: {}")
    assert not saved.is_plan_file(tmp_path / "a.yaml")
    assert not saved.is_plan_file(tmp_path)
    assert not saved.is_plan_file(tmp_path / "missing")
