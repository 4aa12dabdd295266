"""Preview: the documents that a plan would send, for reviewers; secrets are masked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lxml import etree
from lxml.etree import _Element as Element

from kvmplan.address import Address, Kind
from kvmplan.apply import documents
from kvmplan.apply.site import Site
from kvmplan.kinds.context import VolumeFacts
from kvmplan.kinds.mark import TAG
from kvmplan.kinds.pooltypes import POOL_TYPES
from kvmplan.mapping.document import parse, parse_to_read, serialise
from kvmplan.mapping.paths import drop
from kvmplan.mapping.secrecy import SENSITIVE
from kvmplan.mapping.types import SecretText
from kvmplan.plan.change import Action, Change
from kvmplan.plan.intent import Intent

MASK = SecretText(SENSITIVE)


def preview(site: Site, change: Change, intent: Intent) -> tuple[str, str]:
    """A change's document before and after; ``""`` before for what is made.

    Raises:
        LookupError: it depends on something that does not exist yet.
        Invalid, TemplateError: it cannot be made at all.
        HostError: the host did not answer.
    """
    shown = replace(intent, tree=_masked(intent.tree))
    if change.action in (Action.CREATE, Action.REPLACE):
        return "", _text(documents.new_document(site, shown))
    record = intent.record
    if record is None:
        return "", ""
    edits = [(field.path, _masked(field.after)) for field in change.fields]
    root, _ = documents.patched(site, shown, record.document, edits, None)
    return _text(parse(record.document)), _text(root)


def expected(site: Site, volume: Address, tree: Mapping[str, Any]) -> VolumeFacts | None:
    """What a volume that the plan makes will be to the disks on it; None where nobody can say.

    Without, a disk would be shown as it is written where nothing is known of its volume: raw.
    """
    births, inventory = site.births, site.inventory
    if "qcow2" not in POOL_TYPES[births.pool_type(volume, inventory)].makes:
        return None
    pool = Address(volume.host, Kind.POOL, volume.pool)
    record, resource = inventory.record(pool), births.desired.resources.get(pool)
    if record is not None:
        folder = parse_to_read(record.document).findtext("target/path")
    else:
        folder = getattr(resource.model, "path", None) if resource is not None else None
    if not folder:
        return None
    skeleton = births.document(volume, tree, inventory, "").find("target/format")
    born = skeleton.get("type") if skeleton is not None else None
    return VolumeFacts("file", f"{folder}/{volume.leaf}", tree.get("format") or born or "raw")


def _masked(value: Any) -> Any:
    if isinstance(value, SecretText):
        return MASK
    if isinstance(value, Mapping):
        return {name: _masked(inner) for name, inner in value.items()}
    return value


def _text(root: Element) -> str:
    """The document without our mark, which a reviewer knows already from the specs."""
    for mark in root.findall(f"metadata/{TAG}"):
        drop(mark)
    etree.indent(root)
    return serialise(root) + "\n"
