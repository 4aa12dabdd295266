"""What ``doctor --repair`` found, and the commands to decide with, as text and as JSON."""

from __future__ import annotations

import glob
import shlex
from collections.abc import Iterable, Sequence
from typing import Any

from kvmplan.address import Address
from kvmplan.plan.repair import Finding
from kvmplan.views.style import PLAIN, Meaning, Style, printable

NOTHING = "Nothing to repair."


def commands(findings: Iterable[Finding], flags: Sequence[str], several: bool) -> list[str]:
    """The commands that would carry out every proposal, quoted for a shell.

    Args:
        findings: what was found.
        flags: what leads to these specs and hosts, to be given to each.
        several: whether there are several hosts: addresses need theirs then.
    """
    found = list(findings)
    over = ["--over-damaged"] if any(item.over_damaged for item in found) else []
    adopt = _patterns((a for item in found for a in item.adopt), several)
    forget = _patterns((a for item in found for a in item.forget), several)
    made = [["force-unlock", *flags, item.unlock] for item in found if item.unlock]
    if adopt or over:
        made.append(["adopt", *over, *flags, *adopt])
    if forget:
        made.append(["forget", *flags, *forget])
    return [shlex.join(["kvmplan", *command]) for command in made]


def _patterns(addresses: Iterable[Address], several: bool) -> list[str]:
    texts = (str(a) if several else a.short for a in sorted(set(addresses)))
    return [glob.escape(text) for text in texts]


def repair_json(findings: Iterable[Finding], proposed: list[str]) -> dict[str, Any]:
    """As JSON types: the findings, and the commands that carry out all proposals."""
    rows = [
        {
            "trouble": item.trouble.value,
            "to_repair": item.trouble.is_to_repair,
            "host": item.host,
            "what": item.what,
            "summary": item.summary,
        }
        for item in findings
    ]
    return {"findings": rows, "commands": proposed}


def repair_text(
    findings: Sequence[Finding], proposed: list[str], several: bool, *, style: Style = PLAIN
) -> str:
    """A line for each finding, then the commands; ends in a line break."""
    lines = []
    for item in findings:
        what = f"{item.host}:{item.what}" if several else item.what
        mark = Meaning.BOLD if item.trouble.is_to_repair else Meaning.DIM
        word = style.paint(f"{item.trouble.value:<9}", mark)
        lines.append(f"{word}  {printable(what)}  {printable(item.summary)}")
    if not any(item.trouble.is_to_repair for item in findings):
        return "\n".join([*lines, NOTHING]) + "\n"
    if proposed:
        lines += ["", "Nothing was changed. To decide with, whole or in part:"]
        lines += [f"  {command}" for command in proposed]
    return "\n".join(lines) + "\n"
