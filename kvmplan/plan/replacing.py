"""``--replace``: whoever asks for it is told where nothing is replaced."""

from __future__ import annotations

from collections.abc import Iterable

from kvmplan.diagnostics import Diagnostics
from kvmplan.plan.change import Reason
from kvmplan.plan.options import PlanOptions
from kvmplan.plan.verdict import Verdict

_WHY = {
    Reason.HELD_BACK: ("--target and --exclude leave it out", "leave it in"),
    Reason.UNOWNED: ("it is not this stack's", "`kvmplan adopt` it first"),
    Reason.ADOPT: ("it is taken over in this run", "replace it in the next one"),
}
"""What is not replaced, why, and what to do."""


def check_replacements(drafts: Iterable[Verdict], options: PlanOptions, found: Diagnostics) -> None:
    """Every ``--replace`` must come to something; what is held, or has an error, says so itself.

    A saved plan that leaves out what is stale has told of that.
    """
    if not options.replace or options.only is not None:
        return
    drafts = tuple(drafts)
    for pattern in options.replace:
        named = [draft for draft in drafts if draft.address.matches(pattern)]
        if not named:
            summary = f"--replace {pattern} matches nothing that the specs declare"
            found.error("KVP250", summary, remedy="name what they do")
        elif all(draft.reason in _WHY for draft in named):
            first = min(named, key=lambda draft: draft.address)
            why, remedy = _WHY[first.reason]
            summary = f"--replace {pattern} replaces nothing: {first.address.short}: {why}"
            found.error("KVP250", summary, remedy=remedy, address=first.address)
