"""A host's inventory, read in bulk: calls grow with what is wanted, not with what there is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, replace
from typing import Any

import libvirt

from kvmplan.address import Address, Kind, parse_address
from kvmplan.host import claims
from kvmplan.host.arriving import Arriving, Deliver, Waiting, in_order
from kvmplan.host.bulk import read_all
from kvmplan.host.connection import Connections
from kvmplan.host.diagnosis import is_local
from kvmplan.host.domains import (
    DomainList,
    handles_by_name,
    list_domains,
    read_domain,
    read_snapshots,
)
from kvmplan.host.errors import DENIED
from kvmplan.host.interfaces import read_interfaces
from kvmplan.host.samefiles import other_paths
from kvmplan.host.stores import (
    Listing,
    VolumeList,
    list_objects,
    list_volumes,
    ports_of,
    read_objects,
    read_volume,
)
from kvmplan.host.threads import start
from kvmplan.inventory import EMPTY, Claims, HostFacts, Inventory, Record, Wanted


def take_inventory(
    name: str,
    connections: Connections,
    facts: Callable[[], HostFacts],
    wanted: Wanted,
    waiting: Waiting | None = None,
) -> Inventory:
    """List everything, read what is wanted or claimed.

    Args:
        name: the host's.
        connections: to it.
        facts: what it is.
        wanted: what to read beyond what is claimed.
        waiting: do not wait for the documents; whoever needs one waits for it in this.

    Raises:
        HostError: this stack's claims cannot be read.
        libvirtError: the host did not answer.
    """
    listed = _list(name, connections, facts, wanted)
    owned, asked = listed.owned, listed.asked
    secure = frozenset() if connections.read_only else wanted.secure
    reader, names = _Reader(name, connections), listed.names()

    def read(deliver: Deliver) -> None:
        reader.domains(listed.domains, asked, secure, deliver)
        reader.volumes(listed.pools, listed.volumes.handles, names[Kind.VOLUME], asked, deliver)

    here = (*read_objects(listed.networks, name), *read_objects(listed.pools, name))
    known = {record.address: record for record in here}
    records: Mapping[Address, Record] = known
    if waiting is None:
        read(_into(known))
        records = in_order(known)
    else:
        records = Arriving(known, listed.due(name), read, connections.alive, waiting)
    key, no_key = _key(connections, wanted, owned.own)
    return Inventory(
        host=name,
        facts=facts(),
        records=records,
        names=names,
        claims=owned.own,
        foreign_claims=tuple(owned.foreign),
        unread=(
            *owned.unread,
            *listed.volumes.unread,
            *_cliffs(listed.domains),
            *no_key,
        ),
        damaged=tuple(owned.damaged),
        key=key,
    )


@dataclass(slots=True)
class _Listed:
    """What a host has, before any document of it is read; `asked` is what shall be read."""

    owned: claims.Found
    asked: frozenset[Address]
    networks: Listing
    pools: Listing
    volumes: VolumeList
    domains: DomainList

    def names(self) -> dict[Kind, Mapping[str, str]]:
        """Everything there is, as `Inventory.names`."""
        return {
            Kind.NETWORK: _uuids(self.networks.handles),
            Kind.POOL: _uuids(self.pools.handles),
            Kind.VOLUME: self.volumes.keys(),
            Kind.DOMAIN: _uuids(self.domains.handles),
        }

    def due(self, host: str) -> set[Address]:
        """What is asked for and there."""
        domains = (Address(host, Kind.DOMAIN, name) for name in self.domains.handles)
        volumes = (Address(host, Kind.VOLUME, name) for name in self.volumes.handles)
        return {address for address in (*domains, *volumes) if address in self.asked}


def _list(
    name: str, connections: Connections, facts: Callable[[], HostFacts], wanted: Wanted
) -> _Listed:
    """List everything, several things at a time."""
    main = connections.main

    def asked() -> frozenset[Address]:
        return _asked(name, wanted, owning.result().own)

    def asked_domains() -> set[str]:
        return {address.name for address in asked() if address.kind is Kind.DOMAIN}

    owning = start(lambda: _owned(main, facts(), wanted))
    nets = start(lambda: list_objects(main, Kind.NETWORK))
    stores = start(lambda: list_objects(main, Kind.POOL))
    domains = list_domains(main, asked_domains)
    owned, networks, pools, all_asked = owning.result(), nets.result(), stores.result(), asked()
    volumes = VolumeList()
    if wanted.volumes:
        volumes = list_volumes(pools, (a.name for a in all_asked if a.kind is Kind.VOLUME))
    return _Listed(owned, all_asked, networks, pools, volumes, domains)


def complete_inventory(
    inventory: Inventory, connections: Connections, pools: Set[str]
) -> Inventory:
    """The inventory with all domains read, the host's interfaces, and more volumes.

    Args:
        inventory: what was read so far.
        connections: to the host.
        pools: whose volumes are read, for overlays among them; or single volumes, ``POOL/NAME``.
            Where there are pools, snapshots are read too.

    Raises:
        libvirtError: the host did not answer.
    """
    host = inventory.host
    interfaces = start(lambda: read_interfaces(connections.main))
    known = {a.name for a in inventory.records if a.kind is Kind.DOMAIN}
    domains = list_domains(connections.main, lambda: set(inventory.names.get(Kind.DOMAIN, ())))
    missing = {Address(host, Kind.DOMAIN, name) for name in domains.handles if name not in known}
    found: dict[Address, Record] = {}
    deliver = _into(found)
    _Reader(host, connections).domains(domains, missing, frozenset(), deliver)
    _read_volumes(inventory, connections, pools, deliver)
    names = dict(inventory.names)
    names[Kind.DOMAIN] = {**names.get(Kind.DOMAIN, {}), **_uuids(domains.handles)}
    records = {**inventory.records, **in_order(found)}
    whole = any("/" not in name for name in pools)
    inventory = _asked_again(replace(inventory, records=records, names=names), connections.main)
    inventory = replace(
        inventory,
        complete=domains.whole,
        snapshots=read_snapshots(connections.main) if whole else {},
        interfaces=interfaces.result(),
    )
    if not is_local(connections.uri):
        return inventory
    return replace(inventory, other_paths=other_paths(inventory))


def _asked_again(inventory: Inventory, connection: Any) -> Inventory:
    """Guests that were started since the networks were read have not been lost by them."""
    records = dict(inventory.records)
    for name in inventory.lost:
        address = Address(inventory.host, Kind.NETWORK, name)
        ports = (records[address].ports or frozenset()) | ports_of(connection, name)
        records[address] = replace(records[address], ports=ports)
    return replace(inventory, records=records)


def _read_volumes(
    inventory: Inventory, connections: Connections, pools: Set[str], deliver: Deliver
) -> None:
    """Read the volumes of these pools, or of these names, that were not read yet."""
    names = inventory.names.get(Kind.VOLUME, EMPTY)
    inside = {
        Address(inventory.host, Kind.VOLUME, n)
        for n in names
        if n in pools or n.partition("/")[0] in pools
    }
    missing = inside - inventory.records.keys()
    if not missing:
        return
    listed = list_objects(connections.main, Kind.POOL)
    volumes = list_volumes(listed, (address.name for address in missing))
    reader = _Reader(inventory.host, connections)
    reader.volumes(listed, volumes.handles, volumes.keys(), missing, deliver)


class _Reader:
    """Reads documents of one host in bulk."""

    def __init__(self, host: str, connections: Connections) -> None:
        self._host, self._connections = host, connections

    def domains(
        self, domains: DomainList, asked: Set[Address], secure: Set[Address], deliver: Deliver
    ) -> None:
        """Read the asked-for domains that there are."""

        def read(handle: Any, name: str) -> None:
            address = Address(self._host, Kind.DOMAIN, name)
            try:
                deliver(read_domain(handle, address, domains, secure=address in secure))
            except libvirt.libvirtError as error:
                if address not in secure or error.get_error_code() not in DENIED:
                    raise
                # Who may look at all but secrets gets all but secrets: the record says so.
                deliver(read_domain(handle, address, domains, secure=False))

        names = _present(asked, Kind.DOMAIN, domains.handles)
        read_all(self._connections, names, domains.handles, handles_by_name, read)

    def volumes(
        self,
        pools: Listing,
        handles: dict[str, Any],
        keys: Mapping[str, str],
        asked: Set[Address],
        deliver: Deliver,
    ) -> None:
        """Read the asked-for volumes that there are."""

        def elsewhere(connection: Any) -> dict[str, Any]:
            return list_volumes(list_objects(connection, Kind.POOL), names).handles

        def read(handle: Any, name: str) -> None:
            deliver(read_volume(handle, Address(self._host, Kind.VOLUME, name), keys[name]))

        names = _present(asked, Kind.VOLUME, handles)
        read_all(self._connections, names, handles, elsewhere, read)


def _into(records: dict[Address, Record]) -> Deliver:
    return lambda record: records.update({record.address: record})


def _key(
    connections: Connections, wanted: Wanted, own: Claims | None
) -> tuple[bytes, tuple[str, ...]]:
    """The stack's key where it is wanted; else empty, and what cannot be compared without it."""
    if not wanted.key or own is None:
        return b"", ()
    key = b"" if connections.read_only else claims.key(connections.main, wanted.stack_uid)
    return key, () if key else (UNSEALED,)


UNSEALED = "seeds of cloud-init are not compared: the stack's key may not be read here"


def _owned(connection: Any, facts: HostFacts, wanted: Wanted) -> claims.Found:
    if not facts.has_secrets:
        return claims.Found()
    return claims.read(connection, wanted.stack_uid, lenient=wanted.lenient)


def _asked(host: str, wanted: Wanted, own: Claims | None) -> frozenset[Address]:
    entries = own.entries if own is not None and wanted.claimed else ()
    claimed = (parse_address(address, host) for address in entries)
    return frozenset(a for a in wanted.addresses if a.host == host).union(claimed)


def _present(asked: Set[Address], kind: Kind, there: dict[str, Any]) -> list[str]:
    return sorted(a.name for a in asked if a.kind is kind and a.name in there)


def _uuids(handles: dict[str, Any]) -> dict[str, str]:
    return {name: handle.UUIDString() for name, handle in handles.items()}


def _cliffs(domains: DomainList) -> list[str]:
    if domains.whole:
        return []
    return [
        "the host has more domains than libvirt can list; "
        "only those in the specs and in the claims were looked at"
    ]
