"""Expand: one declaration -> its instances, by ``for_each`` and by ``host``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kvmplan.address import LOCAL, Kind
from kvmplan.diagnostics import Diagnostics, Place
from kvmplan.spec import codes
from kvmplan.spec.expressions import as_text
from kvmplan.spec.names import Names, Scope
from kvmplan.spec.node import (
    EXPRESSION_START,
    Entry,
    Mark,
    Node,
    child,
    entries,
    is_tagged,
    plain,
    without,
)
from kvmplan.spec.render import Renderer, Unrendered
from kvmplan.spec.suggest import did_you_mean
from kvmplan.spec.validate import words

NO_EACH = Names("each", {}, absent="'each' is known with for_each only")
ALL_HOSTS = "*"
MAX_INSTANCES = 100_000
"""Objects of one run."""


@dataclass(frozen=True, slots=True)
class Instance:
    """One object of a declaration: its host and name, and the names its expressions see."""

    host: str
    name: str
    scope: Scope


class Expander:
    """Finds the instances of declarations.

    Args:
        hosts: the names of the stack's hosts; empty: the one host `LOCAL`; None: not known, because
            the stack section is broken, so that any name will do.
    """

    def __init__(
        self,
        variables: Names,
        hosts: tuple[str, ...] | None,
        renderer: Renderer,
        report: Diagnostics,
    ) -> None:
        self._hosts, self._renderer, self._report = hosts, renderer, report
        self._made = 0
        self.base: Scope = {"var": variables, "each": NO_EACH}
        """What expressions see outside any instance."""

    def is_multiple(self, node: Node) -> bool:
        """Whether several objects may come from a declaration."""
        return "for_each" in entries(node) or "host" in entries(node)

    def instances(self, kind: Kind, key: str, entry: Entry) -> Iterator[Instance]:
        """The instances of one declaration, in order.

        Raises:
            Unrendered: something in its key, ``for_each`` or ``host`` is wrong, and reported.
        """
        subject = f"{kind}.{key}"
        for each in self._each(subject, key, entry):
            scope: Scope = {**self.base, "each": each}
            for host in self._hosts_of(kind, subject, entry, scope):
                self._made += 1
                if self._made > MAX_INSTANCES:
                    summary = f"the specs make more than {MAX_INSTANCES} objects"
                    raise self._fail(summary, entry.mark, "split them into several stacks")
                full = {**scope, "host": host}
                yield Instance(host, self._renderer.key(key, entry.mark, full), full)

    def _fail(self, summary: str, mark: Mark, remedy: str | None = None) -> Unrendered:
        self._report.error(codes.EXPANSION, summary, Place(*mark), remedy)
        return Unrendered()

    def _each(self, subject: str, key: str, entry: Entry) -> list[Names]:
        node = child(entry.node, "for_each")
        if node is None:
            return [NO_EACH]
        if (
            EXPRESSION_START not in key
            or not self._renderer.compiled(key, entry.mark).uses_each_key
        ):
            remedy = f'write "{key}-{{{{ each.key }}}}"'
            raise self._fail(
                f"{subject} has for_each, so its key must hold each.key", entry.mark, remedy
            )
        rendered = self._renderer.render(node, self.base)
        value = plain(rendered)
        if isinstance(value, dict):
            return [
                Names("each", {"key": name, "value": item}, tagged=is_tagged(item))
                for name, item in value.items()
            ]
        if not isinstance(value, list):
            remedy = "write a list, a map, or an expression that gives one"
            raise self._fail(f"for_each of {subject} is {words(value)}", node.mark, remedy)
        pairs: dict[str, Names] = {}
        for item in value:
            text = as_text(item) if isinstance(item, str | int | float) else None
            if text is None:
                raise self._fail(
                    f"for_each of {subject} holds {words(item)}",
                    node.mark,
                    "write a map KEY: VALUE",
                )
            if text in pairs:
                raise self._fail(f"for_each of {subject} holds '{text}' twice", node.mark)
            pairs[text] = Names("each", {"key": text, "value": item})
        return list(pairs.values())

    def _hosts_of(self, kind: Kind, subject: str, entry: Entry, scope: Scope) -> list[str]:
        node = child(entry.node, "host")
        if node is None:
            return [self._only_host(subject, entry)]
        value = plain(self._renderer.render(node, scope))
        names = value if isinstance(value, list) else [value]
        known = self._hosts or (LOCAL,)
        if value == ALL_HOSTS:
            names = list(known)
        for name in names:
            if not isinstance(name, str):
                raise self._fail(f"host of {subject} is {words(name)}", node.mark, "write a name")
            if self._hosts is not None and name not in known:
                remedy = did_you_mean(name, known, "hosts of this stack")
                raise self._fail(f"unknown host '{name}' of {subject}", node.mark, remedy)
        if kind is Kind.DOMAIN and len(names) != 1:
            raise self._fail(
                f"{subject} needs exactly one host", node.mark, "a domain runs on one host"
            )
        if len(set(names)) != len(names):
            raise self._fail(f"{subject} names a host twice", node.mark)
        return names

    def _only_host(self, subject: str, entry: Entry) -> str:
        if not self._hosts:
            return LOCAL
        if len(self._hosts) == 1:
            return self._hosts[0]
        remedy = f"write host: {self._hosts[0]}, or one of: {', '.join(self._hosts)}"
        raise self._fail(f"{subject} names no host, and the stack has several", entry.mark, remedy)


def body(node: Node) -> Node:
    """A declaration without what `Expander` has read from it."""
    return without(node, ("for_each", "host"))
