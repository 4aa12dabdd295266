"""Documents: parse, serialise, compare. Comments, prefixes and order of what is not touched stay."""

from __future__ import annotations

from hashlib import blake2b

from lxml import etree
from lxml.etree import _Element as Element

_PARSER = {"resolve_entities": False, "no_network": True, "remove_blank_text": False}


def parse(text: str) -> Element:
    """The root of a document. Entities are not resolved, nothing is fetched.

    Raises:
        ValueError: the text is not well-formed XML; the message says where.
    """
    try:
        return etree.fromstring(text, etree.XMLParser(**_PARSER))  # type: ignore[arg-type]
    except etree.XMLSyntaxError as error:
        raise ValueError(str(error)) from error


def serialise(root: Element) -> str:
    """The document as text, ready for libvirt."""
    return etree.tostring(root, encoding="unicode")


def canonical(element: Element) -> str:
    """A form that is equal for equal content: prefixes, attribute order and blanks do not count."""
    text = etree.tostring(element, encoding="unicode", with_tail=False)
    return etree.canonicalize(text, strip_text=True, rewrite_prefixes=True)


def digest(text: str) -> str:
    """A short digest of a text: 32 hexadecimal digits."""
    return blake2b(text.encode(), digest_size=16).hexdigest()
