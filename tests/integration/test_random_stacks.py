"""Random stacks and random edits, on a real libvirtd: what holds for every plan and every apply.

After an apply the next plan is empty; steps stand in an order in which nothing is used before it is
made, or gone while it is used; only what is claimed is deleted, and strangers stay byte for byte;
every call that writes belongs to a step that was shown, or to the lock or the claims.

``KVMPLAN_RANDOM_STACKS=N`` tries N stacks, others each time.
"""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import libvirt
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from lxml import etree

from kvmplan.address import Kind
from kvmplan.host import actuators, live
from kvmplan.host import claims as claim_store
from kvmplan.kinds.mark import NAMESPACE
from kvmplan.kinds.verbs import Verb
from tests.faults.injector import WRITES
from tests.faults.strangers import Strangers
from tests.integration.random_stacks import Tree, edits, named, stacks, uses
from tests.integration.support import Stack, canonical, connection, document
from tests.privatehost import PrivateHost

LONG = int(os.environ.get("KVMPLAN_RANDOM_STACKS", "0"))
SHORT = 8
MARK = "mark"
"""A step that changes our own mark only."""
Use = tuple[str, str]
"""User and used, by address."""
RECORDS = "virSecret"
"""What writes of the lock and the claims begin with."""
PRUNING = ("--prune", "--allow-empty", "--max-delete", "99")
DATA = ("--allow-data-loss", "volume.*")


@dataclass
class Recorder:
    """Stands in for ``libvirtmod``: which verbs were performed, and what was written outside any.

    Attributes:
        performed: (verb, address) of each step, as it begins.
        stray: calls that write without a step around them.
    """

    real: Any
    performed: list[tuple[str, str]] = field(default_factory=list)
    stray: list[str] = field(default_factory=list)
    inside: threading.local = field(default_factory=threading.local)

    def __getattr__(self, name: str) -> Any:
        """A function of libvirt's."""
        if WRITES.match(name) and not name.startswith(RECORDS) and not self._in_step:
            self.stray.append(name)
        return getattr(self.real, name)

    @property
    def _in_step(self) -> bool:
        return getattr(self.inside, "step", False)

    def perform(self, real: Any, target: Any, verb: Verb, address: Any, arguments: Any) -> None:
        """A step, with the calls that it makes."""
        name = MARK if only_marks(target, verb, address, arguments) else verb.value
        self.performed.append((name, address.short))
        self.inside.step = True
        try:
            real(target, verb, address, arguments)
        finally:
            self.inside.step = False


def only_marks(conn: Any, verb: Verb, address: Any, arguments: Any) -> bool:
    """Whether a step changes our own mark and nothing else of an object."""
    if verb is Verb.SET_METADATA:
        return bool(arguments["namespace"] == NAMESPACE)
    if verb is not Verb.DEFINE or address.kind is not Kind.NETWORK:
        return False
    there = [net for net in conn.listAllNetworks() if net.name() == address.name]
    wanted = etree.fromstring(arguments["xml"])
    live = [document(net, libvirt.VIR_NETWORK_XML_INACTIVE) for net in there]
    return any(canonical(root) == canonical(wanted) for root in live)


@contextmanager
def recorded() -> Iterator[Recorder]:
    """Everything that is written to hosts meanwhile."""
    recorder, real = Recorder(libvirt.libvirtmod), actuators.perform
    with (
        mock.patch.object(libvirt, "libvirtmod", recorder),
        mock.patch.object(live, "perform", lambda *given: recorder.perform(real, *given)),
    ):
        yield recorder


@dataclass
class Walk:
    """One stack on its way through random edits.

    Attributes:
        counts: what was tried and seen.
    """

    host: PrivateHost
    directory: Path
    counts: Counter[str]

    def __post_init__(self) -> None:
        self.stack = Stack(self.directory, self.host)
        self.before: list[Use] = []

    def go(self, short: Tree) -> None:
        """Apply a stack, and look whether everything holds."""
        self.stack.specs |= named(short, self.stack.tag, self.directory)
        self._apply(list(uses(self.stack.specs, made=True)), *PRUNING)
        self.before = list(uses(self.stack.specs, made=False))
        self.stack.in_sync(*PRUNING)

    def end(self) -> None:
        """Destroy it."""
        self._apply([], "--destroy")
        with connection(self.host) as conn:
            assert claim_store.read(conn, self.stack.uid).own is None

    def _apply(self, users: list[Use], *flags: str) -> None:
        claimed = self._claimed()
        has_data = any(name.startswith("volume.") for name in claimed)
        data = DATA if has_data or self.stack.specs.get("volumes") else ()
        with recorded() as writes:
            shown = self.stack.run("plan", "--format", "json", *data, *flags)
        assert shown.code == 0, str(shown)
        assert (writes.performed, writes.stray) == ([], []), "plan wrote"
        rows = json.loads(shown.out)["resource_changes"]
        check_order(rows, users, self.before)
        gone = {row["address"].partition(":")[2] for row in rows if deletes(row)}
        assert gone <= claimed, f"not claimed, and deleted: {gone - claimed}"
        with recorded() as writes:
            self.stack.apply(*data, *flags)
        check_writes(rows, writes)
        self.counts["applies"] += 1
        self.counts["steps"] += sum(len(row["steps"]) for row in rows)
        self.counts["deletions"] += len(gone)

    def _claimed(self) -> set[str]:
        with connection(self.host) as conn:
            own = claim_store.read(conn, self.stack.uid).own
        return set(own.entries) if own else set()


def short_of(row: Tree) -> str:
    """A change's address without its host."""
    found: str = row["address"].partition(":")[2]
    return found


def deletes(row: Tree) -> bool:
    """Whether a change removes its object."""
    return "delete" in row["change"]["actions"]


def check_order(rows: list[Tree], now: list[Use], before: list[Use]) -> None:
    """What is used is made before its users, and goes after them."""
    steps = {step["id"]: step for row in rows for step in row["steps"]}
    assert sorted(steps) == list(range(1, len(steps) + 1))
    waits = [(first, step["id"]) for step in steps.values() for first in step["after"]]
    assert all(first in steps and first < then for first, then in waits)
    ids = {short_of(row): [step["id"] for step in row["steps"]] for row in rows}
    made = {short_of(row) for row in rows if row["change"]["actions"] == ["create"]}
    gone = {short_of(row) for row in rows if deletes(row)}
    for user, used in now:
        if used in made and user in made:
            assert max(ids[used]) < min(ids[user]), f"{user} is made before {used}"
    for user, used in before:
        if used in gone and user in gone:
            assert max(ids[user]) < min(ids[used]), f"{used} goes before {user}"


def check_writes(rows: list[Tree], writes: Recorder) -> None:
    """What was shown was done, nothing else; each step after what it waits for."""
    calls = {
        step["id"]: (MARK if step["arguments"].get("mark") else step["verb"], short_of(row))
        for row in rows
        for step in row["steps"]
    }
    shown = Counter(calls.values())
    done = Counter(call for call in writes.performed if call[0] != Verb.REFRESH)
    for call in [call for call in done if call[0] == MARK and shown[call]]:
        done[call] -= 1 if done[call] == 2 else 0  # one announces what is going to be ours
    assert not done - shown, f"not shown, and done: {done - shown}"
    assert not shown - done, f"shown, and not done: {shown - done}"
    assert writes.stray == [], f"written outside any step: {writes.stray}"
    once = {call: place for place, call in enumerate(writes.performed) if shown[call] == 1}
    for step in (step for row in rows for step in row["steps"]):
        mine = once.get(calls[step["id"]])
        for first in step["after"]:
            other = once.get(calls[first])
            assert mine is None or other is None or other < mine, f"{calls[first]} came late"


def test_what_holds_for_random_stacks(
    private_host: PrivateHost, tmp_path_factory: Any, summaries: Path
) -> None:
    directory = tmp_path_factory.mktemp("random")
    strangers = Strangers(private_host, directory, "r" + os.urandom(3).hex())
    counts: Counter[str] = Counter()

    @settings(
        max_examples=LONG or SHORT,
        deadline=None,
        derandomize=not LONG,
        database=None,
        phases=(Phase.generate, Phase.shrink) if LONG else (Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def walk(data: st.DataObject) -> None:
        one = Walk(private_host, directory, counts)
        short = data.draw(stacks())
        try:
            one.go(short)
            for _ in range(2):
                short = data.draw(edits(short))
                one.go(short)
        finally:
            one.end()
        strangers.check()
        counts["stacks"] += 1

    try:
        walk()
    finally:
        strangers.remove()
    kinds = ("stacks", "applies", "steps", "deletions")
    text = ", ".join(f"{counts[kind]} {kind}" for kind in kinds)
    line = {"title": "random stacks", "text": f"{text}: every law held"}
    (summaries / "random-stacks.summary.json").write_text(json.dumps(line) + "\n")
