"""Documents: parse, serialise, compare. Comments, prefixes and order of the untouched stay."""

from __future__ import annotations

import copy
import threading
from hashlib import blake2b

from lxml import etree
from lxml.etree import _Element as Element

from kvmplan.diagnostics import fail


class _Parsers(threading.local):
    """Parsers of each thread's own. None may ever be shared.

    A thread keeps the names of its elements in the table of the first parser that it uses. Who used
    that parser before goes on writing into the same table, both damage it, and then elements are
    not found that are there, or malloc aborts (lxml 6.1: three of a hundred fresh processes). A
    thread that makes an element before it parses looks into the main thread's table all the time.
    """

    def __init__(self) -> None:
        self.exact, self.brief = _parser(blanks=True), _parser(blanks=False)
        self.huge = _parser(blanks=True, huge=True)
        etree.fromstring("<a/>", self.exact)

    def begin(self) -> None:
        """Make them, if this thread has none yet: asking for anything of this object does."""


def _parser(*, blanks: bool, huge: bool = False) -> etree.XMLParser:
    return etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        remove_blank_text=not blanks,
        huge_tree=huge,
        collect_ids=False,
    )


_PARSERS = _Parsers()


def own_names() -> None:
    """Give this thread a table of names of its own, before it makes its first element."""
    _PARSERS.begin()


def parse(text: str) -> Element:
    """The root of a document. Entities are not resolved, nothing is fetched.

    Raises:
        ValueError: the text is not well-formed XML; the message says where.
    """
    return _parse(text, _PARSERS.exact)


def parse_to_read(text: str) -> Element:
    """The root of a live document that is only read: twice as fast, without blanks in between.

    Raises:
        Failure: KVP517, what the host gave is no XML.
    """
    try:
        return _parse(text, _PARSERS.brief)
    except ValueError as error:
        summary = f"a document that libvirt gave is not XML: {error}"
        raise fail("KVP517", summary, remedy="see `virsh dumpxml` and libvirtd's log") from error


def parse_huge(text: str) -> Element:
    """The root of a document of ours of any size. Raises ValueError."""
    return _parse(text, _PARSERS.huge)


def _parse(text: str, parser: etree.XMLParser) -> Element:
    try:
        return etree.fromstring(text, parser)
    except etree.XMLSyntaxError as error:
        raise ValueError(str(error)) from error


def parse_written(text: str) -> Element:
    """The root of XML that a user wrote.

    Raises:
        ValueError: as `parse`; or it has a document type, whose entities could mean anything.
    """
    root = parse(text)
    if root.getroottree().docinfo.internalDTD is not None:
        raise ValueError("a document type (<!DOCTYPE …>) is not taken; write its entities out")
    return root


def space_of(element: Element) -> str | None:
    """An element's namespace."""
    # Not by QName: libxml2 lets names pass that it refuses, such as one with an undeclared prefix.
    return element.tag[1:].partition("}")[0] if element.tag.startswith("{") else None


def local_name(element: Element) -> str:
    """An element's name without its namespace."""
    return str(element.tag).rpartition("}")[2]


def serialise(root: Element) -> str:
    """The document as text, ready for libvirt."""
    return etree.tostring(root, encoding="unicode")


def fragment(element: Element) -> str:
    """An element as text of its own: only the namespaces that it uses, comments kept."""
    try:
        text: bytes = etree.tostring(element, method="c14n", exclusive=True, with_comments=True)
    except etree.C14NError:  # a namespace that is no absolute URI, which libvirt takes
        alone = copy.deepcopy(element)
        alone.tail = None
        etree.cleanup_namespaces(alone)
        return serialise(alone)
    return text.decode()


def foreign(text: str, space: str) -> Element:
    """A text as an element of a namespace, as libvirt makes it: a bare root is put into it.

    Raises:
        ValueError: the text is no XML, or its root is of another namespace.
    """
    root = parse_written(text)
    own = space_of(root)
    if own is not None and own != space:
        raise ValueError(f"the element is of namespace {own}, not {space}")
    if own is not None:
        return root
    attributes = {str(name): str(value) for name, value in root.attrib.items()}
    made = etree.Element(f"{{{space}}}{root.tag}", attributes, nsmap={"x": space})
    made.text = root.text
    made.extend(list(root))
    return made


def canonical(element: Element) -> str:
    """A form that is equal for equal content: prefixes, attribute order and blanks do not count."""
    text = etree.tostring(element, encoding="unicode", with_tail=False)
    form: str = etree.canonicalize(text, strip_text=True, rewrite_prefixes=True)
    return form


def digest(text: str) -> str:
    """A short digest of a text: 32 hexadecimal digits."""
    return blake2b(text.encode(), digest_size=16).hexdigest()
