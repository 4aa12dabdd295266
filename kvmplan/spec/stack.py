"""Load a stack: files -> sections -> variables -> resources -> `Desired`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kvmplan.address import Kind
from kvmplan.diagnostics import Diagnostics
from kvmplan.kinds.macs import Macs
from kvmplan.mapping.model import Mapped
from kvmplan.spec.budget import begin_run
from kvmplan.spec.desired import Desired, LoadOptions, Stack
from kvmplan.spec.expand import Expander
from kvmplan.spec.files import find, read_mapping, shown
from kvmplan.spec.ignition import write_ignition
from kvmplan.spec.leases import write_leases
from kvmplan.spec.macs import other_macs
from kvmplan.spec.moved import Moves
from kvmplan.spec.names import Names
from kvmplan.spec.node import Entry, Node
from kvmplan.spec.outputs import read_outputs
from kvmplan.spec.paths import write_path_references
from kvmplan.spec.render import Renderer, Unrendered
from kvmplan.spec.resolve import Resolver
from kvmplan.spec.secrets import Secrets
from kvmplan.spec.section import KINDS, build_stack, check_sections, find_stack, gather
from kvmplan.spec.seeds import write_seeds
from kvmplan.spec.variables import Variables


def load_stack(
    path: Path,
    options: LoadOptions,
    models: Mapping[Kind, type[Mapped]],
) -> tuple[Desired | None, Diagnostics]:
    """As `kvmplan.spec.load`."""
    begin_run()
    report = Diagnostics()
    layout = find(path, report)
    if layout is None:
        return None, report
    read = [read_mapping(file, report) for file in layout.files]
    documents = [document for document in read if document is not None]
    broken = report.has_errors
    check_sections(documents, report)
    variables = Variables(report)
    declared = gather(documents, "variables", report)
    values = variables.values(declared, layout, options)
    secrets = Secrets(layout.root, options.environ, report, read=options.read_secrets)
    renderer = Renderer(layout.root, secrets, report)
    stack = _stack(documents, values, renderer, report, broken)
    hosts = tuple(stack.hosts) if stack is not None else None
    expander = Expander(values, hosts, renderer, report)
    profiles = gather(documents, "profiles", report)
    resolver = Resolver(models, profiles, hosts, expander, renderer, secrets, report)
    for section, kind in KINDS.items():
        for key, entry in gather(documents, section, report).items():
            resolver.declaration(kind, key, entry)
    resolver.unused_profiles()
    several, whole = bool(hosts and len(hosts) > 1), not report.has_errors
    moves = Moves(resolver.resources, report, several_hosts=several, whole=whole)
    moved = moves.read(documents, renderer, {"var": values})
    macs: Macs = {}
    if stack is not None:
        macs = other_macs(resolver.resources, stack.uid)
        write_leases(resolver.resources, stack.uid, macs, report)
        write_ignition(resolver.resources, report)
        write_seeds(resolver.resources, stack.uid, report)
        write_path_references(resolver.resources)
    outputs = read_outputs(gather(documents, "outputs", report), values, renderer, report)
    if stack is None or (report.has_errors and not options.keep_going):
        return None, report
    sources = (*map(shown, layout.files), *variables.sources)
    closed = not renderer.used_templates and not secrets.used
    return Desired(stack, resolver.resources, sources, closed, moved, outputs, macs), report


def _stack(
    documents: list[Node], values: Names, renderer: Renderer, report: Diagnostics, broken: bool
) -> Stack | None:
    """The stack; None if it is missing or wrong, which is reported.

    A missing one is not reported when a file could not be read: it may well be there.
    """
    found: Entry | None = find_stack(documents, Diagnostics() if broken else report)
    if found is None:
        return None
    try:
        node = renderer.render(found.node, {"var": values})
    except Unrendered:
        return None
    return build_stack(found, node, report)
