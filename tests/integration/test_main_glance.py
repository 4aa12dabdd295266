"""A plan of what was in sync before: known by a glance, and never when anything is different."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import libvirt
import pytest

from kvmplan import host
from tests.integration.support import NO_CHANGES, Stack, connection, idle_domain, stack
from tests.privatehost import PrivateHost

ROOT = Path(__file__).parents[2]
SEEN = """
import sys
from kvmplan.cli import run
code = run(sys.argv[1:])
heavy = [name for name in ("pydantic", "yaml", "jinja2", "networkx") if name in sys.modules]
print(code, ",".join(heavy) or "light", file=sys.stderr)
"""


@pytest.fixture
def settled(private_host: PrivateHost, tmp_path: Path) -> Iterator[Stack]:
    """A stack that was applied and planned: all of it is remembered."""
    with stack(tmp_path, private_host) as made, pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        made.specs |= {
            "networks": {made.tag: {"forward": "none", "bridge": f"{made.tag}b"}},
            "pools": {made.tag: {"path": str(tmp_path / "pool")}},
            "volumes": {f"{made.tag}/a.raw": {"capacity": "1MiB", "format": "raw"}},
            "domains": {
                made.tag: idle_domain(
                    disks={"vda": f"{made.tag}/a.raw"},
                    interfaces={"eth0": {"network": f"{made.tag}x"}},
                )
            },
        }
        with connection(private_host) as conn:
            outside = conn.networkDefineXML(f"<network><name>{made.tag}x</name></network>")
            made.apply()
            made.in_sync()
            yield made
            with contextlib.suppress(libvirt.libvirtError):  # a test may have removed it
                outside.undefine()


def look(made: Stack, *flags: str) -> tuple[str, str]:
    """Plan in a process of its own: the last line, and exit code and heavy modules."""
    assert made.host is not None
    done = subprocess.run(
        [sys.executable, "-c", SEEN, "plan", str(made.path), "--connect", made.host.uri, *flags],
        cwd=ROOT,
        env={**os.environ, "KVMPLAN_TRACEBACK": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()[-1], done.stderr.splitlines()[-1]


def test_what_is_in_sync_is_known_by_a_glance(settled: Stack) -> None:
    assert look(settled) == (NO_CHANGES, "0 light")
    assert look(settled, "--detailed-exitcode") == (NO_CHANGES, "0 light")
    assert look(settled, "--target", "domain.*")[1] == "0 pydantic,yaml"
    assert look(settled, "--format", "json")[1].startswith("0 pydantic")
    assert look(settled) == (NO_CHANGES, "0 light"), "none of these made it forget"


def test_a_host_that_does_not_answer_is_asked_once(
    settled: Stack, private_host: PrivateHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def open_hosts(uris: dict[str, str], **given: Any) -> Any:
        asked.append(sorted(uris))
        return host.connection.open_hosts(uris, **given)

    monkeypatch.setattr(host, "open_hosts", open_hosts)
    there = settled.specs["stack"] | {"hosts": {"here": {"uri": private_host.uri}}}
    settled.specs["stack"], alone = there, settled.specs["stack"]
    settled.host, kept = None, settled.host
    assert settled.plan().code == 0
    asked.clear()
    path = private_host.layout.socket
    moved = path.with_name("moved")
    path.rename(moved)
    try:
        gone = settled.plan()
        assert (gone.code, gone.err.count("KVP502")) == (1, 1), str(gone)
        assert asked == [["here"]]
    finally:
        moved.rename(path)
    settled.specs["stack"], settled.host = alone, kept


def test_what_changed_is_seen(settled: Stack, private_host: PrivateHost) -> None:
    with connection(private_host) as conn:
        domain = conn.lookupByName(settled.tag)
        domain.setAutostart(1)
        assert settled.plan().code == 0, "nobody declared that"
        domain.setAutostart(0)
        document = domain.XMLDesc(0)
        conn.defineXML(document.replace("</name>", "</name><title>by hand</title>"))
        assert settled.plan().code == 0, "nor that"
        text = domain.XMLDesc(0)
        conn.defineXML(text.replace(">1</vcpu>", ">3</vcpu>"))
        assert settled.plan().code == 2
        conn.defineXML(text)
        assert look(settled)[0] == NO_CHANGES


def test_edited_specs_are_read(settled: Stack) -> None:
    settled.specs["domains"][settled.tag]["title"] = "new"
    assert settled.plan().code == 2
    del settled.specs["domains"][settled.tag]["title"]
    assert settled.plan().code == 0
    settled.write()
    assert look(settled) == (NO_CHANGES, "0 light")


def test_what_only_the_host_has_is_missed(settled: Stack, private_host: PrivateHost) -> None:
    with connection(private_host) as conn:
        conn.networkLookupByName(f"{settled.tag}x").undefine()
    plan = settled.plan()
    assert plan.code == 0
    assert "KVP120" in plan.err


def test_an_orphan_is_told(settled: Stack) -> None:
    domains = settled.specs.pop("domains")
    assert settled.plan().code == 0
    assert settled.tag in settled.plan().out
    settled.specs["domains"] = domains
    settled.in_sync()


def test_files_that_others_could_have_written_are_not_believed(settled: Stack) -> None:
    files = [file for file in Path(os.environ["XDG_CACHE_HOME"]).rglob("*") if file.is_file()]
    assert len(files) == 2
    for file in files:
        assert file.stat().st_mode & 0o777 == 0o600
    for file in files:
        file.chmod(0o666)
    assert look(settled) == (NO_CHANGES, "0 pydantic,yaml")
    assert look(settled) == (NO_CHANGES, "0 light"), "they were written again"
    for file in files:
        file.write_bytes(b"{\xff")
    assert look(settled)[0] == NO_CHANGES
