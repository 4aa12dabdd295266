"""``show --before``: finds runs, prints documents, and needs no host."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kvmplan.address import parse_address
from kvmplan.apply.events import ApplyFinished, StepFinished
from kvmplan.apply.journal import Head, Journal
from kvmplan.cli import run
from kvmplan.inventory import Record, State
from kvmplan.kinds.verbs import Verb
from kvmplan.mapping.impact import Impact
from kvmplan.plan.change import Action, Change, Step

UID, OTHER = "0d9f3c1e-6c1f-4c4f-9a53-0f6a8a3a2b11", "0d9f3c1e-6c1f-4c4f-9a53-0f6a8a3a2b12"
WEB, LAN = (parse_address(text) for text in ("domain.web", "network.lan"))
STEPS = (Step(1, WEB, Verb.DEFINE, (("title",),)), Step(2, WEB, Verb.SET_VCPUS))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "kvmplan" / "runs"


def record(folder: Path, name: str, uid: str = UID, *, cut: bool = False) -> None:
    """Write a journal."""
    head = Head(name, "apply", "lab", uid, {"local": "test:///"}, "me@here pid 1", "2026-01-01")
    journal = Journal(folder / uid, head)
    record = Record(WEB, "uuid", "<domain>(sensitive)</domain>", None, State.RUNNING)
    journal.before(Change(WEB, Action.UPDATE, steps=STEPS), record, ["/domain/@passwd"])
    journal(StepFinished(STEPS[0], 0.1, Impact.NEXT_BOOT))
    if not cut:
        journal.before(Change(LAN, Action.CREATE), None, ())
        journal(ApplyFinished(1, 1, 0, ()))
    journal.close()


@pytest.fixture
def two(folder: Path) -> None:
    record(folder, "20260101-000000-000a")
    record(folder, "20260102-000000-000a", OTHER, cut=True)


def said(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> tuple[str, str]:
    assert run(["show", "--before", *arguments]) == code
    out, err = capsys.readouterr()
    return out, err


@pytest.mark.usefixtures("two")
def test_a_run_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = said(capsys, "20260102")
    assert out == (
        "Run 20260102-000000-000a: apply of stack lab by me@here pid 1\n"
        "  update   domain.web                           "
        "cut after 1 of 2 steps; define: next-boot\n"
        "The run was ended before it was over.\n"
    )
    out, _ = said(capsys, "20260101", "--format", "json")
    shown = json.loads(out)
    assert [(o["address"], o["existed"]) for o in shown["objects"]] == [
        ("local:domain.web", True),
        ("local:network.lan", False),
    ]
    assert [step["done"] for step in shown["objects"][0]["steps"]] == [True, False]


@pytest.mark.usefixtures("two")
def test_a_document_goes_to_stdout_and_what_it_lacks_to_stderr(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for address in ("domain.web", "local:domain.web"):
        out, err = said(capsys, "20260101-", address)
        assert out == "<domain>(sensitive)</domain>\n"
        assert "it was running, autostart off" in err
        assert "a secret is left out: /domain/@passwd" in err
        assert "fill them in" in err
    out, err = said(capsys, "20260101-", "domain.web", "--format", "json")
    assert json.loads(out)["before"]["document"] == "<domain>(sensitive)</domain>"
    assert err == ""


@pytest.mark.usefixtures("two")
def test_what_is_not_there_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, code, words in (
        (["2026"], "KVP621", "2 runs begin with '2026'"),
        (["nope"], "KVP621", "20260102-000000-000a, 20260101"),
        (["last"], "KVP621", "several stacks"),
        (["20260101", "domain.wep"], "KVP622", "did you mean 'domain.web'"),
        (["20260101", "network.lan"], "KVP622", "was not there before"),
        (["20260101", "*"], "KVP622", "did not touch *"),
    ):
        out, err = said(capsys, *arguments, code=1)
        assert out == ""
        assert f"error[{code}]" in err
        assert words in err


@pytest.mark.usefixtures("two")
def test_last_is_that_of_the_stack_of_the_specs(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    specs = tmp_path / "specs"
    specs.mkdir()
    secret = "{type: vnc, password: !secret {env: NOT_SET_ANYWHERE}}"
    (specs / "a.yaml").write_text(
        f"stack: {{name: lab, uid: {UID}}}\ndomains: {{web: {{graphics: [{secret}]}}}}\n"
    )
    assert said(capsys, "last")[0].startswith("Run 20260101-000000-000a:")
    (specs / "a.yaml").write_text("stack: [\n")
    said(capsys, "last", code=1)


def test_last_without_specs_is_that_of_the_only_stack(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    assert "there is no last run" in said(capsys, "last", code=1)[1]
    record(folder, "20260101-000000-000a")
    record(folder, "20260102-000000-000a")
    assert said(capsys, "last")[0].startswith("Run 20260102-000000-000a:")
    (folder / UID / "20260103-000000-000a.jsonl").write_text("{")
    assert "error[KVP623]" in said(capsys, "last", code=1)[1]
