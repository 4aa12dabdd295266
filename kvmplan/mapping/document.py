"""Documents: parse, serialise, compare. Comments, prefixes and order of the untouched stay."""

from __future__ import annotations

import threading
from hashlib import blake2b

from lxml import etree
from lxml.etree import _Element as Element


class _Parsers(threading.local):
    """One parser for each thread: making one costs, and sharing one serialises its users."""

    def __init__(self) -> None:
        self.parser = etree.XMLParser(
            resolve_entities=False, no_network=True, remove_blank_text=False, huge_tree=False
        )


_PARSERS = _Parsers()


def parse(text: str) -> Element:
    """The root of a document. Entities are not resolved, nothing is fetched.

    Raises:
        ValueError: the text is not well-formed XML; the message says where.
    """
    try:
        return etree.fromstring(text, _PARSERS.parser)
    except etree.XMLSyntaxError as error:
        raise ValueError(str(error)) from error


def serialise(root: Element) -> str:
    """The document as text, ready for libvirt."""
    return etree.tostring(root, encoding="unicode")


def fragment(element: Element) -> str:
    """An element as text of its own: only the namespaces that it uses, comments kept."""
    text: bytes = etree.tostring(element, method="c14n", exclusive=True, with_comments=True)
    return text.decode()


def canonical(element: Element) -> str:
    """A form that is equal for equal content: prefixes, attribute order and blanks do not count."""
    text = etree.tostring(element, encoding="unicode", with_tail=False)
    form: str = etree.canonicalize(text, strip_text=True, rewrite_prefixes=True)
    return form


def digest(text: str) -> str:
    """A short digest of a text: 32 hexadecimal digits."""
    return blake2b(text.encode(), digest_size=16).hexdigest()
