"""Verbs of domains' devices: attach, detach, update, and the size of a disk in use."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import libvirt
from lxml import etree

from kvmplan.apply.port import TimedOut
from kvmplan.host.errors import translate
from kvmplan.host.verb import Target, code_of, flags, verb
from kvmplan.kinds.verbs import Verb

DETACH_SECONDS = 20.0
_POLL_SECONDS = 0.1
_ASK_AGAIN_SECONDS = 5.0
_NOT_FOUND = frozenset({libvirt.VIR_ERR_DEVICE_MISSING, libvirt.VIR_ERR_INVALID_ARG})
_UNDER_WAY = "already in the process of unplug"
_NODE_LEFT = "Duplicate nodes with node-name"
_MOST_NODES_LEFT = 16


@verb(Verb.ATTACH)
def attach(target: Target, *, xml: str, scope: str) -> None:
    """Plug a device in. If the running guest cannot take it, the persistent definition is left."""
    domain = target.find()
    where = flags(domain, scope)
    _past_nodes_left(lambda: domain.attachDeviceFlags(xml, where))


@verb(Verb.UPDATE_DEVICE)
def update_device(target: Target, *, xml: str, scope: str) -> None:
    """Change a device in place."""
    domain = target.find()
    where = flags(domain, scope)
    _past_nodes_left(lambda: domain.updateDeviceFlags(xml, where))


def _past_nodes_left(plug: Callable[[], object]) -> None:
    """Ask again while QEMU has a block node of the name that libvirt gives to this one.

    A libvirtd that is killed while it plugs a disk or a medium in leaves the node behind, and has
    not saved that its number is taken. Each call takes the next number (libvirt 9.0, measured).
    """
    for _ in range(_MOST_NODES_LEFT):
        try:
            plug()
        except libvirt.libvirtError as error:
            if _NODE_LEFT not in translate(error).message:
                raise
        else:
            return
    plug()


@verb(Verb.DETACH)
def detach(target: Target, *, xml: str, scope: str, find: str, key: Mapping[str, str]) -> None:
    """Unplug a device and wait until the guest has let it go; gone already is as good."""
    domain = target.find()
    where = flags(domain, scope)
    running = _running(domain, find, key)
    _request(domain, xml, running, where)
    if not where & libvirt.VIR_DOMAIN_AFFECT_LIVE:
        return
    deadline = time.monotonic() + DETACH_SECONDS
    asked = time.monotonic()
    while (running := _running(domain, find, key)) is not None:
        now = time.monotonic()
        if now >= deadline:
            said = " ".join(f"{name}={value}" for name, value in key.items())
            what = f"the guest has not let go of {said} within {DETACH_SECONDS:g} s"
            raise TimedOut(what, doing=f"{Verb.DETACH} {target.address.short}")
        if now - asked >= _ASK_AGAIN_SECONDS:
            asked = now
            # The persistent definition lost it with the first request.
            _request(domain, xml, running, libvirt.VIR_DOMAIN_AFFECT_LIVE)
        time.sleep(_POLL_SECONDS)


def _request(domain: Any, xml: str, running: str | None, where: int) -> None:
    """Ask for the device to go; a definition that has lost it already does not save the other."""
    live: int = libvirt.VIR_DOMAIN_AFFECT_LIVE
    config: int = libvirt.VIR_DOMAIN_AFFECT_CONFIG
    try:
        domain.detachDeviceFlags(running if where == live and running else xml, where)
    except libvirt.libvirtError as error:
        if _UNDER_WAY in translate(error).message:
            return
        if code_of(error) not in _NOT_FOUND or where != live | config:
            if code_of(error) != libvirt.VIR_ERR_DEVICE_MISSING:
                raise
            return
        # What runs may say more than what is written, such as a socket that libvirt has chosen.
        _request(domain, xml, running, live)
        _request(domain, xml, running, config)


def _running(domain: Any, find: str, key: Mapping[str, str]) -> str | None:
    """The running device that an element with a key belongs to, as XML; None if it is not there."""
    devices = etree.fromstring(domain.XMLDesc(0).encode()).find("devices")
    assert devices is not None
    for node in devices.iterfind(f"./{find.removeprefix('./devices/')}"):
        if all(node.get(name) == value for name, value in key.items()):
            above = (upper for upper in node.iterancestors() if upper.getparent() is devices)
            return etree.tostring(next(above, node), encoding="unicode", with_tail=False)
    return None


@verb(Verb.RESIZE_DISK)
def resize_disk(user: Target, /, *, target: str, bytes: int) -> None:
    """Grow a volume through the guest that uses it, which sees it at once."""
    user.find().blockResize(target, bytes, libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES)
