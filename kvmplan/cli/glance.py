"""A glance: whether all is as it was when a plan had nothing to do and nothing to tell.

Then that is the plan again, and neither the specs nor the documents need be understood: what both
come to is known by their digests (`kvmplan.plan.insync`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kvmplan.address import LOCAL
from kvmplan.cli.session import reading_goes_on, spec_path, take_inventories

if TYPE_CHECKING:
    from kvmplan.apply.port import HostError
    from kvmplan.host.live import LibvirtHost
    from kvmplan.inventory import Inventory
    from kvmplan.plan.change import Plan
    from kvmplan.plan.insync import Outline
    from kvmplan.plan.options import PlanOptions


@dataclass(slots=True)
class Glance:
    """What a glance has seen.

    Attributes:
        inputs: the digest of what the specs are read from.
        hosts, errors: those that were opened, and why others were not, if it was tried.
        inventories: what was read of them, if anything, so that it need not be read again.
        plan: the plan, if it is known.
    """

    inputs: str
    hosts: Mapping[str, LibvirtHost] = field(default_factory=dict)
    errors: Mapping[str, HostError] = field(default_factory=dict)
    inventories: Mapping[str, Inventory] = field(default_factory=dict)
    plan: Plan | None = None


def glance(path: str | None, options: PlanOptions, given: Mapping[str, Any]) -> Glance | None:
    """Look at specs and hosts without understanding them.

    Args:
        path: of the specs.
        options: what is asked of the plan.
        given: the command's flags.

    Returns:
        None if there is nothing to be known by a glance.

    Raises:
        Failure: a host failed while it was read.
    """
    from kvmplan.cli.memory import recall
    from kvmplan.plan.insync import is_plain
    from kvmplan.spec.desired import LoadOptions
    from kvmplan.spec.inputs import digest_of_inputs

    if not is_plain(options) or options.allow_data_loss or options.allow_restart:
        return None
    files = tuple(Path(name) for name in given["var_files"])
    inputs = digest_of_inputs(spec_path(path), LoadOptions(given["variables"], files, os.environ))
    if inputs is None:
        return None
    outline = recall(inputs)
    if outline is None or (given["connect"] and outline.hosts):
        return Glance(inputs)
    return _look(inputs, outline, options, spec_path(path), given)


def _look(
    inputs: str, outline: Outline, options: PlanOptions, path: Path, given: Mapping[str, Any]
) -> Glance:
    """Read the hosts. One that does not answer is left for the plan to tell of."""
    from kvmplan.cli.git import git_origin
    from kvmplan.cli.memory import Memory
    from kvmplan.host import default_uri, open_hosts, start
    from kvmplan.inventory import Wanted

    uris = dict(outline.hosts) or {LOCAL: given["connect"] or default_uri()}
    asked = start(lambda: git_origin(path))
    hosts, errors = open_hosts(uris, read_only=given["read_only"])
    if errors:
        return Glance(inputs, hosts, errors)

    def wanted(name: str) -> Wanted:
        here = frozenset(address for address in outline.wanted if address.host == name)
        return Wanted(here, frozenset(), outline.stack_uid)

    try:
        with reading_goes_on():
            inventories = take_inventories(hosts, wanted)
            memory = Memory(outline.stack_uid, (i.facts.uri for i in inventories.values()))
            plan = None
            options = replace(options, origin=asked.result())
            if outline.holds(inventories, memory.in_sync, options):
                plan = _unchanged(outline, inventories)
    except BaseException:
        for host in hosts.values():
            host.close()
        raise
    return Glance(inputs, hosts, {}, inventories, plan)


def _unchanged(outline: Outline, inventories: Mapping[str, Inventory]) -> Plan:
    from kvmplan.plan.change import Plan

    return Plan(
        stack_name=outline.stack_name,
        stack_uid=outline.stack_uid,
        hosts={name: inventory.facts for name, inventory in sorted(inventories.items())},
        changes=(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
