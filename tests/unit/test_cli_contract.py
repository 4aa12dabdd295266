"""The contract of the command line that needs no host: usage, spelling, refusals, `init`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kvmplan import __version__
from kvmplan.cli import run, two_dashes
from kvmplan.cli.group import COMMANDS

USAGE_ERRORS = [
    ["plna"],
    ["plan", "--foo"],
    ["plan", "a", "b"],
    ["plan", "--color", "pink"],
    ["plan", "--parallelism", "0"],
    ["plan", "--detailed-exitcode=x"],
    ["plan", "--target"],
    ["apply", "--auto-approve", "--lock-timeout", "5"],
    ["apply", "--auto-approve", "--lock-timeout", f"{'9' * 400}h"],
    ["plan", "--out", ""],
    ["hold", "domain.x", "--until", "2020-01-01"],
    ["hold", "domain.x", "--until", "0s"],
    ["hold", "domain.x", "--until", "99999999999h"],
    ["hold", "domain.x", "--until", f"{'9' * 400}d"],
    ["hold", "domain.x", "--until", "9999-12-31T23:59:59-05:00"],
    ["hold", "domain.x", "--until", "tomorrow"],
    ["validate", "--nope"],
    ["force-unlock"],
    ["--nope"],
]
STACK = "stack: {name: a, uid: 5c9ad3fe-5a0c-4b74-8f4c-6c1e9a6f0a01}\nnetworks: {n: {}}\n"
ON_TEST = ["good.yaml", "--connect", "test:///default"]
POINTLESS = [
    (["plan", "--destroy", "--replace", "domain.x"], "--replace means nothing"),
    (["plan", "--destroy", "--max-delete", "3"], "--max-delete means nothing"),
    (["apply", "--destroy", "--adopt"], "--adopt means nothing beside destroy"),
    (["plan", "--json", "--format", "json"], "--format means nothing beside --json"),
    (["plan", "--json", "--xml"], "--xml means nothing beside --json"),
    (["plan", "--format", "json", "--xml"], "--xml means nothing beside --format json"),
    (["show", "--before", "last", "--xml"], "--xml means nothing beside --before"),
    (["show", "p.plan", "--xml"], "--xml means nothing beside a plan file"),
    (["output", "x", "--raw", "--json"], "--json means nothing beside --raw"),
    (["cache", "prune", "--all", "--unused-for", "1h"], "--unused-for means nothing beside --all"),
]
HARMLESS = [
    ["plan", *ON_TEST, "--destroy", "--drift", "revert", "--format", "text", "--max-restarts", "1"],
    ["plan", *ON_TEST, "--prune", "--max-delete", "1", "--allow-empty"],
    ["plan", *ON_TEST, "--max-delete", "1", "--json", "--summary"],
    ["destroy", *ON_TEST, "--auto-approve", "--allow-restart", "all", "--prune"],
]


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KVMPLAN_TRACEBACK", raising=False)


@pytest.mark.parametrize("arguments", USAGE_ERRORS, ids=" ".join)
def test_usage_errors_exit_1(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "Error: " in err


@pytest.mark.parametrize(
    ("arguments", "said"), POINTLESS, ids=[" ".join(it) for it, _ in POINTLESS]
)
def test_what_means_nothing_is_an_error(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever writes a flag expects something of it: a limit that is none does harm."""
    Path("good.yaml").write_text(STACK)
    Path("p.plan").write_bytes(b"PK")
    assert run(arguments) == 1
    out, err = capsys.readouterr()
    assert f"Error: {said}" in err
    summaries = [json.loads(line)["type"] for line in out.splitlines()]
    assert summaries == (["version", "change_summary"] if "apply" in arguments and out else [])


@pytest.mark.parametrize("arguments", HARMLESS, ids=" ".join)
def test_what_has_nothing_to_do_is_let_through(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Pipelines give all their commands the same flags."""
    Path("good.yaml").write_text(STACK)
    assert run(arguments) == 0
    assert "nothing beside" not in capsys.readouterr().err


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)], ids=" ".join)
def test_every_command_has_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*command, "--help"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith("Usage: kvmplan")
    assert max(map(len, out.splitlines())) <= 100


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    listed = capsys.readouterr().out.partition("Commands:")[2]
    assert [line.split()[0] for line in listed.splitlines() if line.strip()] == list(COMMANDS)


def test_a_bug_is_told_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("it broke")

    monkeypatch.setattr("kvmplan.cli.validate.choose", broken)
    assert run(["validate"]) == 1
    err = capsys.readouterr().err
    assert "error[KVP900]: internal error: RuntimeError: it broke" in err
    assert "Traceback" not in err


def test_a_mistyped_command_gets_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plna"]) == 1
    assert "no such command 'plna'; did you mean 'plan'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (["plan", "-detailed-exitcode"], ["plan", "--detailed-exitcode"]),
        (["plan", "-target=domain.web"], ["plan", "--target=domain.web"]),
        (["plan", "-h"], ["plan", "-h"]),
        (["plan", "--json"], ["plan", "--json"]),
        (["plan", "--", "-dir"], ["plan", "--", "-dir"]),
        (["plan", "-"], ["plan", "-"]),
        (["plan", "--target", "-1"], ["plan", "--target", "-1"]),
    ],
)
def test_single_dashes(given: list[str], meant: list[str]) -> None:
    assert two_dashes(given) == meant


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["version"]) == 0
    assert capsys.readouterr().out.startswith(f"kvmplan {__version__}\n")
    assert run(["version", "-json"]) == 0
    assert json.loads(capsys.readouterr().out)["kvmplan_version"] == __version__


@pytest.mark.parametrize("command", ["apply", "destroy"])
def test_without_a_terminal_apply_refuses_before_anything_else(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.yaml").write_text("domains: [")
    assert run([command, "broken.yaml", "--connect", "qemu+tcp://192.0.2.1/system"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "KVP640" in err
    assert "broken.yaml" not in err


def test_apply_as_json_needs_its_approval_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["apply", "--json"]) == 1
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [e["diagnostic"]["code"] for e in events if e["type"] == "diagnostic"] == ["KVP640"]
    assert events[-1]["type"] == "change_summary"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["bad.plan"], "KVP311"),
        (["broken.yaml"], "KVP1"),
        (["good.yaml", "--connect", "qemu:///nonsense"], "KVP5"),
        (["good.yaml", "--connect", "test:///default", "--read-only"], "KVP514"),
        (["good.yaml", "--connect", "test:///default", "--expect-digest", "x"], "KVP302"),
        (["good.yaml", "--connect", "test:///default", "--target", "domain.nope"], "KVP250"),
        (["wrong.yaml", "--connect", "test:///default"], "KVP"),
        (["good.yaml", "--lock-timeout", "5"], ""),
    ],
)
@pytest.mark.parametrize("command", ["apply", "destroy"])
def test_the_last_event_of_an_apply_is_its_summary(
    command: str, arguments: list[str], code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    stack = "stack: {name: a, uid: 5c9ad3fe-5a0c-4b74-8f4c-6c1e9a6f0a01}\n"
    for name, text in (
        ("bad.plan", "PK, and no more"),
        ("broken.yaml", "domains: ["),
        ("good.yaml", f"{stack}networks: {{n: {{}}}}\n"),
        ("wrong.yaml", f"{stack}domains: {{d: {{interfaces: {{e: {{network: nope}}}}}}}}\n"),
    ):
        Path(name).write_text(text)
    ended = run([command, "--json", "--auto-approve", *arguments])
    out, err = capsys.readouterr()
    events = [json.loads(line) for line in out.splitlines()]
    codes = [e["diagnostic"]["code"] for e in events if e["type"] == "diagnostic"]
    if code == "KVP" and command == "destroy":
        return  # nothing to destroy is no error
    assert ended in (1, 3), err
    assert not code or any(found.startswith(code) for found in codes), codes
    assert events[-1]["type"] == "change_summary"
    assert events[-1]["changes"]["operation"] == command
    assert events[-1]["changes"]["failed"] == 0


def test_a_command_does_not_speak_to_the_stream_of_the_one_before(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["apply", "--json"]) == 1
    capsys.readouterr()
    Path("specs").mkdir()
    Path("specs/mine.yaml").write_text("")
    assert run(["init"]) == 1
    assert "error[KVP160]" in capsys.readouterr().err


@pytest.mark.parametrize("command", sorted({*COMMANDS} - {"version", "cache", "doctor"}))
def test_a_working_directory_that_is_gone_is_said_to_be(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whoever removes and clones a repository anew stands in the old one."""
    monkeypatch.setenv("KVMPLAN_TRACEBACK", "1")
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    more = {"show": ["domain.x"], "force-unlock": ["x"], "apply": ["--auto-approve"]}
    more |= {"destroy": ["--auto-approve", "--json"]}
    named = ("adopt", "forget", "hold", "release", "ssh", "console", "start", "stop", "restart")
    assert run([command, *(["domain.x"] if command in named else more.get(command, []))]) == 1
    out, err = capsys.readouterr()
    assert "the working directory is not there any more" in err + out
    assert not out or json.loads(out.splitlines()[-1])["type"] == "change_summary"


def test_the_remedy_for_a_missing_stack_can_be_typed_in(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`init` refuses where there are specs already: nobody is sent there."""
    Path("specs").mkdir()
    Path("specs/a.yaml").write_text("networks: {n: {}}\n")
    assert run(["validate"]) == 1
    remedy = " ".join(capsys.readouterr().err.split())
    example = remedy.partition("write one, ")[2].partition(", with")[0]
    uid = "5c9ad3fe-5a0c-4b74-8f4c-6c1e9a6f0a01"
    Path("specs/stack.yaml").write_text(example.replace("NAME", "lab").replace("UUID", uid))
    assert run(["validate"]) == 0


@pytest.mark.parametrize("command", ["plan", "validate"])
def test_no_specs(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command]) == 1
    assert "error[KVP100]" in capsys.readouterr().err


def test_several_hosts_and_connect_exclude_each_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.yaml").write_text(
        "stack:\n  name: lab\n  uid: 0d9f3c1e-6c1f-4c4f-9a53-0f6a8a3a2b11\n"
        "  hosts: {kvm1: {uri: 'test:///default'}}\n"
    )
    assert run(["plan", "a.yaml", "--connect", "test:///default"]) == 1
    err = capsys.readouterr().err
    assert "error[KVP511]" in err
    assert "a.yaml:4:11" in err


class TestInit:
    @pytest.mark.parametrize("name", ["shop", "123", "on", "null", "1e3", "Über Straße", "a--b"])
    def test_what_it_makes_is_valid(
        self, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run(["init", name]) == 0
        assert run(["validate", f"{name}/specs"]) == 0
        out, err = capsys.readouterr()
        assert err == ""
        assert out.splitlines()[-1] == "Valid: 4 resources in 2 files."

    def test_every_stack_has_its_own_uid(self, tmp_path: Path) -> None:
        assert run(["init", "a"]) == 0
        assert run(["init", "b"]) == 0
        texts = {(tmp_path / name / "specs" / "stack.yaml").read_text() for name in "ab"}
        uids = {line for text in texts for line in text.splitlines() if "uid:" in line}
        assert len(uids) == 2

    def test_it_avoids_what_libvirt_itself_uses(self, tmp_path: Path) -> None:
        assert run(["init"]) == 0
        text = (tmp_path / "specs" / "example.yaml").read_text()
        lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
        assert not any("192.168.122." in line or "virbr0" in line for line in lines)
        assert "  default:" not in lines

    def test_it_never_overwrites(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        old = tmp_path / "specs" / "deep" / "mine.yml"
        old.parent.mkdir(parents=True)
        old.write_text("mine")
        assert run(["init"]) == 1
        assert "error[KVP160]" in capsys.readouterr().err
        assert [path.name for path in (tmp_path / "specs").rglob("*.y*ml")] == ["mine.yml"]
        assert old.read_text() == "mine"

    def test_a_place_that_cannot_be_written_is_said(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "file").write_text("")
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "specs").write_text("")
        assert run(["init", "folder"]) == 1
        assert "error[KVP161]" in capsys.readouterr().err
