"""``plan --xml``: documents before and after, as unified diffs."""

from __future__ import annotations

from difflib import unified_diff

from kvmplan.mapping.secrecy import redact_xml
from kvmplan.views.style import PLAIN, Meaning, Style, printable

_PAINT = {"+": Meaning.ADD, "-": Meaning.DELETE, "@": Meaning.DIM}


def xml_diff_text(name: str, before: str, after: str, style: Style = PLAIN) -> str:
    """The difference of two documents, passwords left out; `name` stands above it."""
    old, new = (redact_xml(text).splitlines() for text in (before, after))
    lines = unified_diff(old, new, f"{name} (live)", f"{name} (planned)", n=3, lineterm="")
    return "".join(f"{style.paint(printable(line), _PAINT.get(line[:1]))}\n" for line in lines)
