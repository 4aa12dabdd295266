"""The composition root: specs, hosts and plans put together for the commands."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from kvmplan.address import LOCAL, Address, Kind
from kvmplan.apply.port import HostError
from kvmplan.cli.report import from_host_error
from kvmplan.diagnostics import Diagnostics, Failure, fail

if TYPE_CHECKING:
    from kvmplan.cli.glance import Glance
    from kvmplan.cli.memory import Memory
    from kvmplan.host.live import LibvirtHost
    from kvmplan.inventory import Inventory, Wanted
    from kvmplan.plan.change import Plan
    from kvmplan.plan.options import PlanOptions
    from kvmplan.plan.planner import Planned
    from kvmplan.spec import Desired

SWITCH_SECONDS = 0.0002
"""How long planning keeps the interpreter from threads that read documents."""


@dataclass(slots=True)
class Session:
    """One run's specs and open hosts."""

    path: Path
    desired: Desired
    hosts: Mapping[str, LibvirtHost] = field(default_factory=dict)
    warnings: Diagnostics = field(default_factory=Diagnostics)
    """Of the specs, and of what could not be read. They are part of every plan that is made."""
    inventories: Mapping[str, Inventory] | None = None
    """What was read of the hosts already."""
    inputs: str | None = None
    """The digest of what the specs are read from, where that is known."""

    @property
    def templates(self) -> Path:
        """The user's own templates, beside the specs."""
        return templates_folder(self.path)

    @property
    def several_hosts(self) -> bool:
        """Whether the stack has several, reached or not: addresses carry their host then."""
        return len(self.desired.stack.hosts) > 1

    @property
    def left_out(self) -> list[str]:
        """The hosts of the stack that did not answer."""
        return sorted(self.desired.stack.hosts.keys() - self.hosts.keys())

    def close(self) -> None:
        """Give all connections back."""
        for host in self.hosts.values():
            host.close()

    def uri(self, host: str) -> str:
        """The URI a host is reached by, for messages."""
        known = self.desired.stack.hosts.get(host)
        return known.uri if known else getattr(self.hosts.get(host), "uri", "")


def spec_path(path: str | None) -> Path:
    """Where the specs are: the argument, else ``specs/``."""
    from kvmplan.spec import DEFAULT_PATH

    return Path(path) if path else DEFAULT_PATH


def templates_folder(path: Path) -> Path:
    """``templates/`` of the repository that holds the specs."""
    folder = path if path.is_dir() else path.parent
    inside = folder.parent if folder.name == "specs" or folder == Path() else folder
    return inside.resolve() / "templates"


def load_specs(
    path: str | None,
    variables: tuple[str, ...],
    var_files: tuple[str, ...],
    *,
    secrets: bool = True,
) -> tuple[Path, Desired, Diagnostics]:
    """Read the specs. Raises `Failure` with every problem when there is an error."""
    from kvmplan.spec import LoadOptions, load

    where = spec_path(path)
    options = LoadOptions(variables, tuple(Path(name) for name in var_files), os.environ, secrets)
    desired, found = load(where, options)
    if desired is None or found.has_errors:
        raise Failure(found)
    return where, desired, found


def open_session(
    path: str | None,
    variables: tuple[str, ...],
    var_files: tuple[str, ...],
    *,
    connect: str | None,
    read_only: bool,
    on_unreachable: str,
    glance: Glance | None = None,
    secrets: bool = True,
) -> Session:
    """Read the specs and connect to every host, side by side; or take what a glance has read.

    Without `secrets` none is read: for what compares nothing.
    """
    where, desired, found = load_specs(path, variables, var_files, secrets=secrets)
    session = Session(where, desired, warnings=found)
    if glance is not None:
        session.inputs = glance.inputs
    if glance is not None and glance.inventories:
        session.hosts, session.inventories = glance.hosts, glance.inventories
    else:
        tried = (glance.hosts, glance.errors) if glance is not None and glance.errors else None
        session.hosts = connect_hosts(
            session, connect, read_only=read_only, on_unreachable=on_unreachable, tried=tried
        )
    return session


def connect_hosts(
    session: Session,
    connect: str | None,
    *,
    read_only: bool,
    on_unreachable: str,
    tried: tuple[Mapping[str, LibvirtHost], Mapping[str, HostError]] | None = None,
) -> Mapping[str, LibvirtHost]:
    """Open the stack's hosts, unless that was `tried`: these are open, and why others are not.

    Raises:
        Failure: KVP511 ``--connect`` beside ``stack.hosts``; KVP502 … a host that does not answer.
    """
    from kvmplan.host import default_uri, diagnose, open_hosts

    declared = session.desired.stack.hosts
    if connect and declared:
        place = next(iter(declared.values())).place
        raise fail(
            "KVP511",
            "--connect and stack.hosts both say where to go",
            place,
            "leave one of them out",
        )
    uris: dict[str, str | None] = {name: spec.uri for name, spec in declared.items()} or {
        LOCAL: connect or default_uri()
    }
    hosts, errors = tried or open_hosts(uris, read_only=read_only)
    if errors:
        found = [diagnose(error, name, uris[name] or "") for name, error in sorted(errors.items())]
        if on_unreachable == "fail" or not hosts:
            raise Failure(found)
        for item in found:
            session.warnings.warning(
                item.code, f"{item.summary}; left out", item.place, item.remedy
            )
    return hosts


def translated(session: Session, host: str) -> AbstractContextManager[None]:
    """Turn what a host answers into a `Failure`."""
    return told_as_failure(host, session.uri(host))


@contextmanager
def told_as_failure(host: str, uri: str) -> Iterator[None]:
    """Turn what a host answers into a `Failure`."""
    try:
        yield
    except HostError as error:
        raise from_host_error(error, host, uri) from error


def read_hosts(session: Session) -> Mapping[str, Inventory]:
    """The inventories of all hosts, read side by side.

    Raises:
        Failure: a host failed; KVP510, two names lead to one host.
    """
    found = _inventories(session)
    by_uuid: dict[str, str] = {}
    for name, read in found.items():
        other = by_uuid.setdefault(read.facts.uuid, name)
        if other != name:
            place = session.desired.stack.hosts[name].place
            raise fail(
                "KVP510",
                f"hosts '{other}' and '{name}' lead to one hypervisor ({read.facts.uuid})",
                place,
                "keep one of them",
            )
        for sentence in read.unread:
            session.warnings.warning("KVP512", f"host '{name}': {sentence}")
    return found


def _inventories(session: Session) -> Mapping[str, Inventory]:
    """What is wanted of all hosts, and what is claimed there."""
    if session.inventories is not None:
        return session.inventories
    return take_inventories(session.hosts, lambda name: wanted_of(session.desired, name))


def take_inventories(
    hosts: Mapping[str, LibvirtHost], wanted: Callable[[str], Wanted]
) -> dict[str, Inventory]:
    """The inventories of hosts, read side by side. Raises `Failure`: a host failed."""
    from functools import partial

    from kvmplan.host import side_by_side

    def inventory(name: str) -> Inventory:
        told = partial(told_as_failure, name, hosts[name].uri)
        with told():
            return hosts[name].inventory(wanted(name), waiting=told)

    read_by_name = side_by_side([partial(inventory, name) for name in hosts])
    return dict(zip(hosts, read_by_name, strict=True))


def read_everything(session: Session, *, lenient: bool = False) -> dict[str, Inventory]:
    """The inventories of all hosts with every object read, whosever it is.

    Args:
        session: the open hosts.
        lenient: name own claims that cannot be read, instead of failing.
    """
    from kvmplan.inventory import Wanted

    uid, found = session.desired.stack.uid, {}
    for name, host in session.hosts.items():
        with translated(session, name):
            first = host.inventory(Wanted(frozenset(), stack_uid=uid, lenient=lenient))
            there = (
                Address(name, kind, item) for kind, names in first.names.items() for item in names
            )
            found[name] = host.inventory(Wanted(frozenset(there), stack_uid=uid, lenient=lenient))
    return found


def wanted_of(desired: Desired, host: str) -> Wanted:
    """What a plan needs to read of a host."""
    from kvmplan.inventory import Wanted
    from kvmplan.mapping.model import has_secrets

    here = {
        address: resource for address, resource in desired.resources.items() if address.host == host
    }
    wanted = frozenset(a for a in here if a.kind in (Kind.DOMAIN, Kind.VOLUME))
    former = {
        Address(host, Kind.DOMAIN, name): target
        for target, names in desired.moved.items()
        for name in names
        if target.host == host
    }
    secure = frozenset(
        address
        for address, resource in here.items()
        if address.kind is Kind.DOMAIN and has_secrets(resource.model)
    )
    secure |= {source for source, target in former.items() if target in secure}
    seeded = any(getattr(resource.model, "seed", None) is not None for resource in here.values())
    return Wanted(wanted | former.keys(), secure, desired.stack.uid, key=seeded)


def make_plan(session: Session, options: PlanOptions, *, brief: bool = False) -> Planned:
    """Read the hosts and plan.

    Args:
        session: the specs and the open hosts.
        options: what the user asks of the plan.
        brief: whether nothing is wanted of a resource that is in sync but to be told so: it has no
            values then if it was known to be in sync from an earlier run.

    Raises:
        Failure: a failing host, or a flag that matches nothing.
    """
    from kvmplan.cli.git import git_origin
    from kvmplan.cli.memory import Memory
    from kvmplan.cli.patterns import check_patterns
    from kvmplan.host import start
    from kvmplan.kinds.skeletons import skeletons
    from kvmplan.plan.planner import Planner

    asked = start(lambda: options.origin or git_origin(session.path))
    inventories = read_hosts(session)
    check_patterns(session.desired, options, inventories)

    def complete(host: str, inventory: Inventory, pools: frozenset[str]) -> Inventory:
        with translated(session, host):
            return session.hosts[host].complete(inventory, pools)

    partial = len(inventories) < len(session.desired.stack.hosts)
    options = replace(options, partial=partial, origin=asked.result())
    templates = skeletons(session.templates)
    uris = (inventory.facts.uri for inventory in inventories.values())
    memory = Memory(session.desired.stack.uid, uris) if brief else None
    with reading_goes_on():
        created = datetime.now(UTC).isoformat(timespec="seconds")
        known = memory.in_sync if memory else None
        planner = Planner(
            session.desired, inventories, templates, options, complete, created, known
        )
        planned = planner.plan()
    session.desired = planned.births.desired
    _tell_hidden(session, planned)
    planned = replace(planned, plan=_with_warnings(session, planned.plan))
    if memory is not None:
        memory.keep()
        _remember(session, planned.plan, memory)
    return planned


def _remember(session: Session, plan: Plan, memory: Memory) -> None:
    """Keep what the specs come to, for a glance, if nothing was to be done or told."""
    if session.inputs is None or plan.acting or plan.diagnostics:
        return
    from kvmplan.cli.memory import remember
    from kvmplan.plan.insync import outline

    found = outline(session.desired, memory.in_sync.wanted)
    if found is not None:
        remember(session.inputs, found)


def _with_warnings(session: Session, plan: Plan) -> Plan:
    """The plan with all that was to be said before it was made, each thing once."""
    found = Diagnostics()
    found.extend((*session.warnings, *plan.diagnostics))
    return replace(plan, diagnostics=tuple(found))


def _tell_hidden(session: Session, planned: Planned) -> None:
    """Say which secrets a host did not let us read: they were not compared."""
    for host, inventory in planned.inventories.items():
        for address in sorted(wanted_of(session.desired, host).secure):
            record = inventory.record(address)
            if record is not None and not record.secure:
                text = f"host '{host}': the secrets of {address.short} cannot be read"
                remedy = "they were not compared; docs/least-privilege.md says what reading takes"
                session.warnings.warning("KVP512", text, remedy=remedy)


@contextmanager
def reading_goes_on() -> Iterator[None]:
    """Let threads that have an answer of libvirt take it soon, while this one is busy planning.

    By default a busy thread keeps the interpreter for 5 ms, as long as libvirt takes for 50
    documents.
    """
    usual = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(usual)
