"""What a host does not offer: types, architectures and machines.

libvirt says so in the middle of an apply, and not always in words that name the field: an unknown
machine has "No PCI buses available".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from kvmplan.address import Kind
from kvmplan.diagnostics import Diagnostics
from kvmplan.inventory import GuestFacts, HostFacts, Inventory
from kvmplan.mapping.document import parse_to_read
from kvmplan.plan.born import Births
from kvmplan.plan.change import Action
from kvmplan.plan.storage import place_of
from kvmplan.plan.verdict import Verdict

OFFERED = ("arch", "type", "machine")
"""The fields that say what emulates a domain."""


@dataclass(frozen=True, slots=True)
class _Lack:
    """What a host has not: of which field, in words, and what to do."""

    field: str
    summary: str
    remedy: str


def check_offers(
    acting: Iterable[Verdict], births: Births, inventory: Inventory, found: Diagnostics
) -> None:
    """KVP139 for what the host does not offer.

    What a domain has already is left alone: it was defined, by whatever QEMU.

    Args:
        acting: what happens on this host.
        births: makes documents of new objects.
        inventory: of the host.
        found: gets the problems.
    """
    for draft in acting:
        intent = draft.intent
        if intent is None or draft.address.kind is not Kind.DOMAIN or intent.tree.get("xml"):
            continue  # a fragment may give the emulator
        short = draft.address.short
        lack = _lack(draft, inventory.facts)
        if lack is not None and not _has_its_own_emulator(draft, births, inventory):
            place = place_of(intent.resource, (lack.field,))
            found.error("KVP139", f"{short}: {lack.summary}", place, lack.remedy, draft.address)


def _is_new(draft: Verdict) -> bool:
    return draft.action in (Action.CREATE, Action.REPLACE)


def _lack(draft: Verdict, facts: HostFacts) -> _Lack | None:
    """The first of a domain's fields that the host cannot meet, as far as it says what it has."""
    assert draft.intent is not None
    tree = draft.intent.tree
    changed = {change.path[0] for change in draft.compared.changes}
    if not facts.guests or facts.hypervisor != "QEMU":
        return None
    if not _is_new(draft) and changed.isdisjoint(OFFERED):
        return None
    arch = tree.get("arch") or _live_arch(draft) or facts.arch
    guest, host = facts.guests.get(arch), f"host '{draft.address.host}'"
    if guest is None:
        summary = f"{host} has no QEMU for the architecture {arch}"
        return _Lack("arch", summary, f"install it there, or write {_one_of(sorted(facts.guests))}")
    type_, machine = tree.get("type"), tree.get("machine")
    if type_ is not None and type_ not in guest.types:
        remedy = "leave `type` out for what there is; `kvmplan doctor` says what is in the way"
        return _Lack("type", f"{host} does not offer {type_} for {arch}", remedy)
    if machine is not None and machine not in {*guest.machines, *guest.machines.values()}:
        summary = f"the QEMU of {host} has no machine '{machine}' for {arch}"
        return _Lack("machine", summary, _near_machine(machine, guest))
    return None


def _live_arch(draft: Verdict) -> str | None:
    if _is_new(draft) or draft.record is None:
        return None
    kind = parse_to_read(draft.record.document).find("os/type")
    return kind.get("arch") if kind is not None else None


def _has_its_own_emulator(draft: Verdict, births: Births, inventory: Inventory) -> bool:
    """Whether a template, or what is live, names an emulator that the host does not list."""
    assert draft.intent is not None
    if not _is_new(draft) and draft.record is not None:
        document = parse_to_read(draft.record.document)
    else:
        document = births.document(draft.address, draft.intent.tree, inventory, "")
    emulator = document.findtext("devices/emulator")
    listed = {guest.emulator for guest in inventory.facts.guests.values()}
    return emulator is not None and emulator not in listed


def _near_machine(machine: str, guest: GuestFacts) -> str:
    near = get_close_matches(machine, sorted(guest.machines), n=1)
    aliases = sorted(name for name, real in guest.machines.items() if name != real)
    return f"did you mean '{near[0]}'?" if near else f"leave it out, or write {_one_of(aliases)}"


def _one_of(names: Iterable[str]) -> str:
    return f"one of: {', '.join(names)}"
