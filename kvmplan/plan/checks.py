"""Checks of a plan: references to nothing, and conflicts that libvirt accepts in silence.

Errors for what the plan creates, changes or starts; warnings for what it leaves alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Set
from difflib import get_close_matches

from kvmplan.address import Address, Kind
from kvmplan.diagnostics import Diagnostics, Place, Severity
from kvmplan.inventory import EMPTY, Inventory
from kvmplan.plan.change import Action
from kvmplan.plan.collisions import Collisions
from kvmplan.plan.intent import Intent
from kvmplan.plan.leases import given
from kvmplan.plan.references import wanted
from kvmplan.plan.shared import Shared
from kvmplan.plan.sources import Sources, Tree
from kvmplan.plan.users import Users
from kvmplan.spec.desired import Resource

HALF_MADE = "which holds a part of what a run was filling it with as it was cut"
MAKE_AGAIN = "take it into the plan too: it is made again"


def check_references(
    resources: Mapping[Address, Resource],
    inventories: Mapping[str, Inventory],
    acting: Iterable[Address],
    left_out: Set[Address],
    half_made: Set[Address],
    found: Diagnostics,
) -> None:
    """KVP120 for every reference that neither the specs nor the host can meet.

    Args:
        resources: the spec's.
        inventories: the hosts, by name.
        acting: what the plan changes: errors there, warnings elsewhere.
        left_out: what --target and --exclude keep out of the plan.
        half_made: the volumes that a cut run has filled in part, and that stay so.
        found: gets the problems.
    """
    active = set(acting)
    for address, resource in resources.items():
        places = {
            reference.target: reference.place
            for reference in (*resource.references, *resource.depends_on)
        }
        for target in wanted(resource):
            inventory = inventories.get(target.host)
            planned = target in resources and target not in left_out
            there = planned or (inventory is not None and _is_there(target, inventory))
            if inventory is None or (there and target not in half_made):
                continue
            if target in resources and address not in active:
                continue
            severity = Severity.ERROR if address in active else Severity.WARNING
            place = places.get(target, resource.place)
            if target in half_made:
                summary = f"{address.short} refers to {target.short}, {HALF_MADE}"
                found.add(severity, "KVP120", summary, place, MAKE_AGAIN, address)
            else:
                _missing(severity, address, target, place, resources, inventory, found)


def _is_there(target: Address, inventory: Inventory) -> bool:
    if inventory.exists(target):
        return True
    pool = inventory.record(Address(target.host, Kind.POOL, target.pool))
    return target.kind is Kind.VOLUME and pool is not None and not pool.active


def _missing(
    severity: Severity,
    address: Address,
    target: Address,
    place: Place | None,
    resources: Mapping[Address, Resource],
    inventory: Inventory,
    found: Diagnostics,
) -> None:
    if target in resources:
        summary = (
            f"{address.short} refers to {target.short}, which is not on the host and left out here"
        )
        found.add(severity, "KVP120", summary, place, "take it into the plan too", address)
        return
    known = {
        other.name for other in resources if other.kind is target.kind and other.host == target.host
    }
    known |= set(inventory.names.get(target.kind, EMPTY))
    known -= {address.name} if address.kind is target.kind else set()
    near = get_close_matches(target.name, sorted(known), n=3) or sorted(known)[:5]
    hint = f"declare it, or use one of: {', '.join(near)}" if near else "declare it"
    summary = (
        f"{address.short} refers to {target.short}, which is neither in the specs nor on the host"
    )
    found.add(severity, "KVP120", summary, place, hint, address)


class Conflicts:
    """Looks for two things where there can be only one, on one host."""

    def __init__(
        self,
        intents: Mapping[Address, Intent],
        prospects: Mapping[Address, Tree],
        actions: Mapping[Address, Action],
        found: Diagnostics,
    ) -> None:
        self._intents, self._actions, self._found = intents, actions, found
        self._prospects = prospects
        self._resources = {address: intent.resource for address, intent in intents.items()}

    def check(self, host: str, inventory: Inventory, users: Users, sources: Sources) -> None:
        """Report MACs, disks, bridges and subnets that collide."""
        domains, networks = self._of(Kind.DOMAIN, host), self._of(Kind.NETWORK, host)
        self._macs(domains, users)
        self._leases(domains)
        volumes = self._of(Kind.VOLUME, host)
        Shared(sources, users, self._prospects, self._report).check(domains, volumes)
        Collisions(inventory, users, networks, self._report).check(domains)

    def _of(self, kind: Kind, host: str) -> list[Intent]:
        """The host's objects of a kind; what acts comes behind, and collides with what stays."""
        found = (a for a in self._intents if a.kind is kind and a.host == host)
        ordered = sorted(found, key=lambda address: (self._acts(address), address))
        return [self._intents[address] for address in ordered]

    def _acts(self, address: Address) -> bool:
        return self._actions.get(address, Action.NOOP) is not Action.NOOP

    def _report(
        self, code: str, intent: Intent, path: tuple[str, ...], summary: str, remedy: str
    ) -> None:
        places = intent.resource.places
        place = next(
            (places[path[:n]] for n in range(len(path), 0, -1) if path[:n] in places),
            intent.resource.place,
        )
        severity = Severity.ERROR if self._acts(intent.address) else Severity.WARNING
        self._found.add(severity, code, summary, place, remedy, intent.address)

    def _macs(self, domains: list[Intent], users: Users) -> None:
        owners: dict[str, set[str]] = defaultdict(
            set, {mac: set(names) for mac, names in users.macs.items()}
        )
        seen: dict[str, str] = {}
        for intent in domains:
            for key, nic in (intent.tree.get("interfaces") or {}).items():
                mac, here = nic["mac"], f"{intent.address.name}.{key}"
                others = owners[mac] - {intent.address.name}
                other = seen.get(mac) or next(iter(sorted(others)), None)
                if other is not None:
                    summary = (
                        f"{intent.address.short}: interface '{key}' has the MAC {mac} of {other}"
                    )
                    self._report(
                        "KVP131",
                        intent,
                        ("interfaces", key, "mac"),
                        summary,
                        "give one of them another MAC",
                    )
                seen.setdefault(mac, here)

    def _leases(self, domains: list[Intent]) -> None:
        """An interface keeps its MAC, and its network may have another lease for that."""
        leases = dict[Address, Set[tuple[str | None, str | None]]]()
        for intent in domains:
            nics = getattr(intent.resource.model, "interfaces", None) or {}
            for key, nic in nics.items():
                if nic.ip is None or nic.mac is not None:
                    continue
                mac = intent.tree["interfaces"][key]["mac"]
                address = Address(intent.address.host, Kind.NETWORK, nic.network)
                if address not in self._resources:
                    continue
                if address not in leases:
                    leases[address] = given(self._resources[address].model)
                if (mac, nic.ip) not in leases[address]:
                    here = f"{intent.address.short}: '{key}'"
                    summary = f"{here} keeps the MAC {mac}, which has another lease"
                    remedy = f"take that lease out of network.{nic.network}, or ask for its address"
                    self._report("KVP136", intent, ("interfaces", key, "ip"), summary, remedy)
