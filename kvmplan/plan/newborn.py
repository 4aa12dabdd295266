"""Newborn: what a plan would make, and cannot, since it lacks what nothing of its kind is without.

Asked of what is new only: what is there may have it, whatever the specs leave out.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from kvmplan.diagnostics import Diagnostics
from kvmplan.kinds.newborn import lacks
from kvmplan.plan.change import Action, Path
from kvmplan.plan.verdict import Verdict
from kvmplan.spec.places import nearest


def check_newborn(acting: Iterable[Verdict], found: Diagnostics) -> None:
    """Report what new objects and members lack (KVP123)."""
    for draft in acting:
        if draft.intent is None or draft.action is Action.DELETE:
            continue
        resource = draft.intent.resource
        for lack in lacks(resource.model, partial(_is_new, draft)):
            name = f"{'.'.join(lack.path)} of " if lack.path else ""
            summary = f"{name}{draft.address.short}: {lack.summary}"
            place = nearest(resource.places, lack.path) or resource.place
            tell = found.warning if lack.warns else found.error
            tell("KVP123", summary, place, lack.remedy, draft.address)


def _is_new(draft: Verdict, path: Path) -> bool:
    """Whether what is at a path is to be made by this plan."""
    if draft.action is not Action.UPDATE:
        return True
    added = (it.path for it in draft.compared.changes if it.before is None)
    return any(path[: len(it)] == it for it in added)
