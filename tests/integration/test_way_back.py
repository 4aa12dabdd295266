"""The way back: the commands of its page, run one after the other, bring back what was there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import libvirt
import pytest

from tests.elements import the
from tests.integration.support import (
    Run,
    SecretRef,
    Stack,
    Tree,
    canonical,
    connection,
    idle_domain,
    network,
    subnet,
)
from tests.privatehost import PrivateHost

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "way-back.md"
FIRST, SECOND = "canary-1", "canary-2"
OLD_BYTES = b"bytes that a guest wrote"


def commands(heading: str) -> str:
    """The commands that a section of the page prints."""
    section = re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)
    (text,) = (part for part in section if part.startswith(f"{heading}\n"))
    blocks: list[str] = re.findall(r"^```\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return "".join(block for block in blocks if re.match(r"kvmplan |virsh ", block))


@dataclass
class Reader:
    """Somebody who follows the page, in the directory that holds the specs."""

    directory: Path
    environment: dict[str, str]

    def follow(self, heading: str) -> Run:
        """Type a section's commands; each must succeed."""
        script = commands(heading)
        assert script.count("\n") >= 1
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        run = Run(done.returncode, done.stdout, done.stderr)
        assert run.code == 0, f"{script}{run}"
        return run


@pytest.fixture
def made(own_host: PrivateHost, tmp_path: Path) -> Stack:
    """A stack of the names that the page uses, on a host where nobody else has them."""
    stack = Stack(tmp_path, own_host, tag="lab")
    homes = {f"XDG_{n}_HOME": str(tmp_path / "xdg" / n.lower()) for n in ("STATE", "CACHE")}
    stack.env = {**homes, "VNC": FIRST}
    vnc = {"type": "vnc", "listen": "127.0.0.1", "port": "auto", "password": SecretRef("VNC")}
    web = idle_domain(
        firmware="uefi",
        disks={"vda": {"volume": "vms/web.qcow2"}},
        interfaces={"eth0": {"network": "lan"}},
        graphics=[vnc],
        title="before",
        shutdown_timeout="1s",
    )
    stack.specs |= {
        "networks": {"lan": network(subnet(), bridge="virbr-lan")},
        "pools": {"vms": {"path": str(tmp_path / "pool")}},
        "volumes": {"vms/web.qcow2": {"capacity": "4MiB"}},
        "domains": {"web": {**web, "state": "running"}},
    }
    stack.write()
    (tmp_path / "specs").symlink_to(stack.path)
    return stack


@pytest.fixture
def reader(made: Stack, tmp_path: Path) -> Reader:
    tools = tmp_path / "bin"
    tools.mkdir()
    program = tools / "kvmplan"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m kvmplan "$@"\n')
    program.chmod(0o755)
    assert made.host is not None
    more = {
        **made.env,
        "PATH": f"{tools}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "LIBVIRT_DEFAULT_URI": made.host.uri,
    }
    return Reader(tmp_path, {**os.environ, **more})


def definitions(conn: libvirt.virConnect) -> Tree:
    """All that is defined, without marks; of the volume what it was born with."""
    from lxml import etree

    volume = etree.fromstring(
        conn.storagePoolLookupByName("vms").storageVolLookupByName("web.qcow2").XMLDesc()
    )
    documents = {
        "network": conn.networkLookupByName("lan").XMLDesc(libvirt.VIR_NETWORK_XML_INACTIVE),
        "pool": conn.storagePoolLookupByName("vms").XMLDesc(libvirt.VIR_STORAGE_XML_INACTIVE),
        "domain": conn.lookupByName("web").XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE),
    }
    sizes = ("capacity", "allocation", "available")
    found: Tree = {k: canonical(etree.fromstring(text), *sizes) for k, text in documents.items()}
    found["volume"] = [volume.findtext("capacity"), the(volume, "target/format").get("type")]
    return found


def edited(made: Stack) -> None:
    """The specs, with a change that is regretted soon."""
    made.domains["web"] |= {"title": "after", "memory": "80MiB"}
    made.specs["networks"]["lan"]["domain"] = "after.example"
    made.env["VNC"] = SECOND


def test_the_page_brings_everything_back(made: Stack, reader: Reader, tmp_path: Path) -> None:
    assert made.host is not None
    made.apply()
    with connection(made.host) as conn:
        before = definitions(conn)
        specs = json.loads(json.dumps(made.specs))
        edited(made)
        done = made.run("apply", "--auto-approve", "--json")
        assert done.code == 0, str(done)
        assert definitions(conn) != before

        listed = reader.follow("What a run has touched").out
        assert listed.startswith(f"Run {done.events[-1]['run']}: apply of stack lab by ")
        rows = [line.split() for line in listed.splitlines()[1:]]
        assert sorted(rows) == [["update", "domain.web", "done"], ["update", "network.lan", "done"]]
        said = reader.follow("A changed object").err
        assert "a secret is left out: /domain/devices/graphics/@passwd" in said
        assert "it was running, autostart off" in said
        assert definitions(conn) == before

        # The specs go back, too; the password has to come from them.
        specs["domains"]["web"]["graphics"][0]["password"] = SecretRef("VNC")
        made.specs, made.env["VNC"] = specs, FIRST
        assert "graphics.vnc.password" in made.plan().out
        made.apply()
        made.in_sync()

        disk = tmp_path / "pool" / "web.qcow2"
        with disk.open("ab") as stream:
            stream.write(OLD_BYTES)
        made.destroy()
        assert not conn.listAllDomains()
        reader.follow("A deleted object")
        assert definitions(conn) == before
        assert OLD_BYTES not in disk.read_bytes()
        assert conn.lookupByName("web").isActive()
        left = made.plan()
        assert re.findall(r"^ {6}(\S+) ", left.out, re.MULTILINE) == ["graphics.vnc.password"]
        made.apply()
        made.in_sync()
    made.destroy()
    holds_no_canary(tmp_path / "xdg")


def holds_no_canary(folder: Path) -> None:
    """Journals, locks and what is remembered are there, and hold no password."""
    state = folder / "state"
    for path in [state, *state.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path
    found = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    tops = {path.relative_to(folder).parts[:3] for path in found}
    assert tops >= {("state", "kvmplan", "runs"), ("state", "kvmplan", "locks")}
    assert any(b"<graphics type='vnc'" in content for content in found.values())
    for path, content in found.items():
        assert FIRST.encode() not in content, path
        assert SECOND.encode() not in content, path
