"""What a colleague does beside kvmplan: fields of live objects changed with libvirt alone."""

from __future__ import annotations

from typing import Any

import libvirt

from kvmplan.address import Address, Kind
from kvmplan.kinds import MODELS
from kvmplan.kinds.context import HostContext, VolumeFacts
from kvmplan.kinds.mark import read_mark
from kvmplan.kinds.skeletons import skeletons
from kvmplan.mapping.document import parse, serialise
from kvmplan.mapping.lens import patch
from kvmplan.mapping.markers import Runtime
from kvmplan.mapping.model import chain
from tests.elements import the
from tests.integration.support import Tree

Place = tuple[str, ...]


def power_cycle(handle: Any) -> None:
    """Stop and start a domain or network at once."""
    try:
        handle.destroy()
    except libvirt.libvirtError:
        # libvirt may hear of the process's end before the call that ended it returns.
        if handle.isActive():
            raise
    handle.create()


def handle_of(conn: libvirt.virConnect, address: Address) -> Any:
    """libvirt's handle of an object."""
    match address.kind:
        case Kind.DOMAIN:
            return conn.lookupByName(address.name)
        case Kind.NETWORK:
            return conn.networkLookupByName(address.name)
        case Kind.POOL:
            return conn.storagePoolLookupByName(address.name)
        case _:
            pool = conn.storagePoolLookupByName(address.pool)
            return pool.storageVolLookupByName(address.leaf)


def document_of(conn: libvirt.virConnect, address: Address) -> str:
    """The persistent document, with its secrets."""
    flags = {Kind.DOMAIN: 3, Kind.NETWORK: 1, Kind.POOL: 1, Kind.VOLUME: 0}[address.kind]
    text: str = handle_of(conn, address).XMLDesc(flags)
    return text


def context_of(conn: libvirt.virConnect, root: Any) -> HostContext:
    """What reading and writing a document needs, asked of the host."""

    def volume(name: str) -> VolumeFacts | None:
        pool, _, leaf = name.partition("/")
        handle = conn.storagePoolLookupByName(pool).storageVolLookupByName(leaf)
        format_ = the(parse(handle.XMLDesc()), "target/format").get("type", "")
        return VolumeFacts("file", handle.path(), format_)

    def volume_at(path: str) -> str | None:
        try:
            handle = conn.storageVolLookupByPath(path)
        except libvirt.libvirtError:
            return None
        return f"{handle.storagePoolLookupByVolume().name()}/{handle.name()}"

    mark = read_mark(root)
    names = mark.keys if mark else {}
    return HostContext(
        skeleton=skeletons(),
        names=names,
        volume=volume,
        volume_at=volume_at,
        overlaid=mark.applied.get("xml") if mark else None,
    )


def by_hand(
    conn: libvirt.virConnect, address: Address, edits: list[tuple[Place, Any]], whole: Tree
) -> None:
    """Change fields of an object as a colleague would: its definition, or by calls."""
    model, handle = MODELS[address.kind], handle_of(conn, address)
    runtime = [e for e in edits if isinstance(chain(model, e[0])[-1].place, Runtime)]
    for path, value in runtime:
        if path == ("autostart",):
            handle.setAutostart(int(value))
        elif value in (True, "running"):
            handle.create()
        else:
            handle.destroy()
    written = [edit for edit in edits if edit not in runtime]
    if not written:
        return
    if address.kind is Kind.VOLUME:
        ((_, size),) = written
        handle.resize(size, libvirt.VIR_STORAGE_VOL_RESIZE_SHRINK)
        return
    root = parse(document_of(conn, address))
    patch(model, root, written, context_of(conn, root), whole)
    define = {
        Kind.DOMAIN: lambda xml: conn.defineXML(xml),
        Kind.NETWORK: conn.networkDefineXML,
        Kind.POOL: conn.storagePoolDefineXML,
    }
    define[address.kind](serialise(root))
