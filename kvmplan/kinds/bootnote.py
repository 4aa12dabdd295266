"""The boot note: what a running domain was started with, where its own document cannot tell.

Some fields libvirt expands in the running document (a CPU, NUMA cells, a loader), so what runs is
not told from what is defined. Before kvmplan redefines such a field of a running guest, it leaves
its old value in the ``<metadata>`` of the running document alone. libvirt keeps that as long as the
guest runs what it runs (over its own restarts, saves and migrations), and drops it with the running
document when the guest goes off. Secrets are never in it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from lxml import etree
from lxml.etree import _Element as Element

from kvmplan.mapping.document import parse_to_read, serialise

NAMESPACE = "https://kvmplan.org/ns/booted/1"
PREFIX = "booted"
TAG = f"{{{NAMESPACE}}}with"

Path = tuple[str, ...]
Notes = Mapping[Path, Any]
"""Path of a field -> its value when the guest was started; None: it was not there."""

NOTHING: Notes = {}


def read_notes(document: str | None) -> Notes:
    """The note in a document; nothing if there is none, or none that can be read."""
    if document is None or NAMESPACE not in document:
        return NOTHING
    text = parse_to_read(document).findtext(f"metadata/{TAG}")
    try:
        return {tuple(map(str, path)): value for path, value in json.loads(text or "[]") if path}
    except (ValueError, TypeError):
        return NOTHING


def note_arguments(notes: Notes) -> dict[str, Any]:
    """What `Verb.SET_METADATA` needs to leave a note; without entries, to remove it."""
    entries = [[list(path), value] for path, value in sorted(notes.items())]
    text = json.dumps(entries, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    # libvirt declares the namespace itself.
    node = etree.Element("with")
    node.text = text
    return {"namespace": NAMESPACE, "prefix": PREFIX, "xml": serialise(node) if notes else None}


def drop_note(document: Element) -> None:
    """Take a note out of a definition: someone wrote the running document back as one."""
    for node in document.findall(f"metadata/{TAG}"):
        node.getparent().remove(node)  # type: ignore[union-attr]
