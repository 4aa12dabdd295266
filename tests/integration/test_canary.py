"""A canary through every command: no byte that any of them writes holds it, in any spelling."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import libvirt
import pytest

from tests.integration.canary import OF_THE_USER, below, canary, finds, processes
from tests.integration.support import (
    Run,
    SecretFrom,
    SecretRef,
    Stack,
    connection,
    document,
    idle_domain,
    kvmplan,
    stack,
)
from tests.integration.watch import watch
from tests.privatehost import PrivateHost

SECURE = libvirt.VIR_DOMAIN_XML_SECURE
LOOKS: tuple[tuple[str, ...], ...] = (
    ("plan",),
    ("plan", "--json"),
    ("plan", "--format", "json"),
    ("plan", "--xml"),
    ("plan", "--summary"),
    ("plan", "--read-only"),
    ("plan", "--destroy"),
    ("status",),
    ("status", "--json"),
    ("drift",),
    ("orphans",),
)


@dataclass
class Cage:
    """Runs commands, and looks at everything that they leave.

    Attributes:
        values: the canaries, those of before included.
        commands: how many were run.
    """

    made: Stack
    conn: libvirt.virConnect
    values: list[str] = field(default_factory=list)
    commands: int = 0

    def run(self, command: str, *flags: str | Path, code: int | None = 0) -> Run:
        """A command on the stack."""
        return self.watched(lambda: self.made.run(command, *flags), code)

    def on(self, *arguments: str | Path, code: int | None = 0) -> Run:
        """A command that takes no specs, or its own."""
        return self.watched(lambda: kvmplan(*arguments, env=self.made.env), code)

    def watched(self, run: Any, code: int | None) -> Run:
        """A command; everything that it said, wrote and started is searched."""
        self.made.write()
        with watch() as seen:
            done: Run = run()
        self.commands += 1
        assert code is None or done.code == code, str(done)
        assert not finds((done.out + done.err).encode(), self.values), str(done)
        for name in seen.files:
            if Path(name).is_file():
                assert not finds(Path(name).read_bytes(), self.values), name
        started = "\n".join((*seen.arguments, *seen.added)).encode()
        assert not finds(started, self.values), started
        assert not processes(self.values)
        return done

    def host_is_clean(self) -> None:
        """All that a host shows without being asked for secrets, and the files of the test."""
        domains = self.conn.listAllDomains()
        texts = [domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE) for domain in domains]
        texts += [domain.XMLDesc(0) for domain in domains]
        for secret in self.conn.listAllSecrets():
            texts.append(secret.XMLDesc())
            own = self.made.uid in secret.usageID() and "claims" in secret.usageID()
            texts.append(repr(secret.value(0)) if own else "")
        assert not finds("\n".join(texts).encode(), self.values)
        assert not below(self.made.directory, self.values)


@contextmanager
def caged(host: PrivateHost, directory: Path) -> Iterator[Cage]:
    """A stack of three guests: a password from the environment, from a file, from a command."""
    (directory / OF_THE_USER).touch(0o600)
    with stack(directory, host) as made, connection(host) as conn:
        command = ["cat", OF_THE_USER]
        sources = (SecretRef("VNC_PASSWORD"), {"file": OF_THE_USER}, {"command": command})
        made.specs["domains"] = {
            f"{made.tag}-{number}": idle_domain(
                graphics=[
                    {
                        "type": "vnc",
                        "listen": "127.0.0.1",
                        "port": "auto",
                        "password": SecretFrom(source) if isinstance(source, dict) else source,
                    }
                ]
            )
            for number, source in enumerate(sources)
        }
        running = made.domains[f"{made.tag}-0"]
        running |= {"state": "running", "shutdown_timeout": "1s", "force": True}
        yield Cage(made, conn)


def turn(cage: Cage, length: int = 8) -> tuple[str, str]:
    """New canaries, in the environment and in the file."""
    first, second = canary(length), canary(length)
    cage.values += [first, second]
    cage.made.env["VNC_PASSWORD"] = first
    (cage.made.directory / OF_THE_USER).write_text(second + "\n")
    return first, second


def test_no_command_lets_a_canary_out(
    private_host: PrivateHost, tmp_path: Path, summaries: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        folder = tmp_path / name.lower()
        folder.mkdir()
        monkeypatch.setenv(name, str(folder))
    with caged(private_host, tmp_path) as cage:
        made, uri = cage.made, private_host.uri
        file, connect = tmp_path / "p.plan", ("--connect", uri)
        names = [f"domain.{name}" for name in made.domains]
        turn(cage)
        look(cage)
        cage.run("plan", "--out", file)
        cage.on("show", file)
        cage.on("show", file, "--format", "json")
        cage.on("apply", file, "--json")
        arrived(cage)
        turn(cage)
        look(cage)
        cage.run("apply", "--auto-approve")
        arrived(cage)
        for name in names:
            cage.on("show", name, "--specs", made.path, *connect)
            cage.on("show", name, "--xml", "--specs", made.path, *connect)
            cage.on("show", name, "--format", "json", "--specs", made.path, *connect)
        cage.on("lock", *connect)
        cage.on("doctor", *connect, code=None)
        for command in ("hold", "release", "forget", "adopt"):
            cage.on(command, names[1], "--specs", made.path, *connect)
        cage.host_is_clean()
        by_hand(cage)
        refused(cage)
        cage.host_is_clean()
        turn(cage)
        cage.run("destroy", "--auto-approve", "--json")
        cage.host_is_clean()
        text = f"{cage.commands} commands, {len(cage.values)} values, nowhere in what they wrote"
    line = {"title": "canary", "text": text}
    (summaries / "canary.summary.json").write_text(json.dumps(line) + "\n")


def look(cage: Cage) -> None:
    """Everything that only looks."""
    cage.on("validate", cage.made.path)
    cage.on("validate", cage.made.path, "--json")
    for command, *flags in LOOKS:
        assert cage.run(command, *flags, code=None).code in (0, 2)


def arrived(cage: Cage) -> None:
    """The guests have what they shall have."""
    first, second = cage.values[-2:]
    for name, value in zip(sorted(cage.made.domains), (first, second, second), strict=True):
        root = document(cage.conn.lookupByName(name), SECURE | libvirt.VIR_DOMAIN_XML_INACTIVE)
        assert root.find("devices/graphics").get("passwd") == value


def by_hand(cage: Cage) -> None:
    """A password that somebody else has set, which no spec knows, is a secret as well."""
    theirs = canary()
    cage.values.append(theirs)
    domain = cage.conn.lookupByName(f"{cage.made.tag}-1")
    root = document(domain, SECURE | libvirt.VIR_DOMAIN_XML_INACTIVE)
    root.find("devices/graphics").set("passwd", theirs)
    from lxml import etree

    cage.conn.defineXML(etree.tostring(root, encoding="unicode"))
    look(cage)
    cage.run("apply", "--auto-approve")


def refused(cage: Cage) -> None:
    """What goes wrong with a secret: it is too long, libvirt or its command refuses, …"""
    turn(cage, length=40)
    cage.on("validate", cage.made.path)  # it reads no secret
    cage.run("plan", code=1)
    cage.run("apply", "--auto-approve", code=1)
    turn(cage)
    domain = cage.made.domains[f"{cage.made.tag}-2"]
    for wrong in ("<devices><nonsense/></devices>", "<os><type machine='no'>hvm</type></os>"):
        for flags in ((), ("--json",)):
            new = {**domain, "xml": f"<domain>{wrong}</domain>"}
            cage.made.domains[f"{cage.made.tag}-3"] = new
            cage.run("apply", "--auto-approve", *flags, code=5)
    del cage.made.domains[f"{cage.made.tag}-3"]
    password = domain["graphics"][0]["password"]
    says = f"cat {OF_THE_USER}; cat {OF_THE_USER} >&2; exit 3"
    domain["graphics"][0]["password"] = SecretFrom({"command": ["sh", "-c", says]})
    failed = cage.run("plan", code=1)
    assert "failed with 3" in failed.err
    domain["graphics"][0]["password"] = password
    template = cage.made.directory / "t.xml"
    for text in ("{{ var[p] }}", "{{ p.nothing }}", "{{ p }}", "<a>{{ [p] + 1 }}</a>"):
        template.write_text(text)
        given = {"template": "t.xml", "vars": {"p": SecretRef("VNC_PASSWORD")}}
        domain["xml"] = given
        cage.run("plan", code=1)
    del domain["xml"]
    domain["nonsense"] = domain["graphics"]
    cage.run("plan", code=1)
    cage.on("validate", cage.made.path, code=1)
    cage.on("validate", cage.made.path, "--json", code=1)
    del domain["nonsense"]
    turn(cage)
