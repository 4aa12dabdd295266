"""``show ADDRESS``: one live object as its spec would say it, with its state and its owner."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kvmplan.address import Address
from kvmplan.mapping.secrecy import SENSITIVE, redact_xml
from kvmplan.plan.change import Path
from kvmplan.views.layout import Layout
from kvmplan.views.redact import children, is_sensitive
from kvmplan.views.style import PLAIN, Meaning, Style, printable
from kvmplan.views.values import Describe, Values, describe_field

# What YAML 1.2 reads back as the very same string without quotes.
_PLAIN = re.compile(
    r"(?:[A-Za-z0-9_./+(]|-(?=[^\s-]))(?:[^\n#:\[\]{},&*!|>'\"`]|:(?=\S)|(?<=\S)#)*(?<=\S)"
)
_OTHER_TYPE = re.compile(
    r"(?i)true|false|null|~|[-+]?[0-9][0-9_]*(\.[0-9_]*)?(e[-+]?[0-9]+)?|[0-9]+(:[0-9]+)+"
    r"|0[xo].*|\.\w+|-+"
)


@dataclass(frozen=True, slots=True)
class Shown:
    """One object to show.

    Attributes:
        fields: what a spec could declare of it, as nested mappings of plain values.
        state: in words, ``running``, ``paused (ioerror)`` …; ``""`` of a volume, which has none.
        ownership: in words, ``owned by stack lab``, ``not managed`` …
        sensitive: the paths in `fields` whose values are not shown.
        xml: its persistent document, if that is wanted as well.
    """

    address: Address
    fields: Mapping[str, Any]
    state: str
    ownership: str
    sensitive: tuple[Path, ...] = ()
    xml: str | None = None


def show_text(
    shown: Shown,
    *,
    style: Style = PLAIN,
    describe: Describe = describe_field,
    several_hosts: bool = False,
) -> str:
    """The object's text, ending in a line break."""
    layout = Layout(style, describe, several_hosts)
    name = style.paint(layout.address(shown.address), Meaning.BOLD)
    values = Values(shown.address.kind, describe, shown.sensitive)
    told = [printable(words) for words in (shown.state, shown.ownership) if words]
    lines = [
        f"{name}   {' · '.join(told)}",
        *yaml_lines(shown.fields, values, (), 2),
    ]
    if shown.xml is not None:
        lines += ["", *redact_xml(shown.xml).rstrip("\n").split("\n")]
    return "\n".join(lines) + "\n"


def yaml_lines(value: Any, values: Values, path: Path, indent: int) -> list[str]:
    """A mapping or list as block-style YAML, each line indented by `indent` blanks."""
    margin = " " * indent
    lines: list[str] = []
    for key, member in children(value):
        here = (*path, key)
        lead = f"{margin}{_quoted(key)}:" if isinstance(value, Mapping) else f"{margin}-"
        lines += _entry(lead, member, values, here, indent)
    return lines


def _entry(lead: str, member: Any, values: Values, path: Path, indent: int) -> list[str]:
    if member is not None and is_sensitive(path, values.sensitive):
        return [f"{lead} {SENSITIVE}"]
    if isinstance(member, Mapping | list | tuple):
        if not member:
            return [f"{lead} {'{}' if isinstance(member, Mapping) else '[]'}"]
        inner = yaml_lines(member, values, path, indent + 2)
        if lead.endswith("-"):
            return [f"{lead} {inner[0].lstrip(' ')}", *inner[1:]]
        return [lead, *inner]
    if member is None:
        return [f"{lead} null"]
    text = values.scalar(path, member)
    if not isinstance(member, str):
        return [f"{lead} {printable(text)}"]
    if "\n" in text and all(line.isprintable() for line in text.splitlines()):
        return _block(lead, text, indent + 2)
    return [f"{lead} {_quoted(text)}"]


def _block(lead: str, text: str, indent: int) -> list[str]:
    """A text of several lines as a literal block; its first line may itself begin with blanks."""
    body = text.split("\n")
    kept = text.endswith("\n")
    lines = body[:-1] if kept else body
    mark = "|" + ("2" if lines[0].startswith(" ") or not lines[0] else "")
    if not kept:
        mark += "-"
    elif lines and not lines[-1]:
        mark += "+"
    return [f"{lead} {mark}", *(" " * indent + line if line else "" for line in lines)]


def _quoted(text: str) -> str:
    if text.isprintable() and _PLAIN.fullmatch(text) and not _OTHER_TYPE.fullmatch(text):
        return text
    return json.dumps(text, ensure_ascii=not text.isprintable())
