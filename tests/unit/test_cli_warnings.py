"""What was not read is part of every plan: text, JSON, file; and told once on a terminal."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kvmplan.cli import run

ROOT = Path(__file__).parents[2]
UID = "0d9f3c1e-6c1f-4c4f-9a53-0f6a8a3a2b11"
SPECS = f"""\
stack: {{name: lab, uid: {UID}}}
networks: {{lan: {{forward: none}}}}
"""
NODE = """\
<node>
  <cpu><nodes>1</nodes><sockets>1</sockets><cores>1</cores><threads>1</threads><active>1</active>
    <mhz>1000</mhz><model>test</model></cpu>
  <memory>1048576</memory>
  <network type="test"><name>there</name></network>
</node>
"""
TWO = f"""\
stack:
  name: lab
  uid: {UID}
  hosts: {{kvm1: {{uri: "test://HERE/node.xml"}}, kvm2: {{uri: "test://HERE/none.xml"}}}}
networks:
  lan: {{forward: none, host: "*"}}
  there: {{host: kvm1}}
"""


@pytest.fixture(autouse=True)
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """How to reach a host of libvirt's test driver that is new each time."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("KVMPLAN_VAR_zz", "1")
    (tmp_path / "node.xml").write_text(NODE)
    return "--connect", f"test://{tmp_path}/node.xml"


def told(capsys: pytest.CaptureFixture[str], *command: str, code: int = 0) -> tuple[str, str]:
    assert run([*command]) == code
    out, err = capsys.readouterr()
    return out, err


def codes(document: dict[str, Any]) -> list[str]:
    return [item["code"] for item in document["diagnostics"]]


def test_a_plan_has_the_warnings_of_its_specs(
    host: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.yaml").write_text(SPECS)
    for _ in range(2):
        out, err = told(capsys, "plan", "a.yaml", *host)
        assert out.index("warning[KVP102]") < out.index("Plan: 1 to add")
        assert err.count("warning[KVP102]") == 1
    assert "KVP102" in codes(json.loads(told(capsys, "plan", "a.yaml", *host, "--format=json")[0]))
    assert "KVP102" in codes(json.loads(told(capsys, "drift", "a.yaml", *host, "--json")[0]))
    events = told(capsys, "plan", "a.yaml", *host, "--json")[0].splitlines()
    said = [e["diagnostic"]["code"] for e in map(json.loads, events) if e["type"] == "diagnostic"]
    assert said.count("KVP102") == 1


def test_a_plan_file_has_them_and_its_digest_does_not_depend_on_them(
    host: tuple[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "a.yaml").write_text(SPECS)
    told(capsys, "plan", "a.yaml", *host, "--out", "file")
    assert "warning[KVP102]" in told(capsys, "show", "file")[0]
    saved = json.loads(told(capsys, "show", "file", "--format", "json")[0])
    assert "KVP102" in codes(saved)
    monkeypatch.delenv("KVMPLAN_VAR_zz")
    other = json.loads(told(capsys, "plan", "a.yaml", *host, "--format", "json")[0])
    assert "KVP102" not in codes(other)
    assert other["digest"] == saved["digest"]
    told(capsys, "apply", "file", "--expect-digest", saved["digest"])
    told(capsys, "apply", "a.yaml", *host, "--auto-approve", "--expect-digest", saved["digest"])


def test_a_host_that_is_left_out_is_named_and_nothing_is_claimed_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.yaml").write_text(TWO.replace("HERE", str(tmp_path)))
    skip = ("a.yaml", "--on-unreachable", "skip")
    lan = ("--exclude", "*.lan")
    out, err = told(capsys, "plan", *skip, *lan)
    assert "1 of 2 hosts read" in out
    assert "; left out" in " ".join(out.split())
    assert "; left out" in err
    assert out.splitlines()[-2:] == [
        "This plan leaves out host kvm2: what is there is not known.",
        "Plan: 0 to add, 0 to change, 0 to destroy.",
    ]
    document = json.loads(told(capsys, "plan", *skip, *lan, "--format", "json")[0])
    assert document["hosts_left_out"] == ["kvm2"]
    assert list(document["hosts"]) == ["kvm1"]
    assert any("left out" in item["summary"] for item in document["diagnostics"])
    assert "+ kvm1:network.lan" in told(capsys, "plan", *skip)[0]
    assert "ok      kvm1:network.lan" in told(capsys, "apply", *skip, "--auto-approve")[0]
    assert told(capsys, "drift", *skip)[0].endswith("No drift on the hosts that were read.\n")
    assert told(capsys, "orphans", *skip)[0] == "No orphans on the hosts that were read.\n"
    assert "kvm1:network.there " in told(capsys, "status", *skip)[0]


def test_locks_of_a_host_that_is_left_out_are_not_denied(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.yaml").write_text(TWO.replace("HERE", str(tmp_path)))
    out, err = told(capsys, "lock", "--specs", "a.yaml", "--on-unreachable", "skip")
    assert out == "No locks on the hosts that answer; not asked: kvm2.\n"
    assert "; left out" in err


def test_a_terminal_is_told_each_warning_once(host: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(SPECS)
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "kvmplan", "plan", "a.yaml", *host],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=slave,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    shown = b""
    try:
        while part := os.read(master, 65536):
            shown += part
    except OSError:
        pass  # what Linux answers once the last one has closed the other end
    os.close(master)
    assert process.wait(60) == 0
    assert shown.count(b"[KVP102]") == 1, shown.decode()
    assert b"Plan: 1 to add" in shown
