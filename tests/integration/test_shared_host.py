"""The example `shared-host`: whatever two stacks do, a stranger's objects stay byte for byte."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import libvirt
import pytest

from kvmplan.host import open_host
from tests.integration.support import NO_CHANGES, NOTHING_APPLIED, Run, connection, kvmplan
from tests.privatehost import PrivateHost

EXAMPLE = Path(__file__).parents[2] / "examples" / "shared-host"
GIVEN_PATH = "/var/lib/libvirt/images/shared-host"
TEAM_A = "4b6de1f0-2f3c-4a55-8d0b-0c2b6a1d9e01"
WHOLE = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE


class Stranger:
    """What the example's page has the stranger make with virsh, and how it is at the moment."""

    def __init__(self, conn: libvirt.virConnect, folder: Path) -> None:
        def text(name: str) -> str:
            page = (EXAMPLE / "stranger" / f"{name}.xml").read_text()
            return page.replace(GIVEN_PATH, str(folder))

        (folder / "stranger").mkdir()
        self._folder = folder / "stranger"
        self._network = conn.networkDefineXML(text("network"))
        self._network.create()
        self._pool = conn.storagePoolDefineXML(text("pool"))
        self._pool.create()
        self._volume = self._pool.createXML(text("volume"))
        Path(self._volume.path()).write_bytes(b"a stranger's bytes" * 1000)
        self._pool.refresh()
        self._domains = [conn.defineXML(text(name)) for name in ("old", "idle")]
        self._domains[0].create()
        self._before = self.dumps()

    def dumps(self) -> tuple[object, ...]:
        """Everything that libvirt says of it, and the bytes."""
        domains = [(d.XMLDesc(0), d.XMLDesc(WHOLE), d.state(), d.ID()) for d in self._domains]
        network = [self._network.XMLDesc(flags) for flags in (0, 1)]
        pool = [self._pool.XMLDesc(flags) for flags in (0, libvirt.VIR_STORAGE_XML_INACTIVE)]
        active = [thing.isActive() for thing in (self._network, self._pool)]
        starts = [t.autostart() for t in (*self._domains, self._network, self._pool)]
        files = {file.name: file.read_bytes() for file in self._folder.iterdir()}
        return domains, network, pool, active, starts, self._volume.XMLDesc(), files

    def check(self, after: str) -> None:
        """It must be as it was."""
        assert self.dumps() == self._before, f"the stranger's things changed after {after}"

    def remove(self) -> None:
        """Take it away."""
        self._domains[0].destroy()
        for domain in self._domains:
            domain.undefine()
        for thing in (self._network, self._pool):
            thing.destroy()
            thing.undefine()


@dataclass
class Host:
    """The shared host and both teams' repository."""

    host: PrivateHost
    stranger: Stranger
    folder: Path

    def run(self, command: str, team: str, *flags: str, code: int = 0) -> Run:
        """A command on a team's specs, after which the stranger's things are looked at."""
        specs = str(self.folder / team / "specs")
        where = ("--specs", specs) if command in ON_ADDRESSES else (specs,)
        given = ("--connect", self.host.uri, "--var", f"pool_path={self.folder}")
        done = kvmplan(command, *where, *given, *flags)
        self.stranger.check(f"{command} {' '.join(flags)}")
        assert done.code == code, f"{command} {' '.join(flags)}: {done}"
        return done

    def edit(self, team: str, before: str, after: str) -> None:
        """Edit a team's specs."""
        file = self.folder / team / "specs" / "stack.yaml"
        text = file.read_text()
        assert before in text
        file.write_text(text.replace(before, after))


ON_ADDRESSES = ("adopt", "forget", "hold", "release", "lock", "force-unlock")


@pytest.fixture
def shared(private_host: PrivateHost, tmp_path: Path) -> Iterator[Host]:
    folder = tmp_path / "shared-host"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("stranger"))
    with connection(private_host) as conn:
        stranger = Stranger(conn, folder)
        try:
            yield Host(private_host, stranger, folder)
        finally:
            stranger.remove()


def test_two_teams_beside_somebody_else(shared: Host) -> None:
    run = shared.run
    for team in ("team-a", "team-b"):
        planned = run("plan", team, "--detailed-exitcode", code=2)
        assert "stranger" not in planned.out
        run("apply", team, "--auto-approve")
    try:
        look(shared)
        refuse(shared)
        keep(shared)
        lose(shared)
    finally:
        data = ("--auto-approve", "--allow-data-loss", "volume.*")
        for team in ("team-b", "team-a"):
            run("destroy", team, *data)
    assert sorted(path.name for path in shared.folder.rglob("*.qcow2")) == []


def look(shared: Host) -> None:
    """Commands that only look."""
    run = shared.run
    for team, other in (("team-a", "team-b"), ("team-b", "team-a")):
        planned = run("plan", team, "--detailed-exitcode")
        assert planned.last == NO_CHANGES
        assert "stranger" not in planned.out
        assert run("drift", team).last == "No drift."
        assert run("orphans", team).out == "No orphans.\n"
        assert run("doctor", team, "--repair").out == "Nothing to repair.\n"
        assert run("lock", team).out == "No locks.\n"
        told = {
            row["address"].partition(":")[2]: row["about"]
            for row in json.loads(run("status", team, "--json").out)["unmanaged"]
        }
        assert [told[f"domain.stranger-{name}"] for name in ("old", "idle")] == ["", ""]
        assert told[f"pool.{other}"] == f"owned by the stack '{other}'"


def refuse(shared: Host) -> None:
    """What would reach for another's."""
    run = shared.run
    used = run("destroy", "team-a", "--auto-approve", "--allow-data-loss", "volume.*", code=7)
    assert "used by domain.team-b-ci" in used.err
    assert "KVP221" in run("adopt", "team-a", "domain.team-b-ci", code=1).err
    for command in ("forget", "hold", "release"):
        assert "KVP250" in run(command, "team-a", "domain.stranger-old", code=1).err
    more = "domains:\n  stranger-old: {memory: 1GiB}\n"
    shared.edit("team-a", "domains:\n", more)
    for command, flags in (("plan", ()), ("apply", ("--auto-approve", "--prune"))):
        assert "KVP220" in run(command, "team-a", *flags, code=1).err
    targeted = run("destroy", "team-a", "--auto-approve", "--target", "domain.stranger-old")
    assert targeted.last == NOTHING_APPLIED
    shared.edit("team-a", more, "domains:\n")


def keep(shared: Host) -> None:
    """Holds, locks, orphans, and what is given up."""
    run = shared.run
    run("hold", "team-a", "domain.team-a-mail", "--reason", "moving")
    shared.edit("team-a", "for_each: [shop, mail]", "for_each: [shop]")
    everything = ("--auto-approve", "--prune", "--max-delete", "9")
    data = ("--allow-data-loss", "volume.*")
    assert "domain.team-a-mail" in run("apply", "team-a", *everything, *data, code=7).err
    run("release", "team-a", "domain.team-a-mail")
    assert run("orphans", "team-a").out.split() == [
        "domain.team-a-mail",
        "volume.team-a/mail.qcow2",
    ]
    run("apply", "team-a", *everything, *data)
    shared.edit("team-a", "for_each: [shop]", "for_each: [shop, mail]")
    run("apply", "team-a", "--auto-approve")

    holder = open_host(uri=shared.host.uri)
    try:
        with holder.lock(TEAM_A, "a test", 0.0) as lock:
            run("apply", "team-a", "--auto-approve", code=4)
            run("apply", "team-b", "--auto-approve")
            run("force-unlock", "team-a", lock.info.id)
    finally:
        holder.close()


def lose(shared: Host) -> None:
    """Claims that are given up, and lost, and taken again."""
    run = shared.run
    run("forget", "team-a", "domain.*")
    assert "Unowned" in run("plan", "team-a", "--detailed-exitcode").out
    run("adopt", "team-a", "domain.team-a-*")
    with connection(shared.host) as conn:
        usage = f"kvmplan/claims/{TEAM_A}"
        next(s for s in conn.listAllSecrets() if s.usageID() == usage).undefine()
    proposed = json.loads(run("doctor", "team-a", "--repair", "--json", code=1).out)
    (command,) = proposed["commands"]
    assert "stranger" not in command
    assert "team-b" not in command.replace(str(shared.folder), "")
    run("apply", "team-a", "--auto-approve", "--adopt")
    assert run("doctor", "team-a", "--repair").out == "Nothing to repair.\n"
