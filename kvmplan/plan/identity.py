"""Whether these specs are the stack that the claims on a host speak of, and not a copy of it.

A repository that was copied, uid and all, would own what the first one made, and take what its own
specs do not name for orphans. Claims keep the stack's name and git origin, so that it shows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from kvmplan.address import Address
from kvmplan.diagnostics import Diagnostics
from kvmplan.inventory import Claims, Inventory
from kvmplan.plan.change import Guarded
from kvmplan.plan.options import PlanOptions

if TYPE_CHECKING:
    from kvmplan.spec.desired import Desired

NEW_UID = "a copy needs a uid of its own: `uuidgen` prints one"


def moved(claims: Claims, options: PlanOptions) -> bool:
    """Whether the specs come from another repository; one that is not known says nothing."""
    return bool(claims.origin and options.origin) and claims.origin != options.origin


def is_doubtful(inventory: Inventory, stack_name: str, options: PlanOptions) -> bool:
    """Whether there is something to be told of whose the claims on a host are."""
    claims = inventory.claims
    if claims is None or options.same_stack:
        return not inventory.facts.has_secrets
    return moved(claims, options) or claims.stack_name != stack_name


def report(
    desired: Desired, inventories: Mapping[str, Inventory], options: PlanOptions, found: Diagnostics
) -> None:
    """Warn of hosts whose claims speak of another stack, and of those that can keep no claims."""
    place = desired.stack.place
    for host, inventory in sorted(inventories.items()):
        claims = inventory.claims
        if not inventory.facts.has_secrets:
            text = f"host '{host}' keeps no libvirt secrets, hence neither claims nor a lock"
            remedy = "nothing is owned there, and nothing is pruned, destroyed or replaced"
            found.warning("KVP224", text, place, remedy)
        elif claims is None or options.same_stack:
            continue
        elif moved(claims, options):
            text = (
                f"host '{host}' knows this uid as the stack '{claims.stack_name}' of "
                f"{claims.origin}; these specs are of {options.origin}"
            )
            remedy = f"{NEW_UID}; if the repository has moved, --same-stack says so"
            found.warning("KVP223", text, place, remedy)
        elif claims.stack_name != desired.stack.name:
            text = f"host '{host}' knows this uid as the stack '{claims.stack_name}'"
            remedy = f"if it was renamed, the next apply notes the new name; {NEW_UID}"
            found.warning("KVP222", text, place, remedy)


def refused(
    desired: Desired,
    inventories: Mapping[str, Inventory],
    options: PlanOptions,
    deleted: Collection[Address],
) -> Iterator[Guarded]:
    """Refusals to prune or destroy what may be another stack's: one for each host.

    Args:
        desired: the specs.
        inventories: what the plan was made from.
        options: what the user says about it.
        deleted: what would go because it is the stack's, and not by its own name.
    """
    for host, inventory in sorted(inventories.items()):
        here = [address for address in deleted if address.host == host]
        claims = inventory.claims
        if here and claims is not None and is_doubtful(inventory, desired.stack.name, options):
            owner = f"'{claims.stack_name}'" + (f" of {claims.origin}" if claims.origin else "")
            summary = f"{len(here)} of what goes may be another's: this uid is the stack {owner}"
            yield Guarded(
                "KVP219", min(here), summary, f"--same-stack if that is this one; {NEW_UID}"
            )


def head(found: Claims | None, stack_uid: str, stack_name: str, options: PlanOptions) -> Claims:
    """The claims without entries, as an apply writes them: whose they are.

    A new name is noted. A new origin is not until the user says that it is the same stack: a copy
    must not pass for the original because it was applied once.
    """
    if found is None:
        return Claims(stack_uid, stack_name, {}, options.origin)
    if moved(found, options) and not options.same_stack:
        return replace(found, entries={})
    return Claims(stack_uid, stack_name, {}, options.origin or found.origin)
