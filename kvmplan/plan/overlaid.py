"""Bases that a plan would put a writable disk on, though others are written over them.

An overlay holds what differs from its base: once the base is written to, what the overlay shows is
neither. libvirt lets that happen. The guest that a disk is taken from and given back to loses what
it has written since a snapshot, besides.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kvmplan.address import Address, Kind
from kvmplan.diagnostics import Diagnostics
from kvmplan.inventory import Inventory
from kvmplan.plan.change import Action
from kvmplan.plan.sources import Sources
from kvmplan.plan.storage import place_of
from kvmplan.plan.users import Users
from kvmplan.plan.verdict import Verdict

DECIDING = frozenset({"volume", "file", "block", "readonly", "shareable", "device"})
"""The fields of a disk that say what is written, and by whom."""
REMEDY = (
    "give the disk the overlay instead, or merge that into its base first (virsh blockcommit), "
    "or delete it; or write `readonly: true`"
)


def puts_on_something(draft: Verdict, inventory: Inventory) -> bool:
    """Whether a domain gets a disk to write on that is on the host already."""
    return any(
        "volume" not in disk or inventory.exists(_volume(draft, disk))
        for _, disk in written_anew(draft)
    )


def check_overlaid(
    acting: Iterable[Verdict],
    inventory: Inventory,
    users: Users,
    sources: Sources,
    found: Diagnostics,
) -> None:
    """KVP137 for each disk that would be written under somebody's overlay from now on.

    What is so on the host already is left alone.

    Args:
        acting: what happens on this host.
        inventory: of the host, with all volumes that may be overlays.
        users: who uses what there.
        sources: what is what there.
        found: gets the problems.
    """
    acting = list(acting)
    gone = {it.address.name for it in acting if it.address.kind is Kind.VOLUME and _goes(it)}
    planned = _planned(acting, sources)
    for draft in filter(_may_run, acting):
        for target, disk in written_anew(draft):
            source = sources.of(disk.get("volume"), _file(disk)) or ""
            over = set(planned.get(source, ()))
            for path in users.layers.get(source, ()):
                name = inventory.volume_by_path.get(path)
                if name is None or name not in gone:
                    over.add(_words(path, name, users))
            if over:
                short = draft.address.short
                summary = f"{short} ({target}) would write to {_source(disk)}, the base of "
                summary += ", ".join(sorted(over))
                place = place_of(draft.intent.resource, ("disks", target)) if draft.intent else None
                found.error("KVP137", summary, place, REMEDY, draft.address)


def written_anew(draft: Verdict) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The disks of a domain that this plan puts on something that their guest may write to."""
    if draft.address.kind is not Kind.DOMAIN or draft.intent is None:
        return
    disks = draft.intent.tree.get("disks") or {}
    for target, disk in disks.items():
        shared = disk.get("readonly") or disk.get("shareable") or disk.get("device") == "cdrom"
        if _source(disk) and not shared and _is_touched(draft, target):
            yield target, disk


def _may_run(draft: Verdict) -> bool:
    """Not a template that is made to stay off: that writes to nothing."""
    model = draft.intent.resource.model if draft.intent is not None else None
    return draft.action is not Action.CREATE or getattr(model, "state", None) != "stopped"


def _is_touched(draft: Verdict, target: str) -> bool:
    if draft.action is not Action.UPDATE:
        return draft.action in (Action.CREATE, Action.REPLACE)
    whole = ("disks", target)
    return any(
        whole[: len(path)] == path or (path[:2] == whole and path[2] in DECIDING)
        for path in (change.path for change in draft.compared.changes)
    )


def _source(disk: Mapping[str, Any]) -> str:
    return disk.get("volume") or _file(disk) or ""


def _file(disk: Mapping[str, Any]) -> str | None:
    return disk.get("file") or disk.get("block")


def _volume(draft: Verdict, disk: Mapping[str, Any]) -> Address:
    return Address(draft.address.host, Kind.VOLUME, disk["volume"])


def _goes(draft: Verdict) -> bool:
    return draft.action in (Action.DELETE, Action.REPLACE)


def _planned(acting: Iterable[Verdict], sources: Sources) -> dict[str, set[str]]:
    """What this plan makes over others: source of a base -> the new volumes."""
    found: dict[str, set[str]] = {}
    for draft in acting:
        made = draft.action in (Action.CREATE, Action.REPLACE) and draft.intent is not None
        if draft.address.kind is Kind.VOLUME and made and draft.intent is not None:
            base = sources.of_base(draft.intent.tree)
            if base is not None:
                found.setdefault(base, set()).add(draft.address.short)
    return found


def _words(path: str, name: str | None, users: Users) -> str:
    """An overlay, and who is on it."""
    domains = sorted({use.user for use in users.paths.get(path, ())})
    known = f"volume.{name}" if name is not None else path
    return known + (f" (used by {' and '.join(domains)})" if domains else "")
