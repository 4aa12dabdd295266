"""Plan files: written whole, and nothing in one is trusted."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import struct
import zipfile
from pathlib import Path

import pytest

from kvmplan.cli import planfile, run
from kvmplan.diagnostics import Failure
from kvmplan.plan import saved
from kvmplan.plan.options import PlanOptions
from kvmplan.plan.saved import MANIFEST, MEMBERS, BadPlanFile
from kvmplan.views.plan_json import digest

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
    assert saved.read(file) == CONTENT
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
        assert saved.read(path)["plan.json"] == "newer"


def test_a_link_is_followed(file: Path, tmp_path: Path) -> None:
    for name in ("p.plan", "not-there-yet.plan"):
        link = tmp_path / f"link-to-{name}"
        link.symlink_to(name)
        saved.write(link, {**CONTENT, "plan.json": "newer"})
        assert link.is_symlink()
        assert saved.read(tmp_path / name)["plan.json"] == "newer"


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
            assert saved.read(file) == CONTENT


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


@pytest.mark.parametrize("member", ["plan.json", "text.json", "desired.json", "options.json"])
@pytest.mark.parametrize("content", [None, [], 5, "x", {}, {"stack": 5}, [[]] * 10])
def test_a_member_of_another_shape_is_damage(member: str, content: object, tmp_path: Path) -> None:
    file = tmp_path / "p.plan"
    document = {"resource_changes": [], "refusals": [], "hosts": {}, "digest": ""}
    document["digest"] = digest(document)
    stack = {"name": "a", "uid": "b", "hosts": {}, "prune": False, "max_delete": [1, 1]}
    options = planfile._options_json(PlanOptions(), Path("/specs"))
    desired = {"stack": stack, "resources": [], "sources": [], "moved": {}, "macs": {}}
    good = dict(zip(MEMBERS, (document, "text", desired, options), strict=True))
    saved.write(file, good)
    assert planfile.load(file).text == "text"
    if member == "text.json" and content == "x":
        return
    saved.write(file, {**good, member: content})
    with pytest.raises(Failure) as caught:
        planfile.load(file)
    assert [item.code for item in caught.value.diagnostics] == ["KVP311"]


def test_specs_are_no_plan_files(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("stack: {}")
    assert not saved.is_plan_file(tmp_path / "a.yaml")
    assert not saved.is_plan_file(tmp_path)
    assert not saved.is_plan_file(tmp_path / "missing")
