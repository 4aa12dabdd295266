"""The course: a stack that goes round all kinds of changes, and comes back to where it began.

Each leg leads from one known state to the next, so any leg can be cut by a fault, recovered like an
operator would, and go on: no host has to be reset between two faults.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

from tests.faults.injector import Fault, signal_daemon
from tests.faults.strangers import Strangers
from tests.faults.world import World, world
from tests.faults.zygote import SECRETS, Faulted, Zygote
from tests.integration.support import (
    NO_CHANGES,
    Run,
    SecretRef,
    Stack,
    Tree,
    connection,
    idle_domain,
    kvmplan,
    subnet,
)
from tests.privatehost import PrivateHost

SPACE = "https://example.org/ns"
NEXT_BOOT = (67, 68, 84)
"""Errors after which a live change is left for the next boot, where the plan has said so."""
DATA = ("--allow-data-loss", "volume.*")


class NotConverged(AssertionError):
    """After a fault something is not as it must be."""


@dataclass(frozen=True)
class Leg:
    """One way: what the specs say, and the command that gets there."""

    name: str
    second: bool
    """Whether the specs are those of the second version."""
    command: tuple[str, ...]

    @property
    def destroys(self) -> bool:
        """Whether nothing is left at its end."""
        return self.command[0] == "destroy"


class Course:
    """The stack on its way.

    Attributes:
        tried: faults that happened, by leg and kind.
    """

    def __init__(
        self, host: PrivateHost, directory: Path, zygote: Zygote, uri: str | None = None
    ) -> None:
        """`uri`: where the runs with faults find the host, if not where the others do."""
        self.host, self.directory, self._zygote = host, directory, zygote
        self._uri = uri or host.uri
        self.stack = Stack(directory, host, env=dict(SECRETS))
        tag = self.stack.tag
        self.strangers = Strangers(host, directory, tag)
        self._subnet = subnet()
        replaced = [f"domain.{tag}-on", f"volume.{tag}/copy.qcow2", f"volume.{tag}/raw.img"]
        flags = [flag for address in replaced for flag in ("--replace", address)]
        self.legs = (
            Leg("create", False, ("apply",)),
            Leg("update", True, ("apply",)),
            Leg("replace", False, ("apply", *flags, *DATA)),
            Leg("destroy", False, ("destroy", *DATA)),
        )
        self._ends: dict[str, World] = {}
        self.tried: list[str] = []

    # ------------------------------------------------------------------ specs

    def _specs(self, second: bool) -> Tree:
        """The first or the second version of the specs."""
        tag = self.stack.tag
        stack = {"name": tag, "uid": self.stack.uid}
        pool = {"path": str(self.directory / f"pool-{tag}"), "autostart": not second}
        return {
            "stack": stack,
            "networks": {tag: self._network(second)},
            "pools": {tag: pool},
            "volumes": {
                f"{tag}/raw.img": {"format": "raw", "capacity": "3MiB" if second else "1MiB"},
                f"{tag}/base.qcow2": {"capacity": "4MiB"},
                f"{tag}/over.qcow2": {"backing": f"{tag}/base.qcow2"},
                f"{tag}/copy.qcow2": {
                    "clone": self.strangers.gold,
                    "capacity": "12MiB" if second else "8MiB",
                },
                f"{tag}/more.img": {"format": "raw", "capacity": "1MiB"},
            },
            "domains": {f"{tag}-off": self._off(second), f"{tag}-on": self._on(second)},
        }

    def _network(self, second: bool) -> Tree:
        net = self._subnet
        hosts = [{"mac": "52:54:00:aa:00:01", "ip": f"{net}.{20 if second else 10}", "name": "a"}]
        number = 3 if second else 2
        hosts.append({"mac": f"52:54:00:aa:00:0{number}", "ip": f"{net}.1{number}"})
        dhcp = {"ranges": [f"{net}.100-{net}.199"], "hosts": hosts}
        names = ["b", "c"] if second else ["b"]
        return {
            "bridge": f"b{self.stack.tag}",
            "mac": "52:54:00:10:00:01",
            "domain": "second.example" if second else "first.example",
            "ips": [{"address": f"{net}.1/24", "dhcp": dhcp}],
            "dns": {"hosts": [{"ip": f"{net}.50", "names": names}]},
            "autostart": not second,
        }

    def _off(self, second: bool) -> Tree:
        tag = self.stack.tag
        disks: Tree = {"vda": {"volume": f"{tag}/over.qcow2"}}
        if not second:
            disks["vdb"] = {"volume": f"{tag}/raw.img"}
        more: Tree = {"disks": disks, "interfaces": {"eth0": {"network": tag}}}
        more["vcpus"] = {"current": 2 if second else 1, "maximum": 4}
        more["description"] = "2" if second else "1"
        return idle_domain() | more

    def _on(self, second: bool) -> Tree:
        tag = self.stack.tag
        medium = {"file": str(self.strangers.media[second])}
        password = SecretRef("VNC_PASSWORD")
        vnc = {"type": "vnc", "listen": "127.0.0.1", "port": "auto", "password": password}
        disks: Tree = {
            "vda": {"volume": f"{tag}/copy.qcow2"},
            "sda": {"device": "cdrom", "bus": "sata", **medium},
        }
        if second:
            disks["vdb"] = {"volume": f"{tag}/more.img"}
        return {
            "type": "qemu",
            "vcpus": {"current": 2 if second else 1, "maximum": 4},
            "memory": {"current": "80MiB" if second else "64MiB", "maximum": "96MiB"},
            "cpu": "qemu64" if second else "maximum",
            "disks": disks,
            "interfaces": {"eth0": {"network": tag, "link": "down" if second else "up"}},
            "title": "two" if second else "one",
            "graphics": [vnc],
            "metadata": {SPACE: f"<x:note xmlns:x='{SPACE}'>{int(second)}</x:note>"},
            "autostart": second,
            "shutdown_timeout": "1s",
            "state": "running",
        }

    # ------------------------------------------------------------------ legs

    def survey(self, *, reads: bool = False) -> dict[str, int]:
        """Go once round without a fault: how many calls each leg makes, and where it ends.

        With `reads` calls that only read count, too.
        """
        return {leg.name: self._plainly(leg, reads=reads) for leg in self.legs}

    def rounds(self, faults: dict[str, list[Fault]]) -> None:
        """Let every fault happen in its leg; a leg that has none left is gone where it must be."""
        create, update, replace, destroy = self.legs
        while any(faults.values()):
            self._one(create, faults)
            while faults[update.name] or faults[replace.name]:
                self._one(update, faults)
                self._one(replace, faults)
            self._one(destroy, faults)

    def _one(self, leg: Leg, faults: dict[str, list[Fault]]) -> None:
        if faults[leg.name]:
            self._cut(leg, faults[leg.name].pop(0))
        else:
            self._plainly(leg)

    def _plainly(self, leg: Leg, *, reads: bool = False) -> int:
        """A leg without a fault; how many calls it made."""
        done = self._run(leg, Fault(reads=reads))
        assert done.code == 0, f"{leg.name}: {done}"
        self._check_end(leg)
        self._ends.setdefault(leg.name, self.world())
        return len(done.calls)

    def _cut(self, leg: Leg, fault: Fault) -> None:
        """A leg with a fault, recovered."""
        cut = self._run(leg, fault)
        happened = fault.at <= len(cut.calls)
        where = f"{leg.name}, {fault} ({cut.calls[fault.at - 1] if happened else 'never'})"
        self._revive(fault)
        try:
            self._check_cut(fault, cut)
            self._recover(leg)
            cold = fault.kind.startswith("fail") and fault.code in NEXT_BOOT
            self._check_end(leg, alive=not cold)
        except AssertionError as error:
            raise NotConverged(f"{where}: {error}\n=== the faulted run: {cut}") from error
        self.tried.append(where)

    def _run(self, leg: Leg, fault: Fault) -> Faulted:
        self.stack.specs = self._specs(leg.second)
        self.stack.write()
        command, *flags = leg.command
        serial = ("--parallelism", "1")
        arguments = (
            command,
            str(self.stack.path),
            "--connect",
            self._uri,
            "--auto-approve",
            *serial,
            *flags,
        )
        return self._zygote.run(fault, arguments)

    def _revive(self, fault: Fault) -> None:
        if fault.kind.startswith("daemon"):
            self.host.restart()
            self._unbridge()
        if fault.kind == "freeze":
            signal_daemon(self.host, "CONT")
            time.sleep(1)  # what was asked for before ends only now

    def _unbridge(self) -> None:
        """Remove the bridge that libvirtd leaves when it is killed while it starts a network.

        libvirt then takes the network for inactive, cannot start it and offers no call to help.
        """
        with connection(self.host) as conn:
            active = {net.name() for net in conn.listAllNetworks() if net.isActive()}
        if self.stack.tag not in active:
            self.host.run(["ip", "link", "delete", f"b{self.stack.tag}"], check=False)

    def _check_cut(self, fault: Fault, cut: Faulted) -> None:
        """What must hold right after the fault: told without a traceback, nothing unclaimed."""
        if fault.kind.startswith("kill") and fault.at <= len(cut.calls):
            assert cut.code == -9, "it was not killed"
        else:
            assert cut.code in (0, 1, 5), f"exit {cut.code}"
        assert "Traceback" not in cut.err, "a traceback"
        assert "KVP9" not in cut.err + cut.out, "an internal error"
        now = self.world()
        unclaimed = now.objects.keys() - now.claims.keys()
        assert not unclaimed, f"nobody claims {sorted(unclaimed)}"
        self.strangers.check()

    def _recover(self, leg: Leg) -> None:
        """What an operator does: look who holds the lock, remove it, plan, apply, plan."""
        specs = ("--specs", str(self.stack.path), "--connect", self.host.uri)
        locks = json.loads(self._kvmplan(0, "lock", "--json", *specs).out)
        assert len(locks) <= 1, f"locks: {locks}"
        for lock in locks:
            self._kvmplan(0, "force-unlock", lock["id"], *specs)
        command, *flags = leg.command
        raw, user = f"volume.{self.stack.tag}/raw.img", f"domain.{self.stack.tag}-off"
        if raw in flags and "raw.img" in self.world().objects.get(user, ""):
            # It is as it shall be already, and no longer free to be replaced.
            at = flags.index(raw)
            del flags[at - 1 : at + 1]
        planned = self.stack.run("plan", *(["--destroy"] if leg.destroys else flags))
        assert planned.code == 0, f"the plan after it: {planned}"
        again = self.stack.run(command, "--auto-approve", *flags)
        assert again.code == 0, f"the apply after it: {again}\n--- its plan: {planned.out}"

    @staticmethod
    def _kvmplan(code: int, *arguments: str) -> Run:
        done = kvmplan(*arguments)
        assert done.code == code, f"{arguments}: {done}"
        return done

    def _check_end(self, leg: Leg, *, alive: bool = True) -> None:
        """What must hold at the end of every leg, faults or not.

        `alive`: whether what runs must be as it is without a fault, not only what is defined.
        """
        now = self.world()
        if leg.destroys:
            assert not now.objects, f"left: {sorted(now.objects)}"
            assert not now.claims, f"still claimed: {sorted(now.claims)}"
        else:
            empty = self.stack.plan()
            assert (empty.code, empty.last) == (0, NO_CHANGES), f"not empty: {empty}"
            assert now.objects.keys() == now.claims.keys(), "claims are not what there is"
            self.strangers.check_copy(self.directory / f"pool-{self.stack.tag}" / "copy.qcow2")
        self.strangers.check()
        assert now.locks == 0, "a lock was left"
        expected = self._ends.get(leg.name)
        if expected is not None and not alive:
            now, expected = now.defined(), expected.defined()
        if expected is not None:
            assert now == expected, f"another end than without a fault: {now.versus(expected)}"

    def world(self) -> World:
        """What there is of the stack."""
        with connection(self.host) as conn:
            return world(conn, self.stack.tag, self.stack.uid)
