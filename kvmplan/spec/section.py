"""The stack section, and which top-level keys there are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from kvmplan.address import HOST_NAME, Kind
from kvmplan.diagnostics import Diagnostics, Place
from kvmplan.spec import codes
from kvmplan.spec.desired import HostSpec, Stack
from kvmplan.spec.node import Entry, Node, child, entries, lift, plain
from kvmplan.spec.suggest import did_you_mean
from kvmplan.spec.validate import validate

KINDS = {kind.plural: kind for kind in Kind}
SECTIONS = ("stack", "variables", "profiles", *KINDS, "outputs", "moved")
LATER = ("nwfilters", "secrets", "checks", "policies")
"""Sections of the language that this version does not carry out."""
STACK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def _stack_name(value: str) -> str:
    if not STACK_NAME.fullmatch(value):
        raise ValueError(f"'{value}' cannot be a stack's name: letters, digits, '.', '_' and '-'")
    return value


def _uid(value: str) -> str:
    try:
        return str(UUID(value))
    except ValueError as error:
        raise ValueError(f"'{value}' is no uid; 'kvmplan init' writes a random one") from error


def _uri(value: str) -> str:
    if ":" not in value:
        raise ValueError(f"'{value}' is no connection URI, such as qemu+ssh://root@kvm1/system")
    return value


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class HostSection(_Section):
    """One entry of ``stack.hosts``."""

    uri: Annotated[str, AfterValidator(_uri)]


class MaxDeleteSection(_Section):
    """``stack.max_delete``: more deletions than either stop a run."""

    count: Annotated[int, Field(ge=0)] = 10
    percent: Annotated[int, Field(ge=0, le=100)] = 25


class StackSection(_Section):
    """The section ``stack``."""

    name: Annotated[str, AfterValidator(_stack_name)]
    uid: Annotated[str, AfterValidator(_uid)]
    hosts: dict[str, HostSection] = {}
    prune: bool = False
    max_delete: MaxDeleteSection = MaxDeleteSection()


def check_sections(documents: Sequence[Node], report: Diagnostics) -> None:
    """Report top-level keys that nobody knows or that this version does not support."""
    for document in documents:
        for name, entry in entries(document).items():
            if name in LATER:
                summary = f"'{name}' is not supported by this version of kvmplan"
                report.error(codes.UNSUPPORTED, summary, entry.place, "take it out")
            elif name not in SECTIONS:
                summary = f"unknown section '{name}'"
                remedy = did_you_mean(name, SECTIONS, "sections")
                report.error(codes.UNKNOWN_FIELD, summary, entry.place, remedy)


def gather(documents: Sequence[Node], section: str, report: Diagnostics) -> dict[str, Entry]:
    """The entries of one section over all files; the second of a name is an error."""
    found: dict[str, Entry] = {}
    for document in documents:
        node = child(document, section)
        if node is None:
            continue
        if not isinstance(node.value, dict):
            summary = f"'{section}' needs a mapping"
            report.error(codes.VALUE, summary, node.place, "write NAME: {…}")
        for name, entry in entries(node).items():
            if name in found:
                summary = f"'{name}' is declared twice in {section}"
                first = f"the first is at {found[name].place}"
                report.error(codes.DUPLICATE, summary, entry.place, first)
            else:
                found[name] = entry
    return found


def find_stack(documents: Sequence[Node], report: Diagnostics) -> Entry | None:
    """The one stack section; None, and an error, if there is none."""
    found: Entry | None = None
    for document in documents:
        entry = entries(document).get("stack")
        if entry is None:
            continue
        if found is not None:
            summary, first = "a second stack section", f"the first is at {found.place}"
            report.error(codes.STACK, summary, entry.place, first)
        else:
            found = entry
    if found is None:
        # `init` writes one where there are no specs yet, and refuses to here.
        remedy = (
            "write one, stack: {name: NAME, uid: UUID}, with a uid of `uuidgen`;"
            " where there are no specs yet 'kvmplan init' does"
        )
        report.error(codes.STACK, "no file has a stack section", None, remedy)
    return found


def build_stack(entry: Entry, node: Node, report: Diagnostics) -> Stack | None:
    """The stack of a rendered section; None, and errors, if it is wrong."""
    node = _full_hosts(node)
    before = len(report)
    hosts = child(node, "hosts")
    for name, host in entries(hosts).items() if hosts is not None else ():
        if not HOST_NAME.fullmatch(name):
            summary = f"'{name}' cannot be the name of a host"
            report.error(codes.NAME, summary, host.place, "use a-z, 0-9 and '-'")
    raw = plain(node)
    if isinstance(raw, dict):
        raw = {name: value for name, value in raw.items() if value is not None}
    section = validate(StackSection, raw, node, "stack", report)
    if section is None or len(report) > before:
        return None
    places = entries(hosts) if hosts is not None else {}
    return Stack(
        name=section.name,
        uid=section.uid,
        hosts={
            name: HostSpec(host.uri, places[name].place) for name, host in section.hosts.items()
        },
        prune=section.prune,
        max_delete_count=section.max_delete.count,
        max_delete_percent=section.max_delete.percent,
        place=Place(*entry.mark),
    )


def _full_hosts(node: Node) -> Node:
    """``kvm1: URI`` as ``kvm1: {uri: URI}``."""
    hosts = child(node, "hosts")
    if hosts is None or not isinstance(hosts.value, dict) or not isinstance(node.value, dict):
        return node
    full = {
        name: Entry(mark, lift({"uri": below}, below.mark))
        if isinstance(below.value, str)
        else Entry(mark, below)
        for name, (mark, below) in hosts.value.items()
    }
    mark = node.value["hosts"].mark
    return node._replace(value={**node.value, "hosts": Entry(mark, hosts._replace(value=full))})
