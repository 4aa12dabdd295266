"""Live names: what the expressions of outputs see of the stack's objects, as they are now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kvmplan.address import Address, Kind
from kvmplan.inventory import GuestAddress, Inventory, Record
from kvmplan.kinds.domain import Domain
from kvmplan.kinds.mark import read_mark
from kvmplan.mapping.document import parse_to_read
from kvmplan.spec.desired import Desired, Resource
from kvmplan.spec.names import Names, Scope

Addresses = Mapping[Address, tuple[GuestAddress, ...]]


def live_names(desired: Desired, inventories: Mapping[str, Inventory], known: Addresses) -> Scope:
    """``domain``, ``network``, ``pool`` and ``volume`` by name, and ``hosts`` by host.

    A name that several hosts have is found below ``hosts`` only.

    Args:
        desired: whose objects are meant.
        inventories: the hosts, by name.
        known: the addresses of running guests.
    """
    by_host: dict[str, dict[str, Names]] = {}
    for host in inventories:
        by_host[host] = {kind.value: Names(kind.value, {}) for kind in Kind}
    counts: dict[tuple[Kind, str], int] = {}
    for address, resource in desired.resources.items():
        if address.host not in inventories:
            continue
        counts[address.kind, address.name] = counts.get((address.kind, address.name), 0) + 1
        names = by_host[address.host][address.kind.value]
        record = inventories[address.host].record(address)
        if record is None:
            names.lacking[address.name] = f"{address.short} is not on its host"
        else:
            names[address.name] = _facts(resource, record, known.get(address, ()))
    everywhere: dict[str, Any] = {kind.value: Names(kind.value, {}) for kind in Kind}
    for found in by_host.values():
        for kind in Kind:
            _gather(everywhere[kind.value], found[kind.value], kind, counts)
    hosts = {host: Names(host, dict(found)) for host, found in by_host.items()}
    return {**everywhere, "hosts": Names("hosts", hosts)}


def _gather(into: Names, found: Names, kind: Kind, counts: Mapping[tuple[Kind, str], int]) -> None:
    for name in (*found, *found.lacking):
        if counts[kind, name] > 1:
            where = f"hosts.HOST.{kind}[{name!r}]"
            into.lacking[name] = f"several hosts have a {kind} '{name}': write {where}"
        elif name in found:
            into[name] = found[name]
        else:
            into.lacking[name] = found.lacking[name]


def _facts(resource: Resource, record: Record, known: tuple[GuestAddress, ...]) -> Names:
    address = record.address
    root = parse_to_read(record.running or record.document)
    values: dict[str, Any] = {"name": address.leaf, "host": address.host}
    lacking: dict[str, str] = {}
    match address.kind:
        case Kind.DOMAIN:
            values |= {"uuid": record.key, "state": record.state.value}
            values |= _domain(record, root)
            lacking = _addresses(resource, record, known, values)
        case Kind.NETWORK:
            values |= {"uuid": record.key, "active": record.active, **_network(root)}
        case Kind.POOL:
            path = root.findtext("target/path")
            values |= {"uuid": record.key, "active": record.active, "path": path}
        case Kind.VOLUME:
            values |= {"pool": address.pool, "path": root.findtext("target/path") or record.key}
            capacity = root.findtext("capacity")
            values["capacity"] = int(capacity) if capacity else None
            form = root.find("target/format")
            values["format"] = form.get("type") if form is not None else None
    present = {name: value for name, value in values.items() if value is not None}
    missing = {name: f"{address.short} has no {name}" for name in values.keys() - present.keys()}
    return Names(address.short, present, lacking={**missing, **lacking})


def _domain(record: Record, root: Any) -> dict[str, Any]:
    mark = read_mark(parse_to_read(record.document))
    named = mark.keys.get(("interfaces",), {}) if mark else {}
    interfaces: dict[str, Any] = {}
    for nic in root.iterfind("devices/interface"):
        mac, source = nic.find("mac").get("address"), nic.find("source")
        facts = {"mac": mac}
        for attribute in ("network", "bridge"):
            if source is not None and source.get(attribute):
                facts[attribute] = source.get(attribute)
        key = named.get(mac, mac)
        interfaces[key] = Names(f"{record.address.short}.interfaces.{key}", facts)
    disks = {
        disk.find("target").get("dev"): {"path": path}
        for disk in root.iterfind("devices/disk")
        if (path := _path(disk)) is not None
    }
    graphics = {}
    for device in root.iterfind("devices/graphics"):
        port = int(device.get("port") or -1)
        listen = device.get("listen") or "127.0.0.1"
        graphics[device.get("type")] = {"listen": listen, **({"port": port} if port > 0 else {})}
    console = root.find("devices/console")
    first = next(iter(interfaces.values()), None)
    return {
        "interfaces": Names(f"{record.address.short}.interfaces", interfaces),
        "mac": first["mac"] if first else None,
        "macs": {key: nic["mac"] for key, nic in interfaces.items()},
        "disks": disks,
        "graphics": Names(f"{record.address.short}.graphics", graphics),
        "console": console.get("tty") if console is not None else None,
    }


def _path(disk: Any) -> str | None:
    source = disk.find("source")
    return None if source is None else source.get("file") or source.get("dev")


def _addresses(
    resource: Resource, record: Record, known: tuple[GuestAddress, ...], values: dict[str, Any]
) -> dict[str, str]:
    """Put a guest's addresses into its values; why there are none, where that is so."""
    values["addresses"] = [it.ip for it in known]
    for nic in values["interfaces"].values():
        nic["addresses"] = own = [it.ip for it in known if it.mac == nic["mac"].lower()]
        if own:
            nic["address"] = own[0]
        else:
            nic.lacking["address"] = f"{nic.label} has no address that is known"
    best = best_address(resource, known)
    if best is not None:
        values["address"] = best
        return {}
    why = "" if record.active else ": it is not running"
    return {"address": f"{record.address.short} has no address that is known{why}"}


def best_address(resource: Resource | None, known: Iterable[GuestAddress]) -> str | None:
    """The address to reach a guest by: one that its spec gives it, else the first it has now."""
    static = list(static_addresses(resource))
    live = [it.ip for it in known]
    return next((ip for ip in static if ip in live), None) or next(iter([*live, *static]), None)


def static_addresses(resource: Resource | None) -> Iterator[str]:
    """The addresses that a domain's spec gives its interfaces."""
    if resource is not None and isinstance(resource.model, Domain):
        for nic in (resource.model.interfaces or {}).values():
            if nic.ip is not None:
                yield nic.ip


def _network(root: Any) -> dict[str, Any]:
    bridge = root.find("bridge")
    addresses = [node.get("address") for node in root.iterfind("ip")]
    return {
        "bridge": bridge.get("name") if bridge is not None else None,
        "address": addresses[0] if addresses else None,
        "addresses": addresses,
    }
