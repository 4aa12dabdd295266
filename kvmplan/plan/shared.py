"""Shared: disks that two domains write to, and overlays of what another domain writes to.

Either destroys what is on them, and libvirt looks on. An overlay of a disk of the same guest does
not: QEMU's locks on images keep such a guest from starting. The same questions are asked offline,
of what the specs alone say, and by a plan, of what is on the host, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from kvmplan.address import Address, Kind
from kvmplan.diagnostics import Diagnostics
from kvmplan.kinds.domain import Domain
from kvmplan.kinds.volume import Volume
from kvmplan.mapping.model import declared
from kvmplan.plan.collisions import Report
from kvmplan.plan.intent import Intent
from kvmplan.plan.sources import Sources, Tree
from kvmplan.plan.storage import SHARED, place_of
from kvmplan.plan.users import Users, uses_of
from kvmplan.spec.desired import Resource

DISK_REMEDY = "give each its own disk, or set `shareable: true` on both"
BASE_REMEDY = "make it a `clone`, or set `readonly: true` on that disk"


def check_shared(resources: Mapping[Address, Resource], found: Diagnostics) -> None:
    """KVP132 for a disk that two domains of the specs write to; a warning for a base."""
    hosts = {address.host: Sources(address.host, resources) for address in resources}
    users: dict[tuple[str, str], str] = {}
    off = set[str]()
    on = set[tuple[str, str, str]]()
    for address, resource in sorted(resources.items()):
        if not isinstance(resource.model, Domain):
            continue
        tree, sources = declared(resource.model), hosts[address.host]
        off |= {address.short} if resource.model.state == "stopped" else set()
        on |= {(address.host, source, address.short) for source in sources.on(tree)}
        for target, source, text in sources.written(tree):
            first = users.setdefault((address.host, source), address.short)
            if first != address.short:
                summary = f"{address.short} ({target}) uses {text}, which {first} uses already"
                place = place_of(resource, ("disks", target))
                found.error(SHARED, summary, place, DISK_REMEDY, address)
    for address, resource in sorted(resources.items()):
        if isinstance(resource.model, Volume):
            sources = hosts[address.host]
            base, own = sources.of_base(declared(resource.model)), sources.of(address.name, None)
            user = users.get((address.host, base)) if base is not None else None
            if user is not None and user not in off and (address.host, own, user) not in on:
                summary, place = _over(address, user), place_of(resource, ("backing",))
                found.warning(SHARED, summary, place, BASE_REMEDY, address)


def _over(volume: Address, user: str) -> str:
    return f"{volume.short} is an overlay of a disk that {user} writes to"


class _Writer(NamedTuple):
    """A domain that writes somewhere: ``domain.NAME``, and that with its disk."""

    domain: str
    words: str
    runs: bool
    """Whether it does, or will; a template that is off writes to nothing."""


def _runs(intent: Intent) -> bool:
    state = getattr(intent.resource.model, "state", None)
    is_up = intent.record is not None and intent.record.active
    return is_up or state == "running" or (intent.record is None and state != "stopped")


class Shared:
    """Looks for shared disks among what a plan is about, on one host.

    Args:
        sources: what is on the host.
        users: who uses what there.
        prospects: what becomes of objects, by address.
        report: gets the problems.
    """

    def __init__(
        self,
        sources: Sources,
        users: Users,
        prospects: Mapping[Address, Tree],
        report: Report,
    ) -> None:
        self._sources, self._users = sources, users
        self._prospects, self._report = prospects, report
        self._writers: dict[str, _Writer] = {}
        self._on = set[tuple[str, str]]()

    def check(self, domains: list[Intent], volumes: list[Intent]) -> None:
        """Report what two write to, and overlays of what another than their user writes to."""
        for intent in domains:
            self._check_domain(intent)
        for intent in volumes:
            self._check_volume(intent)

    def _check_domain(self, intent: Intent) -> None:
        name = intent.address.short
        self._on |= {(source, name) for source in self._sources.on(intent.tree)}
        for target, source, text in self._sources.written(intent.tree):
            here = f"{name} ({target})"
            first = self._writers.setdefault(source, _Writer(name, here, _runs(intent)))
            other = first.words if first.words != here else self._other(intent.address, source)
            if other is not None:
                summary = f"{here} uses {text}, which {other} uses already"
                self._report(SHARED, intent, ("disks", target), summary, DISK_REMEDY)

    def _check_volume(self, intent: Intent) -> None:
        base = self._sources.of_base(intent.tree)
        if base is None:
            return
        own, writer = self._sources.of(intent.address.name, None), self._writers.get(base)
        if writer is not None and (not writer.runs or (own, writer.domain) in self._on):
            return
        user = writer.words if writer is not None else self._other(intent.address, base, up=True)
        if user is not None:
            self._report(SHARED, intent, ("backing",), _over(intent.address, user), BASE_REMEDY)

    def _other(self, address: Address, source: str, *, up: bool = False) -> str | None:
        """A domain that writes there now, and is not to leave it; with `up` one that runs."""
        uses = uses_of(self._users, self._sources, source)
        own = address.name if address.kind is Kind.DOMAIN else None
        writing = (use for use in uses if use.top and not use.shared and (use.running or not up))
        others = {use.domain for use in writing} - {own}
        stay = [name for name in sorted(others) if not self._leaves(address.host, name, source)]
        return f"domain.{stay[0]}" if stay else None

    def _leaves(self, host: str, domain: str, source: str) -> bool:
        """Whether this plan takes the disk away from its present user, now or at its next boot."""
        return self._sources.is_left(
            self._prospects.get(Address(host, Kind.DOMAIN, domain)), source
        )
