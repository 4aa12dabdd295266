"""Losses: what a guest has written that goes with its domain, beside volumes of their own.

Such a loss needs its word, as that of a volume's bytes does.
"""

from __future__ import annotations

from collections.abc import Iterator

from kvmplan.address import Kind
from kvmplan.plan.change import Action
from kvmplan.plan.verdict import Verdict

SAVED = "its guest is saved (`virsh managedsave`): what it was doing is lost"
IN_OVERLAY = (
    "its guest is in a snapshot: the new one begins on the volume below, without what was written "
    "since"
)


def written(draft: Verdict) -> Iterator[str]:
    """What is lost with a domain that is deleted, or made anew, in sentences."""
    record, context = draft.record, draft.intent.context if draft.intent is not None else None
    if record is None or draft.address.kind is not Kind.DOMAIN:
        return
    if record.managed_save:
        yield SAVED
    if draft.action is Action.REPLACE and context is not None and context.overlays:
        yield IN_OVERLAY
