"""How the lines of a text are laid out: addresses, columns, wrapping. Knows no plan."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from kvmplan.address import Address
from kvmplan.views.style import PLAIN, Meaning, Style, printable
from kvmplan.views.values import Describe, describe_field


@dataclass(frozen=True, slots=True)
class Layout:
    """What every line of a text needs to know.

    Attributes:
        style: paints.
        describe: the words of a value.
        several_hosts: whether addresses carry their host.
        width: columns that lines are kept within where words allow it.
        column: where the right-hand column (IMPACT) begins.
    """

    style: Style = PLAIN
    describe: Describe = describe_field
    several_hosts: bool = False
    width: int = 80
    column: int = 60

    def address(self, address: Address) -> str:
        """An address as the user of this stack types it."""
        return printable(str(address) if self.several_hosts else address.short)

    def wrap(self, text: str, indent: int, hanging: int | None = None) -> list[str]:
        """`text` in lines of at most `width`; words are never cut."""
        text = printable(text)
        if text and len(text) + indent <= self.width and text == " ".join(text.split()):
            return [" " * indent + text]
        return textwrap.wrap(
            text,
            self.width,
            initial_indent=" " * indent,
            subsequent_indent=" " * (indent if hanging is None else hanging),
            break_long_words=False,
            break_on_hyphens=False,
        )

    def row(
        self,
        left: str,
        right: str,
        meaning: Meaning | None = None,
        right_meaning: Meaning | None = None,
    ) -> list[str]:
        """`left`, and `right` at the column; on a line of its own where both do not fit."""
        if not right:
            return [self.style.paint(left, meaning)]
        shown = self.style.paint(right, right_meaning)
        if len(left) + 2 <= self.column:
            return [self.style.paint(f"{left:<{self.column}}", meaning) + shown]
        if len(left) + 2 + len(right) <= self.width:
            return [f"{self.style.paint(left, meaning)}  {shown}"]
        return [self.style.paint(left, meaning), " " * self.column + shown]

    def title(self, words: str, number: int, right: str = "", more: str = "") -> list[str]:
        """The heading of a section: ``From the specs (6)``, ``Released (2): what that means``."""
        tail = f": {more}" if more else ""
        return self.row(f"{words} ({number}){tail}", right, Meaning.BOLD, Meaning.BOLD)


def plural(number: int, noun: str) -> str:
    """``1 host``, ``2 hosts``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
