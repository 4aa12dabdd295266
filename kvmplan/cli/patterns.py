"""Flags that name objects by address: every one must match something."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from kvmplan.address import Address, Kind
from kvmplan.diagnostics import Diagnostics, Failure

if TYPE_CHECKING:
    from kvmplan.inventory import Inventory
    from kvmplan.plan.options import PlanOptions
    from kvmplan.spec import Desired


def check_patterns(
    desired: Desired, options: PlanOptions, inventories: Mapping[str, Inventory]
) -> None:
    """Every address flag must name something; those that allow harm must say the kind.

    Raises:
        Failure: KVP250, KVP251, all of them at once.
    """
    from kvmplan.plan.options import ALL

    flags = {
        "--target": options.targets,
        "--exclude": options.excludes,
        "--replace": options.replace,
        "--allow-data-loss": options.allow_data_loss,
        "--allow-restart": tuple(p for p in options.allow_restart if p != ALL),
    }
    if not any(flags.values()):
        return
    known = set(desired.resources)
    for host, inventory in inventories.items():
        for short in inventory.claims.entries if inventory.claims else {}:
            kind, _, name = short.partition(".")
            known.add(Address(host, Kind(kind), name))
    found = Diagnostics()
    for flag, patterns in flags.items():
        for pattern in patterns:
            _check_pattern(flag, pattern, known, found)
    if found.has_errors:
        raise Failure(found)


def _check_pattern(flag: str, pattern: str, known: set[Address], found: Diagnostics) -> None:
    if flag in ("--allow-data-loss", "--allow-restart"):
        kind = (
            pattern.rpartition(":")[2].partition(".")[0]
            if ":" in pattern.partition(".")[0]
            else pattern.partition(".")[0]
        )
        if kind not in set(Kind):
            found.error(
                "KVP251",
                f"{flag} {pattern}: the kind must be written out",
                remedy="write it like 'volume.*'" if "loss" in flag else "write it like 'domain.*'",
            )
            return
    if not any(address.matches(pattern) for address in known):
        from difflib import get_close_matches

        near = get_close_matches(pattern, [address.short for address in known], n=1)
        remedy = (
            f"did you mean '{near[0]}'?"
            if near
            else "addresses look like domain.web and volume.POOL/NAME"
        )
        found.error("KVP250", f"{flag} {pattern} matches nothing", remedy=remedy)
