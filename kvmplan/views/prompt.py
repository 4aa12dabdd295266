"""The question before an apply. Only ``yes`` is an answer."""

from __future__ import annotations

from typing import TextIO

from kvmplan.mapping.impact import Impact
from kvmplan.plan.change import Plan
from kvmplan.views.style import PLAIN, Meaning, Style, emit, printable

_NAMED = (Impact.DATA_LOSS, Impact.REPLACE, Impact.DELETE, Impact.RESTART, Impact.STOP)


def prompt_text(plan: Plan, style: Style = PLAIN) -> str:
    """The question; the dangerous impacts are counted once more right above the answer."""
    if plan.destroy:
        question = "Do you really want to destroy what this stack owns?"
    else:
        question = "Do you want to perform these actions?"
    counts, name = plan.impacts(), printable(plan.stack_name)
    dangers = ", ".join(f"{counts[impact]} {impact}" for impact in _NAMED if impact in counts)
    lines = [
        "",
        style.paint(question, Meaning.BOLD),
        f"  kvmplan will perform the actions described above on stack {name}.",
        *([style.paint(f"  Among them: {dangers}.", Meaning.DANGER)] if dangers else []),
        "  Only 'yes' will be accepted to approve.",
        "",
        f"  {style.paint('Enter a value:', Meaning.BOLD)} ",
    ]
    return "\n".join(lines)


def confirm(plan: Plan, stdin: TextIO, out: TextIO, style: Style = PLAIN) -> bool:
    """Ask on `out`, read a line from `stdin`; True for ``yes`` alone. The end of input is a no."""
    emit(out, prompt_text(plan, style))
    approved = stdin.readline().strip() == "yes"
    emit(out, "\n" if approved else "\nApply cancelled.\n")
    return approved
