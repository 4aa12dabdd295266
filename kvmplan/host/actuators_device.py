"""Verbs of domains' devices: attach, detach, update, and the size of a disk in use."""

from __future__ import annotations

import time
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
_UNDER_WAY = "already in the process of unplug"


@verb(Verb.ATTACH)
def attach(target: Target, *, xml: str, scope: str) -> None:
    """Plug a device in. If the running guest cannot take it, the persistent definition is left."""
    domain = target.find()
    domain.attachDeviceFlags(xml, flags(domain, scope))


@verb(Verb.UPDATE_DEVICE)
def update_device(target: Target, *, xml: str, scope: str) -> None:
    """Change a device in place."""
    domain = target.find()
    domain.updateDeviceFlags(xml, flags(domain, scope))


@verb(Verb.DETACH)
def detach(target: Target, *, xml: str, scope: str, find: str, key: str) -> None:
    """Unplug a device and wait until the guest has let it go; gone already is as good."""
    domain = target.find()
    where = flags(domain, scope)
    _request(domain, xml, where)
    if not where & libvirt.VIR_DOMAIN_AFFECT_LIVE:
        return
    deadline = time.monotonic() + DETACH_SECONDS
    asked = time.monotonic()
    while _present(domain, find, key):
        now = time.monotonic()
        if now >= deadline:
            what = f"the guest has not let go of {key} within {DETACH_SECONDS:g} s"
            raise TimedOut(what, doing=f"{Verb.DETACH} {target.address.short}")
        if now - asked >= _ASK_AGAIN_SECONDS:
            asked = now
            # The persistent definition lost it with the first request.
            _request(domain, xml, libvirt.VIR_DOMAIN_AFFECT_LIVE)
        time.sleep(_POLL_SECONDS)


def _request(domain: Any, xml: str, where: int) -> None:
    """Ask for the device to go; a definition that has lost it already does not save the other."""
    try:
        domain.detachDeviceFlags(xml, where)
    except libvirt.libvirtError as error:
        if _UNDER_WAY in translate(error).message:
            return
        if code_of(error) != libvirt.VIR_ERR_DEVICE_MISSING:
            raise
        live: int = libvirt.VIR_DOMAIN_AFFECT_LIVE
        config: int = libvirt.VIR_DOMAIN_AFFECT_CONFIG
        if where == live | config:
            _request(domain, xml, live)
            _request(domain, xml, config)


def _present(domain: Any, find: str, key: str) -> bool:
    attribute, _, value = key.partition("=")
    document = etree.fromstring(domain.XMLDesc(0).encode())
    return any(element.get(attribute) == value for element in document.iterfind(find))


@verb(Verb.RESIZE_DISK)
def resize_disk(user: Target, /, *, target: str, bytes: int) -> None:
    """Grow a volume through the guest that uses it, which sees it at once."""
    user.find().blockResize(target, bytes, libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES)
