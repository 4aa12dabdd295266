"""The overlay: an XML fragment merged over a document, for what has no field yet.

An element of the fragment meets the one that is the same thing (same target, address, name, …), or
the only one of its tag; else it is added. Its attributes and text are set; what it does not mention
stays. Sequences whose order means something (`SEQUENCES`) are kept together: they take the place of
what the fragment before had there, else they follow what is there. What the fragment before added,
and nothing tells apart from its like (a hostdev), goes when the new one does not have it. Merging
twice is merging once, and `satisfied` holds afterwards.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator

from lxml.etree import _Element as Element

from kvmplan.mapping.document import local_name
from kvmplan.mapping.paths import drop, insert, read_text

ALIAS = ("./alias/@name",)
REPEATED: dict[str, tuple[tuple[str, ...], ...]] = {
    "devices/disk": (("./target/@dev",),),
    "devices/interface": (("./mac/@address",), ("./target/@dev",)),
    "devices/controller": (("./@type", "./@index"),),
    "devices/filesystem": (("./target/@dir",),),
    "devices/channel": (("./target/@name",),),
    "devices/serial": (("./target/@port",),),
    "devices/parallel": (("./target/@port",),),
    "devices/console": (("./target/@port",),),
    "devices/graphics": (("./@type",),),
    "devices/input": (("./@type", "./@bus"),),
    "devices/audio": (("./@id",),),
    "devices/shmem": (("./@name",),),
    "devices/hostdev": (),
    "devices/redirdev": (),
    "devices/memory": (),
    "devices/smartcard": (),
    "devices/sound": (),
    "devices/video": (),
    "devices/rng": (),
    "devices/hub": (),
    "devices/panic": (),
    "os/boot": (("./@dev",),),
    "cpu/feature": (("./@name",),),
    "clock/timer": (("./@name",),),
    "cputune/vcpupin": (("./@vcpu",),),
    "cputune/iothreadpin": (("./@iothread",),),
    "iothreadids/iothread": (("./@id",),),
    "numa/cell": (("./@id",),),
    "numatune/memnode": (("./@cellid",),),
    "hugepages/page": (("./@size",),),
    "commandline/env": (("./@name",),),
    "source/host": (("./@name",),),
    "forward/interface": (("./@dev",),),
    "vlan/tag": (("./@id",),),
    "network/ip": (("./@address",),),
    "network/route": (("./@address",),),
    "network/portgroup": (("./@name",),),
    "dhcp/range": (("./@start", "./@end"),),
    "dhcp/host": (("./@mac",), ("./@name",), ("./@ip",)),
    "dns/host": (("./@ip",),),
    "dns/txt": (("./@name",),),
    "dns/srv": (("./@service", "./@protocol", "./@target"),),
    "dns/forwarder": (("./@domain",), ("./@addr",)),
}
"""What may stand several times below its parent, and what tells such elements apart, the most
telling first. Without an identity in common an element is added, unless one says the same."""

SEQUENCES = frozenset({"commandline/arg"})
"""Elements that only mean something in their order, after one another: half of an old argument list
beside half of a new one starts no guest."""

Pair = tuple[Element, Element | None]
Identity = list[tuple[str, str]]


def merge(element: Element, fragment: Element, past: Element | None = None) -> None:
    """Merge a fragment over an element, in place; `past` is the fragment that was merged before."""
    for name, value in fragment.attrib.items():
        element.set(name, value)
    if (fragment.text or "").strip():
        element.text = fragment.text
    _merge_sequence(element, fragment, past)
    pairs = _pairs(element, fragment)
    if past is not None:
        _drop_stale(element, past, [node for _, node in pairs if node is not None])
    for child, counterpart in pairs:
        if counterpart is not None:
            merge(counterpart, child, None if past is None else past.find(child.tag))
        else:
            added = copy.deepcopy(child)
            added.tail = None
            insert(element, added)


def _drop_stale(element: Element, past: Element, kept: list[Element]) -> None:
    """Take out what the past fragment added here and the new one has no counterpart for.

    Elements with an identity stay: the fragment may only have changed what somebody else made.
    """
    for old in past.iterchildren("{*}*"):
        key = f"{local_name(past)}/{local_name(old)}"
        if key not in REPEATED or _identity(old, key):
            continue
        if any(node.tag == old.tag and satisfied(node, old) for node in kept):
            continue
        left = (node for node in element.iterchildren(str(old.tag)) if node not in kept)
        stale = next((node for node in left if satisfied(node, old)), None)
        if stale is not None:
            drop(stale)


def left_out(fragment: Element, past: Element, *, merged: bool) -> list[str]:
    """What the past fragment asked for, the new one does not, and stays as it is: paths.

    `merged`: the new one is merged over it; what nothing tells apart goes then.
    """
    return sorted(set(_left_out(fragment, past, "", merged=merged)))


def _left_out(fragment: Element, past: Element, at: str, *, merged: bool) -> Iterator[str]:
    yield from (f"{at}@{name!s}" for name in past.attrib if name not in fragment.attrib)
    if (past.text or "").strip() and not (fragment.text or "").strip() and not len(fragment):
        yield at.rstrip("/") or local_name(past)
    if not (merged and _sequence(fragment)):
        have = Counter(_shape(node) for node in _sequence(fragment))
        gone = Counter(_shape(node) for node in _sequence(past)) - have
        yield from (f"{at}{local_name(node)}" for node in _sequence(past) if gone[_shape(node)])
    for old, new in _pairs(fragment, past):
        key = f"{local_name(past)}/{local_name(old)}"
        path = f"{at}{local_name(old)}"
        if new is not None:
            yield from _left_out(new, old, f"{path}/", merged=merged)
        elif not merged or _identity(old, key) or key not in REPEATED:
            yield path


def satisfied(element: Element, fragment: Element) -> bool:
    """Whether merging the fragment would change nothing."""
    if any(element.get(name) != value for name, value in fragment.attrib.items()):
        return False
    text = (fragment.text or "").strip()
    if text and text != (element.text or "").strip():
        return False
    if _run(_sequence(element), _sequence(fragment)) is None:
        return False
    return all(
        counterpart is not None and satisfied(counterpart, child)
        for child, counterpart in _pairs(element, fragment)
    )


def _merge_sequence(element: Element, fragment: Element, past: Element | None) -> None:
    wanted, found = _sequence(fragment), _sequence(element)
    if _run(found, wanted) is not None:
        return
    old = [] if past is None else _sequence(past)
    start = _run(found, old)
    stale = [] if start is None else found[start : start + len(old)]
    for node in wanted:
        added = copy.deepcopy(node)
        added.tail = None
        if stale:
            stale[0].addprevious(added)
        else:
            insert(element, added)
    for node in stale:
        drop(node)


def _run(found: list[Element], wanted: list[Element]) -> int | None:
    """Where `wanted` stands in `found`, one after the other; None if nowhere."""
    shapes, run = [_shape(node) for node in found], [_shape(node) for node in wanted]
    starts = range(len(shapes) - len(run) + 1)
    return next((at for at in starts if shapes[at : at + len(run)] == run), None)


def _sequence(parent: Element) -> list[Element]:
    return [node for node in parent.iterchildren("{*}*") if _is_in_sequence(parent, node)]


def _is_in_sequence(parent: Element, node: Element) -> bool:
    return f"{local_name(parent)}/{local_name(node)}" in SEQUENCES


def _shape(node: Element) -> tuple[str, tuple[tuple[str, str], ...]]:
    return str(node.tag), tuple(sorted((str(k), str(v)) for k, v in node.attrib.items()))


def _pairs(parent: Element, fragment: Element) -> list[Pair]:
    """Each child of the fragment with its counterpart; no element is the counterpart of two."""
    children = [n for n in fragment.iterchildren("{*}*") if not _is_in_sequence(fragment, n)]
    free = list(parent.iterchildren("{*}*"))
    several = {tag for nodes in (children, free) for tag, n in _count(nodes).items() if n > 1}
    found: list[Element | None] = [None] * len(children)
    loose: list[int] = []
    for index, child in enumerate(children):
        key = f"{local_name(parent)}/{local_name(child)}"
        identity = _identity(child, key)
        if identity or (key not in REPEATED and child.tag not in several):
            found[index] = _take(free, child.tag, identity)
        else:
            loose.append(index)
    for index in loose:
        same = (node for node in free if node.tag == children[index].tag)
        match = next((node for node in same if satisfied(node, children[index])), None)
        if match is not None:
            free.remove(match)
            found[index] = match
    return list(zip(children, found, strict=True))


def _count(nodes: list[Element]) -> Counter[str]:
    return Counter(str(node.tag) for node in nodes)


def _identity(child: Element, key: str) -> Identity:
    """What tells a repeated element apart: paths and values; empty if it says nothing."""
    for paths in (ALIAS, *REPEATED[key]) if key in REPEATED else ():
        values = [(path, read_text(child, path)) for path in paths]
        known = [(path, value) for path, value in values if value is not None]
        if len(known) == len(paths):
            return known
    return []


def _take(free: list[Element], tag: str, identity: Identity) -> Element | None:
    """Take the first free element of a tag and identity."""
    for node in free:
        if node.tag == tag and all(read_text(node, path) == value for path, value in identity):
            free.remove(node)
            return node
    return None
