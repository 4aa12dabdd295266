"""YAML text -> nodes with places, from the events of PyYAML's C parser.

Only this module knows PyYAML. What a tag means, which keys merge, how far aliases may expand is
decided here; what the keys mean is not.
"""

from __future__ import annotations

from sys import intern
from typing import Any

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    StreamEndEvent,
)

from kvmplan.diagnostics import Diagnostics, Place
from kvmplan.spec import codes
from kvmplan.spec.node import DEFAULT, EXPRESSION_START, RAW, SECRET, Entry, Mark, Node, Value
from kvmplan.spec.scalars import resolve
from kvmplan.spec.suggest import did_you_mean

MAX_DEPTH = 100
MAX_ALIASED = 500_000
"""Nodes that aliases and merge keys may stand for, in one file."""
TAGS = {"!default": DEFAULT, "!secret": SECRET, "!raw": RAW}
STANDARD = "tag:yaml.org,2002:"
SCALAR_TAGS = {f"{STANDARD}{name}" for name in ("int", "float", "bool", "null")}
NEUTRAL_TAGS = {None, "!", f"{STANDARD}str", f"{STANDARD}map", f"{STANDARD}seq"}
SECRET_SOURCES = ("env", "file", "command")
LONG_TEXTS = frozenset(
    {"xml", "content", "user_data", "meta_data", "network_config", "vendor_data"}
    | {"ignition", "config"}
)
"""Fields whose text is never an expression; a mapping there is ``{template: FILE, vars: {…}}``."""
REMEDIES = {
    "cannot start any token": "indent with blanks, not tabs; quote texts that start with @ ` or %",
    "mapping values are not allowed": "a text with ': ' in it needs quotes",
    "expected whitespace": "a tag ends with a blank: {field: !default }",
    "expected key": "check the indentation, and the quotes and brackets above",
    "undefined alias": "write the anchor (&name) before the alias (*name)",
}


class Unreadable(Exception):
    """The text has no tree at all: what, where, remedy."""

    def __init__(self, summary: str, mark: Mark, remedy: str | None = None) -> None:
        self.summary, self.mark, self.remedy = summary, mark, remedy
        super().__init__(summary)


def parse(text: str, file: str, report: Diagnostics) -> Node | None:
    """The one document of a text; None if it is empty or broken.

    Args:
        text: the YAML text.
        file: its name in places.
        report: gets what is wrong with the text.
    """
    try:
        return _Builder(text, file, report).document()
    except Unreadable as error:
        report.error(codes.SYNTAX, error.summary, Place(*error.mark), error.remedy)
    except yaml.MarkedYAMLError as error:
        spot = error.problem_mark or error.context_mark
        line, column = (spot.line + 1, spot.column + 1) if spot else (1, 1)
        problem = str(error.problem or error.context or "it cannot be parsed")
        remedy = next((REMEDIES[part] for part in REMEDIES if part in problem), None)
        report.error(codes.SYNTAX, f"not valid YAML: {problem}", Place(file, line, column), remedy)
    except yaml.YAMLError as error:
        reason = getattr(error, "reason", None) or str(error).splitlines()[0]
        report.error(codes.SYNTAX, f"not valid YAML: {reason}", Place(file, 1, 1))
    return None


class _Builder:
    """Builds the tree of one text."""

    def __init__(self, text: str, file: str, report: Diagnostics) -> None:
        parser: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
        self._next = parser.get_event
        self._file = file
        self._report = report
        self._anchors: dict[str, tuple[Node, str | None, int]] = {}
        self._open: set[str] = set()
        self._count = 0
        self._aliased = 0

    def document(self) -> Node | None:
        self._next()
        if isinstance(self._next(), StreamEndEvent):
            return None
        root = self._node(self._next(), False, 0)
        self._next()
        after = self._next()
        if isinstance(after, DocumentStartEvent):
            raise Unreadable(
                "a second YAML document in one file",
                self._mark(after),
                "take the '---' out, or write one file for each document",
            )
        return None if root.value is None and root.tag is None else root

    def _mark(self, event: Any) -> Mark:
        start, end = event.start_mark, event.end_mark
        line, column = start.line, start.column
        length = end.index - start.index if end.line == line else 1
        return (self._file, line + 1, column + 1, length if length > 0 else 1)

    def _error(self, summary: str, mark: Mark, remedy: str | None = None) -> None:
        self._report.error(codes.SYNTAX, summary, Place(*mark), remedy)

    def _node(self, event: Any, raw: bool, depth: int) -> Node:
        self._count += 1
        kind = type(event)
        if kind is AliasEvent:
            return self._alias(event)
        if depth > MAX_DEPTH:
            raise Unreadable(f"nested more than {MAX_DEPTH} deep", self._mark(event))
        mark = self._mark(event)
        tag = self._tag(event, mark) if event.tag is not None else None
        raw = raw or tag == RAW
        anchor, before = event.anchor, self._count - 1 + self._aliased
        if anchor is not None:
            self._open.add(anchor)
        if kind is ScalarEvent:
            node = self._scalar(event, mark, tag, raw)
        elif kind is MappingStartEvent:
            node = self._mapping((*mark[:3], 1), tag, raw, depth)
        else:
            node = self._sequence((*mark[:3], 1), tag, raw, depth)
        if tag is not None and tag != RAW:
            node = self._checked(node)
        if anchor is not None:
            self._open.discard(anchor)
            text = event.value if kind is ScalarEvent else None
            self._anchors[anchor] = (node, text, self._count + self._aliased - before)
        return node

    def _tag(self, event: Any, mark: Mark) -> str | None:
        tag = event.tag
        if tag in TAGS:
            return TAGS[tag]
        if tag in NEUTRAL_TAGS or (tag in SCALAR_TAGS and type(event) is ScalarEvent):
            return None
        shown = f"!!{tag.removeprefix(STANDARD)}" if tag.startswith(STANDARD) else tag
        self._error(f"unknown tag '{shown}'", mark, did_you_mean(shown, TAGS, "known tags"))
        return None

    def _scalar(self, event: Any, mark: Mark, tag: str | None, raw: bool) -> Node:
        text: str = event.value
        if tag is not None:
            is_plain = not event.style
        else:
            is_plain = (event.implicit[0] and event.tag != "!") or event.tag in SCALAR_TAGS
        value = resolve(text) if is_plain else text
        dynamic = not raw and type(value) is str and EXPRESSION_START in value
        return Node(value, mark, tag, dynamic)

    def _sequence(self, mark: Mark, tag: str | None, raw: bool, depth: int) -> Node:
        items: list[Node] = []
        dynamic = False
        event = self._next()
        while type(event) is not SequenceEndEvent:
            item = self._node(event, raw, depth + 1)
            items.append(item)
            dynamic = dynamic or item.dynamic
            event = self._next()
        return Node(items, mark, tag, dynamic)

    def _mapping(self, mark: Mark, tag: str | None, raw: bool, depth: int) -> Node:
        found: dict[str, Entry] = {}
        merged: list[dict[str, Entry]] = []
        event = self._next()
        while type(event) is not MappingEndEvent:
            key, key_mark, merges = self._key(event, depth)
            below = self._next()
            long_text = key in LONG_TEXTS
            node = self._node(below, raw or (long_text and type(below) is ScalarEvent), depth + 1)
            if long_text and isinstance(node.value, dict) and "template" in node.value:
                node = node._replace(dynamic=True)
            if merges:
                merged.extend(self._merge(node))
            elif key in found:
                first = found[key].place
                summary = f"'{key}' is written twice in one mapping"
                self._report.error(
                    codes.DUPLICATE, summary, Place(*key_mark), f"the first is at {first}"
                )
            else:
                found[key] = Entry(key_mark, node)
            event = self._next()
        for source in merged:
            self._expand(len(source), mark)
            for key, entry in source.items():
                found.setdefault(key, entry)
        dynamic = any(
            e.node.dynamic or (not raw and EXPRESSION_START in k) for k, e in found.items()
        )
        return Node(found, mark, tag, dynamic)

    def _key(self, event: Any, depth: int) -> tuple[str, Mark, bool]:
        """A key's text, its place, and whether it is the merge key."""
        mark = self._mark(event)
        if type(event) is ScalarEvent:
            if event.tag is not None and event.tag not in NEUTRAL_TAGS | SCALAR_TAGS:
                self._error(f"a key cannot be tagged '{event.tag}'", mark)
            if event.anchor is not None:
                self._anchors[event.anchor] = (Node(event.value, mark), event.value, 1)
            # The same few keys come again in every resource.
            return intern(event.value), mark, event.value == "<<" and not event.style
        if type(event) is AliasEvent:
            known = self._anchors.get(event.anchor or "")
            if known is not None and known[1] is not None:
                return known[1], mark, False
        raise Unreadable("a key must be a plain text", mark, "write KEY: VALUE")

    def _merge(self, node: Node) -> list[dict[str, Entry]]:
        sources = node.value if isinstance(node.value, list) else [node]
        found = [source.value for source in sources if isinstance(source.value, dict)]
        if len(found) != len(sources):
            self._error(
                "'<<' takes a mapping or a list of mappings", node.mark, "write <<: *anchor"
            )
        return found

    def _alias(self, event: Any) -> Node:
        mark = self._mark(event)
        if event.anchor in self._open:
            raise Unreadable(f"'*{event.anchor}' stands inside its own anchor", mark)
        if event.anchor not in self._anchors:
            remedy = did_you_mean(event.anchor, self._anchors, "anchors so far")
            raise Unreadable(f"'*{event.anchor}' has no anchor above it", mark, remedy)
        node, _, size = self._anchors[event.anchor]
        self._expand(size, mark)
        return node

    def _expand(self, size: int, mark: Mark) -> None:
        self._aliased += size
        if self._aliased > MAX_ALIASED:
            raise Unreadable(
                f"aliases stand for more than {MAX_ALIASED} values", mark, "use for_each instead"
            )

    def _checked(self, node: Node) -> Node:
        """A tagged node whose value suits its tag; without the tag if it does not."""
        if node.tag == DEFAULT:
            if node.value is None:
                return node
            self._error("!default takes no value", node.mark, "write FIELD: !default")
        elif _is_secret(node.value):
            return node
        else:
            remedy = "write !secret {env: NAME}, {file: PATH} or {command: [PROGRAM, ARGUMENT]}"
            self._error("!secret takes exactly one of env, file, command", node.mark, remedy)
        return node._replace(tag=DEFAULT, value=None, dynamic=False)


def _is_secret(value: Value) -> bool:
    if not isinstance(value, dict) or len(value) != 1:
        return False
    source, (_, node) = next(iter(value.items()))
    if source == "command":
        items = node.value
        return isinstance(items, list) and bool(items) and all(_is_text(item) for item in items)
    return source in SECRET_SOURCES and _is_text(node)


def _is_text(node: Node) -> bool:
    return isinstance(node.value, str) and node.value != "" and node.tag is None
