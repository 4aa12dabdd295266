"""``doctor``: what was looked at, layer by layer, and what to do about what is wrong."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from kvmplan.views.layout import Layout
from kvmplan.views.style import PLAIN, Meaning, Style


class Finding(Protocol):
    """One thing that was looked at.

    Attributes:
        layer: which part of the machine: ``KVM``, ``QEMU``, ``libvirt``.
        ok: True: fine; False: a problem; None: could not be looked at, or does not matter here.
        summary: one sentence.
        remedy: what to do, where something is to be done.
    """

    @property
    def layer(self) -> str:
        """Which part of the machine."""
        ...

    @property
    def ok(self) -> bool | None:
        """Whether it is well."""
        ...

    @property
    def summary(self) -> str:
        """One sentence."""
        ...

    @property
    def remedy(self) -> str | None:
        """What to do."""
        ...


_MARKS = {True: ("ok", Meaning.GOOD), False: ("!!", Meaning.DANGER), None: ("--", Meaning.DIM)}


def doctor_text(findings: Iterable[Finding], style: Style = PLAIN) -> str:
    """All findings in the order of their layers, then what to do; ends in a line break."""
    layout = Layout(style)
    layers: dict[str, list[Finding]] = {}
    for finding in findings:
        layers.setdefault(finding.layer, []).append(finding)
    lines: list[str] = []
    for layer, group in layers.items():
        lines.append(style.paint(layer, Meaning.BOLD))
        for finding in group:
            word, meaning = _MARKS[finding.ok]
            first, *rest = layout.wrap(finding.summary, 5)
            lines += [f"  {style.paint(word, meaning)} {first[5:]}", *rest]
    return "\n".join([*lines, "", *_what_to_do(layers, layout)]) + "\n"


def _what_to_do(layers: dict[str, list[Finding]], layout: Layout) -> list[str]:
    problems = [item for group in layers.values() for item in group if item.ok is False]
    remedies = list(dict.fromkeys(item.remedy for item in problems if item.remedy))
    if not problems:
        return ["What to do: nothing."]
    if not remedies:
        return ["What to do: see the lines marked !! above."]
    lines = ["What to do:"]
    for number, remedy in enumerate(remedies, 1):
        lines += layout.wrap(f"{number}. {remedy}", 2, 5)
    return lines
