"""Preview: the documents that a plan would send, for reviewers; secrets are masked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lxml import etree
from lxml.etree import _Element as Element

from kvmplan.apply import documents
from kvmplan.apply.site import Site
from kvmplan.kinds.mark import TAG
from kvmplan.mapping.document import parse, serialise
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
