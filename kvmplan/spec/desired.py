"""Desired: what the specs of a stack ask for, after every expression and profile is resolved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from kvmplan.address import Address, Kind
from kvmplan.diagnostics import Place
from kvmplan.kinds.macs import Macs, new_mac

if TYPE_CHECKING:
    from kvmplan.mapping.model import Mapped
    from kvmplan.spec.names import Names
    from kvmplan.spec.node import Node

PREFIX = "KVMPLAN_VAR_"
"""What the names of environment variables begin with that give values to variables."""

DEFAULT_PATH = Path("specs")
"""Where specs are looked for unless the user says otherwise."""


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """What a run adds to its spec files.

    Attributes:
        vars: ``name=value``, as given with ``--var``.
        var_files: files of variable values, as given with ``--var-file``.
        environ: the environment (``KVMPLAN_VAR_name``, ``!secret {env: NAME}``).
        read_secrets: False checks how secrets are written without reading any; they are empty.
        keep_going: give what could be made out in spite of errors, to be checked further.
    """

    vars: tuple[str, ...] = ()
    var_files: tuple[Path, ...] = ()
    environ: Mapping[str, str] = field(default_factory=dict)
    read_secrets: bool = True
    keep_going: bool = False


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """How changes of a resource are held back.

    Attributes:
        ignore_changes: paths of fields (below the resource) whose differences are left alone.
        unlisted: ``keep`` or ``remove`` members of collections that were never ours.
        told: paths whose differences are told and left alone, as those of birth are.
    """

    prevent_destroy: bool = False
    ignore_changes: tuple[tuple[str, ...], ...] = ()
    unlisted: str = "keep"
    told: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Reference:
    """That a field names another resource, on the same host unless `depends_on` says otherwise.

    `path` is the field below the resource; ``("pool",)`` for the pool in a volume's own name.
    """

    path: tuple[str, ...]
    target: Address
    place: Place | None


@dataclass(frozen=True, slots=True)
class Resource:
    """One desired object.

    Attributes:
        model: its fields, validated.
        defaults: paths of fields that ``!default`` gives back to what a fresh object would have.
        place: where its key is written.
        places: path -> place of a field's value; of a mapping's or list's key.
        stands_for: of a volume that a domain's field makes, and that has its name from there: the
            domain's name, and the path of the field that names it then.
    """

    address: Address
    model: Mapped
    defaults: frozenset[tuple[str, ...]]
    place: Place | None
    places: Mapping[tuple[str, ...], Place]
    lifecycle: Lifecycle
    depends_on: tuple[Reference, ...]
    references: tuple[Reference, ...]
    stands_for: tuple[str, ...] = ()

    @property
    def maker(self) -> Address | None:
        """The domain whose field makes this volume; None of what is declared by itself."""
        if not self.stands_for:
            return None
        return Address(self.address.host, Kind.DOMAIN, self.stands_for[0])


@dataclass(frozen=True, slots=True)
class HostSpec:
    """A host of the stack: its connection URI."""

    uri: str
    place: Place | None


@dataclass(frozen=True, slots=True)
class Stack:
    """Whose name and limits a run has. No `hosts`: the one host is `kvmplan.address.LOCAL`."""

    name: str
    uid: str
    hosts: Mapping[str, HostSpec]
    prune: bool
    max_delete_count: int
    max_delete_percent: int
    place: Place | None


@dataclass(frozen=True, slots=True)
class Output:
    """A value that the stack tells; evaluated by `kvmplan.spec.outputs` when hosts were looked at.

    Attributes:
        node: its value, expressions and all.
        variables: what ``var`` is in it.
    """

    name: str
    node: Node
    description: str
    variables: Names
    place: Place | None


@dataclass(frozen=True, slots=True)
class Desired:
    """All that the specs ask for.

    Attributes:
        sources: the files that were read, as shown in places.
        closed: whether it follows from those files, and from variables, alone: neither templates
            nor secrets went into it.
        moved: address of a domain -> the names it had before, the last one first.
        outputs: what the stack tells, by name.
        macs: of new interfaces where the derived one is another's.
    """

    stack: Stack
    resources: Mapping[Address, Resource]
    sources: tuple[str, ...]
    closed: bool = False
    moved: Mapping[Address, tuple[str, ...]] = field(default_factory=dict)
    outputs: Mapping[str, Output] = field(default_factory=dict)
    macs: Macs = field(default_factory=dict)

    def new_mac(self, domain: Address, key: str) -> str:
        """The MAC of a new interface for which none is written."""
        return new_mac(self.stack.uid, self.macs, domain, key)
