"""Validation against the schemas that libvirt ships, in this process and before anything is sent.

The change is validated, never what libvirt already holds: a document whose live version does not
pass is not held against the change. Schemas are those of the libvirt on this machine, so only hosts
on this machine are checked.

A thousand documents of one stack differ in little more than names, and validating takes longer than
making them: one that differs from a valid one in nothing that the schema minds is not validated.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from lxml import etree
from lxml.etree import _Element as Element

from kvmplan.address import Kind
from kvmplan.apply.problems import Invalid
from kvmplan.kinds.mark import PREFIX
from kvmplan.mapping.document import digest, serialise

FOLDER = Path("/usr/share/libvirt/schemas")
FILES = {
    Kind.DOMAIN: "domain.rng",
    Kind.NETWORK: "network.rng",
    Kind.POOL: "storagepool.rng",
    Kind.VOLUME: "storagevol.rng",
}
NUMEROUS = (Kind.DOMAIN, Kind.VOLUME)
"""The kinds that come in large numbers; what is interchangeable in these is known."""

_ALIKE = (
    ("<name>", r"[A-Za-z0-9_][A-Za-z0-9_.+-]*", "</name>"),
    ("<uuid>", r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", "</uuid>"),
    ("<title>", r"[A-Za-z0-9_ .:,-]+", "</title>"),
    ("<description>", r"[^<]+", "</description>"),
    ("<path>", r"/[A-Za-z0-9_./+-]+", "</path>"),
    ('<source file="', r"/[A-Za-z0-9_./+-]+", '"'),
    ('<mac address="', r"[0-9a-f][02468ace](?::[0-9a-f]{2}){5}", '"'),
    (f"<{PREFIX}:object ", r"[^<]*", f"</{PREFIX}:object>"),
)
"""Values that the schemas take wherever they take another one of the same pattern: what stands
before one, its pattern, what stands behind it."""

_FIND = re.compile("|".join(f"({head}){value}(?={tail})" for head, value, tail in _ALIKE))
_ANY = "".join(rf"\{number}" for number in range(1, _FIND.groups + 1)) + "\0"
"""What stands in the place of such a value: nothing that any document can hold."""

_GUARD = threading.Lock()
"""lxml's schema objects, and their error logs, are for one thread at a time."""


class Schemas:
    """The schemas that apply to one host.

    Args:
        uri: the host's connection URI; one with a server in it has no schemas here.
        folder: where libvirt keeps them.
    """

    def __init__(self, uri: str, folder: Path = FOLDER) -> None:
        self._folder = None if urlsplit(uri).netloc else folder
        self._valid: set[str] = set()

    def load(self, kinds: Iterable[Kind]) -> None:
        """Have the schemas of these kinds at hand, or several threads compile each at once."""
        if self._folder is not None:
            for kind in kinds:
                _load(self._folder / FILES[kind])

    def check(self, kind: Kind, made: Element, live: Element | None = None) -> bool:
        """Validate a new or a patched document.

        Args:
            kind: of the object.
            made: the document that will be sent.
            live: the document it was made from, before it was patched; None of a new object.

        Returns:
            False if the live document itself does not pass: then nothing was checked.

        Raises:
            Invalid: it does not pass.
        """
        schema = _load(self._folder / FILES[kind]) if self._folder is not None else None
        if schema is None:
            return True
        shape = _shape(made) if kind in NUMEROUS else None
        if shape in self._valid:
            return True
        with _GUARD:
            if schema.validate(made):
                if shape is not None:
                    self._valid.add(shape)
                return True
            reason = _reason(schema)
            if live is not None and not schema.validate(live):
                return False
        raise Invalid(f"libvirt's schema refuses the document: {reason}")


@cache
def _load(file: Path) -> etree.RelaxNG | None:
    """The schema; None where libvirt ships none."""
    with _GUARD:
        try:
            return etree.RelaxNG(etree.parse(str(file)))
        except (OSError, etree.LxmlError):
            return None


def _shape(document: Element) -> str:
    """A digest that is equal for documents that are both valid or both invalid."""
    return digest(_FIND.sub(_ANY, serialise(document)))


def interchangeable(text: str) -> Iterator[tuple[str, str]]:
    """The values in a new domain's document that no schema tells from others of their patterns."""
    for match in _FIND.finditer(text):
        head, pattern, _ = _ALIKE[(match.lastindex or 1) - 1]
        yield match[0][len(head) :], pattern


def _reason(schema: etree.RelaxNG) -> str:
    """The entry that points deepest into the document; the outer ones only follow from it."""
    entries = list(schema.error_log)
    if not entries:
        return "no reason given"
    worst = max(entries, key=lambda entry: (entry.path or "").count("/"))
    return f"{worst.path or '/'}: {worst.message}"
