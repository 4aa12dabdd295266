"""Helpers of the tests of the whole program on real hosts: stacks, the command line, guests."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import libvirt
import yaml
from lxml import etree

from kvmplan.cli import run as run_command
from kvmplan.kinds.mark import NAMESPACE
from tests.integration.canary import finds
from tests.privatehost import Console, LabError, PrivateHost, TinyGuest

SECRETS: set[str] = set()
"""Every secret that a run of this process was given: searched again when the host goes."""
NO_CHANGES = "No changes. Your infrastructure matches the configuration."
NOTHING_APPLIED = "Apply complete! Resources: 0 added, 0 changed, 0 destroyed."
_SUBNETS = itertools.count(1)
Tree = dict[str, Any]
Root = Any
"""A parsed document's root element."""


@dataclass(frozen=True, slots=True)
class Run:
    """What one run of the command line answered."""

    code: int
    out: str
    err: str

    @property
    def last(self) -> str:
        """The last line of stdout."""
        return self.out.rstrip("\n").rpartition("\n")[2]

    @property
    def events(self) -> list[dict[str, Any]]:
        """The lines of ``--json``; every one must be a JSON object."""
        return [json.loads(line) for line in self.out.splitlines()]

    def __str__(self) -> str:
        return f"exit {self.code}\n--- stdout\n{self.out}--- stderr\n{self.err}"


def kvmplan(*arguments: str | Path, env: Mapping[str, str] | None = None) -> Run:
    """Run the command line in this process, without a terminal; a bug in it is raised here.

    What the environment calls a password stands in no output.
    """
    out, err = io.StringIO(), io.StringIO()
    variables = {"KVMPLAN_TRACEBACK": "1", **(env or {})}
    with (
        mock.patch.dict(os.environ, variables),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch("sys.stdin", io.StringIO()),
    ):
        code = run_command([str(argument) for argument in arguments])
    done = Run(int(code), out.getvalue(), err.getvalue())
    given = {value for name, value in variables.items() if name.endswith("PASSWORD") and value}
    SECRETS.update(given)
    assert not finds((done.out + done.err).encode(), sorted(given)), str(done)
    return done


class SecretRef(str):
    """The name of an environment variable, written as ``!secret {env: NAME}``."""


class SecretFrom(dict[str, Any]):
    """A secret's source, written as ``!secret {file: …}``."""


class _Dumper(yaml.SafeDumper):
    """Writes every value out, without anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_representer(
    SecretRef,
    lambda dumper, name: dumper.represent_mapping("!secret", {"env": str(name)}, flow_style=True),
)


_Dumper.add_representer(
    SecretFrom,
    lambda dumper, source: dumper.represent_mapping("!secret", dict(source), flow_style=True),
)


@dataclass
class Stack:
    """A stack of one test: its specs as a dictionary, to be edited, and the commands on it.

    Attributes:
        host: where `local` is; None when the specs name hosts themselves.
        tag: a prefix that nothing else on any host has.
    """

    directory: Path
    host: PrivateHost | None
    specs: Tree = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    tag: str = field(default_factory=lambda: "k" + uuid.uuid4().hex[:6])
    uid: str = field(default_factory=lambda: str(uuid.uuid4()))

    def __post_init__(self) -> None:
        self.specs.setdefault("stack", {"name": self.tag, "uid": self.uid})

    @property
    def path(self) -> Path:
        """The directory of the spec files."""
        return self.directory / f"specs-{self.tag}"

    @property
    def domains(self) -> Tree:
        """The specs' domains."""
        domains: Tree = self.specs["domains"]
        return domains

    @property
    def volumes(self) -> Tree:
        """The specs' volumes."""
        volumes: Tree = self.specs["volumes"]
        return volumes

    def write(self) -> None:
        """Write the specs."""
        self.path.mkdir(exist_ok=True)
        text = yaml.dump(self.specs, Dumper=_Dumper, sort_keys=False)
        (self.path / "stack.yaml").write_text(text)

    def run(self, command: str, *flags: str | Path) -> Run:
        """Write the specs and run a command on them."""
        self.write()
        connect = ["--connect", self.host.uri] if self.host is not None else []
        return kvmplan(command, self.path, *connect, *flags, env=self.env)

    def plan(self, *flags: str) -> Run:
        """``plan --detailed-exitcode``."""
        return self.run("plan", "--detailed-exitcode", *flags)

    def apply(self, *flags: str, code: int = 0) -> Run:
        """``apply --auto-approve``, which must end with a certain exit code."""
        done = self.run("apply", "--auto-approve", *flags)
        assert done.code == code, f"{self.path}: {done}"
        return done

    def settle(self, *flags: str) -> Run:
        """Apply; the plan must say that there is something to do before, and nothing after.

        Returns:
            The plan before.
        """
        before = self.plan(*flags)
        assert before.code == 2, str(before)
        self.apply(*flags)
        self.in_sync()
        return before

    def in_sync(self, *flags: str) -> Run:
        """The plan must be empty."""
        after = self.plan(*flags)
        assert (after.code, after.last) == (0, NO_CHANGES), str(after)
        return after

    def destroy(self, *flags: str, code: int = 0) -> Run:
        """``destroy`` with its volumes, which must end with a certain exit code."""
        data = ["--allow-data-loss", "volume.*"] if self.specs.get("volumes") else []
        done = self.run("destroy", "--auto-approve", *data, *flags)
        assert done.code == code, f"{self.path}: {done}"
        return done


@contextlib.contextmanager
def stack(directory: Path, host: PrivateHost | None, **specs: Any) -> Iterator[Stack]:
    """A stack that is destroyed at the end; that must succeed, if the test did."""
    made = Stack(directory, host, dict(specs))
    try:
        yield made
    except BaseException:
        if made.path.exists():
            made.run("destroy", "--auto-approve", "--allow-data-loss", "volume.*")
        raise
    if made.path.exists():
        made.destroy()


def owned(made: Stack) -> Tree:
    """The specs of one object of each kind: a network, a pool, a volume, a stopped domain."""
    tag = made.tag
    disks, nics = {"vda": f"{tag}/disk.qcow2"}, {"lan": {"network": tag}}
    return {
        "networks": {tag: network(subnet())},
        "pools": {tag: {"path": str(made.directory / "pool")}},
        "volumes": {f"{tag}/disk.qcow2": {"capacity": "8MiB"}},
        "domains": {tag: idle_domain(disks=disks, interfaces=nics)},
    }


@contextlib.contextmanager
def connection(host: PrivateHost) -> Iterator[libvirt.virConnect]:
    """A libvirt connection of the test's own, for looking and for edits behind kvmplan's back."""
    opened = libvirt.open(host.uri)
    try:
        yield opened
    finally:
        opened.close()


def subnet() -> str:
    """The first three numbers of a /24 that no other test of this process uses."""
    number = next(_SUBNETS)
    return f"10.{210 + number // 250}.{number % 250}"


def network(prefix: str, **more: Any) -> Tree:
    """A network with DHCP."""
    dhcp = {"ranges": [f"{prefix}.100-{prefix}.199"]}
    return {"ips": [{"address": f"{prefix}.1/24", "dhcp": dhcp}], **more}


def tiny_domain(guest: TinyGuest, name: str, console: Path, **more: Any) -> Tree:
    """A running domain of the tiny guest that speaks into a file."""
    serial = f"<serial type='file'><source path='{console}'/><target port='0'/></serial>"
    kernel = {"image": str(guest.kernel), "initrd": str(guest.initrd)}
    return {
        "type": "qemu",
        "vcpus": {"current": 1, "maximum": 4},
        "memory": {"current": "160MiB", "maximum": "192MiB"},
        "kernel": {**kernel, "cmdline": guest.command_line(name)},
        "shutdown_timeout": "20s",
        "force": True,
        "state": "running",
        "xml": f"<domain><devices>{serial}</devices></domain>",
        **more,
    }


def idle_domain(**more: Any) -> Tree:
    """A small domain without a system, not started."""
    return {"type": "qemu", "memory": "64MiB", "vcpus": 1, "state": "stopped", **more}


def document(domain: Any, flags: int = libvirt.VIR_DOMAIN_XML_INACTIVE) -> Root:
    """A domain's (or network's) document; by default the persistent one."""
    return etree.fromstring(domain.XMLDesc(flags).encode())


def canonical(root: Root, *without: str) -> str:
    """A document without kvmplan's mark and some paths, as text that can be compared."""
    paths = ["metadata/{%s}object" % NAMESPACE, *without]  # noqa: UP031
    for node in [node for path in paths for node in root.findall(path)]:
        node.getparent().remove(node)
    for node in root.iter():
        if not (node.text or "").strip():
            node.text = None
        node.tail = None
    metadata = root.find("metadata")
    if metadata is not None and len(metadata) == 0:
        root.remove(metadata)
    etree.indent(root)
    return etree.tostring(root, method="c14n", with_comments=True).decode()


def wait_until(condition: Callable[[], bool], what: str, timeout: float = 20.0) -> None:
    """Wait for a condition; LabError says what did not become true."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise LabError(f"not within {timeout:.0f} s: {what}")
        time.sleep(0.1)


def console_of(directory: Path, name: str) -> Console:
    """The console of a guest."""
    return Console(directory / f"{name}.console")
