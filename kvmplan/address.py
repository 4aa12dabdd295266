"""Addresses: how every resource is named in specs, plans, claims and output.

An address is a value. It prints as it is typed: ``kvm1:volume.vms/web.qcow2``; the kind ends at
the first dot, a volume's pool at the first slash.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

LOCAL = "local"
"""The name of the one host of a stack that declares none."""

HOST_NAME = re.compile(r"[a-z0-9-]+")


class Kind(StrEnum):
    """What a resource is. The values are the singular words used in addresses."""

    NETWORK = "network"
    POOL = "pool"
    VOLUME = "volume"
    DOMAIN = "domain"

    @property
    def plural(self) -> str:
        """The key under which a spec file lists resources of this kind."""
        return f"{self.value}s"


@dataclass(frozen=True, order=True, slots=True)
class Address:
    """The identity of a resource: host, kind, and its own name on that host.

    A volume's name is ``POOL/NAME``; every other name is the libvirt name itself.
    """

    host: str
    kind: Kind
    name: str

    def __hash__(self) -> int:
        # Names tell nearly all addresses apart, and a text remembers its hash.
        return hash(self.name)

    def __str__(self) -> str:
        return f"{self.host}:{self.kind}.{self.name}"

    @property
    def short(self) -> str:
        """The address without its host, as text shows it while a stack has one host only."""
        return f"{self.kind}.{self.name}"

    @property
    def pool(self) -> str:
        """The pool of a volume's address."""
        return self.name.partition("/")[0]

    @property
    def leaf(self) -> str:
        """The last part of the name: a volume's own name in its pool, else the whole name."""
        return self.name.partition("/")[2] if self.kind is Kind.VOLUME else self.name

    def matches(self, pattern: str) -> bool:
        """Whether a shell glob (``*`` matches ``/``) names this address, with or without host."""
        return fnmatchcase(str(self), pattern) or fnmatchcase(self.short, pattern)


_KINDS: Mapping[str, Kind] = {kind.value: kind for kind in Kind}


def parse_address(text: str, default_host: str = LOCAL) -> Address:
    """Read ``[HOST:]KIND.NAME``.

    Raises:
        ValueError: the text is no address; the message says what one looks like.
    """
    host, found, rest = text.partition(":")
    if not (found and HOST_NAME.fullmatch(host) and "." not in host):
        host, rest = default_host, text
    word, _, name = rest.partition(".")
    kind = _KINDS.get(word)
    if kind is None or not name:
        kinds = ", ".join(Kind)
        raise ValueError(f"'{text}' is not an address; write KIND.NAME, KIND one of {kinds}")
    address = Address(host, kind, name)
    if kind is Kind.VOLUME and not (address.pool and address.leaf):
        raise ValueError(f"'{text}' is not a volume's address; write volume.POOL/NAME")
    return address
