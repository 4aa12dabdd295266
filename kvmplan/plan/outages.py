"""Outages: which networks go down and up again in this run, and whom networks have lost.

A network is restarted for what is changed now and reaches it at its next start only, and for what
is pending from before, where its spec says ``on_change: restart`` or the user names it. One that
went down otherwise, by hand or by a run that was cut, has lost its running guests: starting it does
not bring them back. They are plugged in again where it is started, made, or found running.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from kvmplan.address import Address, Kind
from kvmplan.inventory import Inventory, Record
from kvmplan.kinds.bridges import OWN_BRIDGE, has_own_bridge
from kvmplan.kinds.verbs import Verb
from kvmplan.mapping.document import parse_to_read
from kvmplan.mapping.impact import Impact
from kvmplan.plan import steps
from kvmplan.plan.change import Action, Pending, Reason
from kvmplan.plan.intent import Intent
from kvmplan.plan.options import PlanOptions
from kvmplan.plan.restarts import reaching
from kvmplan.plan.steps import Draft
from kvmplan.plan.strangers import HELD, standing
from kvmplan.plan.users import Users, carried, past, unplugged
from kvmplan.plan.verdict import Verdict

LEASES = "its guests keep the addresses that they have until they ask for new ones"
"""What a restart does not change: who holds a lease learns of another subnet when it ends."""

CUT_OFF = "a start of it was cut before: running guests may have lost it"
"""Why a network without a difference is changed."""


def plan_outages(
    verdicts: Iterable[Verdict],
    pending: Iterable[Pending],
    options: PlanOptions,
    inventories: Mapping[str, Inventory],
    moment: str,
) -> None:
    """Turn changes and pending fields of networks that may be restarted into restarts.

    Networks that have lost guests are changed, too; where all of these are held, that is told.
    """
    waiting = {item.address: item.fields for item in pending if not item.waiting}
    for verdict in filter(_is_here, verdicts):
        changes, before = reaching(verdict, waiting.get(verdict.address, ()))
        needed = bool(before) or any(change.impact is Impact.RESTART for change in changes)
        if needed and _may_restart(verdict, options):
            verdict.action, verdict.restart = Action.UPDATE, True
            verdict.compared = replace(verdict.compared, changes=changes)
            verdict.pending = before
        else:
            _heal(verdict, inventories[verdict.address.host], moment)


def _is_here(verdict: Verdict) -> bool:
    """Whether it is a network that is and stays, and ours to act on."""
    return (
        verdict.address.kind is Kind.NETWORK
        and verdict.intent is not None
        and verdict.record is not None
        and verdict.action in (Action.NOOP, Action.UPDATE)
        and verdict.reason in (Reason.NONE, Reason.ADOPT, Reason.TORN)
    )


def _may_restart(verdict: Verdict, options: PlanOptions) -> bool:
    """Whether it is up and stays up, and is to be restarted."""
    assert verdict.intent is not None
    assert verdict.record is not None
    wanted = getattr(verdict.intent.resource.model, "on_change", None) == "restart"
    named = wanted or options.names_restart(verdict.address)
    return named and verdict.record.active and stays_up(verdict.intent)


def stays_up(intent: Intent) -> bool:
    """Whether a network is to be active."""
    return intent.tree.get("active") is not False


def _heal(verdict: Verdict, inventory: Inventory, moment: str) -> None:
    """It is changed if it has lost guests; if they are all held, that is told."""
    intent, address = verdict.intent, verdict.address
    assert intent is not None
    domains = [
        Address(address.host, Kind.DOMAIN, name)
        for name in sorted(inventory.lost.get(address.name, ()) if stays_up(intent) else ())
    ]
    told = tuple(_held(d) for d in domains if standing(d, inventory, moment) == HELD)
    if intent.lost_guests and verdict.reason is not Reason.TORN:
        verdict.compared = replace(verdict.compared, notes=(*verdict.compared.notes, CUT_OFF))
        verdict.action = Action.UPDATE
    elif len(domains) > len(told):
        verdict.action = Action.UPDATE
    elif verdict.action is Action.NOOP and told:
        verdict.compared = replace(verdict.compared, notes=(*verdict.compared.notes, *told))


def _held(domain: Address) -> str:
    return f"{domain.short} is held: its NICs on it stay cut off"


@dataclass(frozen=True, slots=True)
class Outages:
    """Whom the networks of one plan disturb, and whom they get back.

    Attributes:
        users: who uses what, of every host that something changes on.
        moment: when the plan is made, ISO 8601, UTC.
    """

    inventories: Mapping[str, Inventory]
    users: Mapping[str, Users]
    moment: str

    def steps(self, verdict: Verdict) -> Iterator[Draft]:
        """The restart of a network; or what brings back those that it has lost."""
        intent, record = verdict.intent, verdict.record
        if intent is None or verdict.address.kind is not Kind.NETWORK:
            return
        if verdict.restart and record is not None:
            names = unplugged(self.users[verdict.address.host], record)
            yield from steps.restart_network(intent, names)
            return
        back = [domain.name for domain, why in self._lost(verdict) if why != HELD]
        if back:
            yield steps.reconnect(intent, back)

    def notes(self, verdict: Verdict) -> Iterator[str]:
        """Whom a restart of a network disturbs, or who gets it back."""
        record = verdict.record
        if verdict.address.kind is not Kind.NETWORK:
            return
        if not verdict.restart or record is None:
            yield from self._healed(verdict)
            return
        users = self.users[verdict.address.host]
        names = carried(users, record)
        if not names:
            yield "no running guest is on it"
            return
        listed = ", ".join(f"{Kind.DOMAIN}.{name}" for name in names)
        if not unplugged(users, record):
            yield f"{listed}: not cut off, each keeps what it has of the host until its next start"
            return
        yield f"cuts off {listed}, until their NICs are plugged in again by the same run"
        if any(f.path[0] == "ips" for f in (*verdict.compared.changes, *verdict.pending)):
            yield LEASES

    def _healed(self, verdict: Verdict) -> Iterator[str]:
        lost = self._lost(verdict)
        back = [f"{d.short} ({why})" if why else d.short for d, why in lost if why != HELD]
        if back:
            yield f"plugs NICs of {', '.join(back)} in again: lost when it went down"
        for domain, why in lost:
            if why == HELD:
                yield _held(domain)

    def _lost(self, verdict: Verdict) -> list[tuple[Address, str]]:
        """The running domains that a network will have lost once it runs, and what they are."""
        host, intent, record = verdict.address.host, verdict.intent, verdict.record
        assert intent is not None
        names = set[str]()
        if stays_up(intent) and _has_own_bridge(intent, record):
            names = self._lost_names(verdict, intent, record)
        domains = [Address(host, Kind.DOMAIN, name) for name in sorted(names)]
        return [(it, standing(it, self.inventories[host], self.moment)) for it in domains]

    def _lost_names(self, verdict: Verdict, intent: Intent, record: Record | None) -> set[str]:
        address, users = verdict.address, self.users[verdict.address.host]
        if record is None:
            bridge = (intent.tree.get("bridge") or {}).get("name") or ""
            by_bridge = users.bridges.get(bridge, set())
            return users.running_networks.get(address.name, set()) | by_bridge
        starts = any(change.verb is Verb.START for change in verdict.compared.changes)
        if starts or (intent.lost_guests and record.ports is None):
            return set(carried(users, record))
        lost = self.inventories[address.host].lost.get(address.name, frozenset())
        # Of those on its bridge past the network nobody can tell.
        return {*lost, *past(users, record)} if lost or intent.lost_guests else set()


def _has_own_bridge(intent: Intent, record: Record | None) -> bool:
    """Whether a network's bridge goes when it does; else its guests keep what they are on."""
    if record is None:
        return ((intent.tree.get("forward") or {}).get("mode") or "nat") in OWN_BRIDGE
    return has_own_bridge(parse_to_read(record.running or record.document))
