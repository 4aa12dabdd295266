"""A host behind ssh, and the network cut: between steps no matter, during one it is told."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kvmplan.apply.execution import Execution
from kvmplan.host import actuators, live
from kvmplan.kinds.verbs import Verb
from tests.faults.campaign import Campaign
from tests.faults.course import Course
from tests.faults.injector import Fault
from tests.faults.zygote import Zygote
from tests.integration.support import (
    NO_CHANGES,
    Run,
    Stack,
    connection,
    idle_domain,
    kvmplan,
    stack,
    wait_until,
)
from tests.privatehost import PrivateHost
from tests.privatehost.ssh import SshServer, cut

TITLE = Verb.DEFINE


@pytest.fixture(scope="module")
def server(
    fault_host: PrivateHost, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SshServer]:
    """The host's ssh server."""
    made = SshServer(fault_host, tmp_path_factory.mktemp("ssh"))
    made.start()
    yield made
    made.stop()


@pytest.fixture
def made(fault_host: PrivateHost, tmp_path: Path) -> Iterator[Stack]:
    """A stack of three domains, each to be given its title after the one before."""
    with stack(tmp_path, fault_host) as it:
        names = [f"{it.tag}-{letter}" for letter in "abc"]
        it.specs["domains"] = {name: idle_domain() for name in names}
        it.apply()
        for earlier, name in zip([None, *names], names, strict=False):
            after = {"depends_on": [f"domain.{earlier}"]} if earlier else {}
            it.domains[name] |= {"title": f"of {name}", **after}
        it.write()
        yield it


def far(made: Stack, server: SshServer, command: str, *flags: str) -> Run:
    """A command over ssh."""
    return kvmplan(command, made.path, "--connect", server.uri, *flags)


def titles(made: Stack) -> list[str]:
    """Whose title is what it shall be."""
    assert made.host is not None
    with connection(made.host) as conn:
        documents = {name[-1]: conn.lookupByName(name).XMLDesc() for name in made.domains}
    return [one for one, text in documents.items() if f"<title>of {made.tag}-{one}" in text]


def broken(server: SshServer, opened: Any) -> None:
    """Cut all sessions, and wait until libvirt has seen it."""
    assert cut(server.pid) > 0
    wait_until(lambda: not opened.isAlive(), "the connection is dead")


def test_cut_between_steps(made: Stack, server: SshServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is asked next is asked on another connection, and all of it is done."""
    planned = far(made, server, "plan", "--detailed-exitcode")
    assert (planned.code, planned.last) == (2, "Plan: 0 to add, 3 to change, 0 to destroy.")
    ends = Execution.end
    cuts = []

    def end(self: Execution, task: Any) -> tuple[str, ...]:
        notes = ends(self, task)
        broken(server, self._site.host.connection)  # type: ignore[attr-defined]
        cuts.append(task.change.address)
        return notes

    monkeypatch.setattr(Execution, "end", end)
    done = far(made, server, "apply", "--auto-approve")
    assert (done.code, len(cuts)) == (0, 3), str(done)
    assert done.last == "Apply complete! Resources: 0 added, 3 changed, 0 destroyed."
    assert titles(made) == ["a", "b", "c"]
    empty = far(made, server, "plan")
    assert (empty.code, empty.last) == (0, NO_CHANGES), str(empty)
    assert kvmplan("lock", "--json", "--specs", made.path, "--connect", server.uri).out == "[]\n"


def hurt_second(
    monkeypatch: pytest.MonkeyPatch, hurt: Callable[[Any], None], *, before: bool
) -> list[str]:
    """Let something happen before or after the second title is written; who was to be written."""
    real, asked = actuators.perform, list[str]()

    def perform(opened: Any, verb: Verb, address: Any, arguments: Any) -> None:
        if verb is not TITLE:
            real(opened, verb, address, arguments)
            return
        asked.append(address.name[-1])
        if before and len(asked) == 2:
            hurt(opened)
        real(opened, verb, address, arguments)
        if not before and len(asked) == 2:
            hurt(opened)
            opened.getHostname()  # as if the answer had not come any more

    monkeypatch.setattr(live, "perform", perform)
    return asked


@pytest.mark.parametrize("before", [True, False])
def test_cut_during_a_step(
    made: Stack, server: SshServer, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    """It may be done or not: that is said, it is not tried again, and the next apply knows."""
    with monkeypatch.context() as patch:
        asked = hurt_second(patch, lambda opened: broken(server, opened), before=before)
        done = far(made, server, "apply", "--auto-approve")
        assert asked == ["a", "b"]
    assert done.code == 5, str(done)
    ending = "Apply incomplete! Resources: 0 added, 1 changed, 0 destroyed; 1 failed, 1 skipped."
    assert done.last == ending
    said = " ".join(done.out.split())
    assert "KVP602" in said
    assert "whether the step in flight" in said
    assert "is unknown" in said
    assert titles(made) == (["a"] if before else ["a", "b"])
    left = far(made, server, "plan")
    assert left.last == f"Plan: 0 to add, {2 if before else 1} to change, 0 to destroy."
    again = far(made, server, "apply", "--auto-approve")
    assert again.code == 0, f"the lock was given back: {again}"
    made.in_sync()


def test_cut_for_good(made: Stack, server: SshServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that cannot be reached again keeps the lock, and says what to check."""

    def end_all(opened: Any) -> None:
        server.stop()
        wait_until(lambda: not opened.isAlive(), "the connection is dead")

    try:
        with monkeypatch.context() as patch:
            hurt_second(patch, end_all, before=True)
            done = far(made, server, "apply", "--auto-approve")
        assert done.code == 5, str(done)
        assert "is unknown" in " ".join(done.out.split())
        gone = far(made, server, "plan")
        assert (gone.code, "KVP502" in gone.err) == (1, True), str(gone)
        assert "check that" in gone.err
    finally:
        server.start()
    locked = far(made, server, "apply", "--auto-approve")
    assert locked.code == 4, str(locked)
    there = ("--specs", made.path, "--connect", server.uri)
    (lock,) = json.loads(kvmplan("lock", "--json", *there).out)
    assert kvmplan("force-unlock", lock["id"], *there).code == 0
    assert far(made, server, "apply", "--auto-approve").code == 0
    made.in_sync()


def test_cut_at_any_call(
    fault_host: PrivateHost,
    server: SshServer,
    zygote: Zygote,
    tmp_path_factory: pytest.TempPathFactory,
    summaries: Path,
) -> None:
    def course() -> Course:
        return Course(fault_host, tmp_path_factory.mktemp("course"), zygote, server.uri)

    campaign = Campaign(course, "ssh cut")
    campaign.run(
        lambda count: [
            Fault(kind, at, reads=True, server=server.pid)
            for at in range(1, count + 1)
            for kind in ("ssh-before", "ssh-during")
        ],
        reads=True,
        every=400,
    )
    campaign.end(summaries)
