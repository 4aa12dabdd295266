"""Pruning: what the stack owns and no spec names is deleted, if asked for and plausible.

A wrong specs directory, a broken variable or a host that did not answer must not look like the wish
to delete: each of these refuses the whole plan.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from kvmplan.address import Address
from kvmplan.plan.change import Guarded
from kvmplan.plan.options import PlanOptions
from kvmplan.spec.desired import Desired


def wants_prune(desired: Desired, options: PlanOptions) -> bool:
    """Whether orphans go: by ``--prune``, or by ``prune: true`` in the stack."""
    return not options.destroy and (options.prune or desired.stack.prune)


def implausible(
    desired: Desired, options: PlanOptions, pruned: Collection[Address], owned: int, errors: bool
) -> Iterator[Guarded]:
    """Refusals of a pruning that looks like a mistake.

    Args:
        desired: the specs.
        options: what the user allows.
        pruned: what would be deleted because no spec names it.
        owned: how many objects the stack owns on all hosts.
        errors: whether the plan has errors.
    """
    if not pruned:
        return
    first = min(pruned)
    if errors:
        yield _refusal("KVP214", first, "nothing is pruned while there are errors", "correct them")
    if options.partial:
        summary = "nothing is pruned while a host does not answer"
        yield _refusal("KVP214", first, summary, "plan again when all hosts answer")
    if not desired.resources and not options.allow_empty:
        summary = f"the specs are empty: all {len(pruned)} objects of the stack would be deleted"
        yield _refusal(
            "KVP215", first, summary, "--allow-empty if that is meant, or kvmplan destroy"
        )
    limit = _limit(desired, options, owned)
    if len(pruned) > limit:
        summary = f"{len(pruned)} objects would be pruned, more than the limit of {limit}"
        yield _refusal("KVP216", first, summary, f"--max-delete {len(pruned)} if that is meant")


def _limit(desired: Desired, options: PlanOptions, owned: int) -> int:
    """How many may go: the flag, else the lower of the stack's count and percentage, at least 1."""
    if options.max_delete is not None:
        return options.max_delete
    stack = desired.stack
    return max(1, min(stack.max_delete_count, owned * stack.max_delete_percent // 100))


def _refusal(code: str, address: Address, summary: str, remedy: str) -> Guarded:
    return Guarded(code, address, summary, remedy)
