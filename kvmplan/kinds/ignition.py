"""Ignition: what Fedora CoreOS, Flatcar and their like are told at their first boot.

Their initramfs reads it from QEMU's firmware configuration, where libvirt puts a file of the host:
https://coreos.github.io/ignition/supported-platforms/,
https://libvirt.org/formatdomain.html#smbios-system-information
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from lxml import etree
from lxml.etree import _Element as Element
from pydantic import BeforeValidator, WithJsonSchema

from kvmplan.kinds.context import host_context
from kvmplan.mapping.markers import Policy, Ref, Secret, Through
from kvmplan.mapping.model import Mapped
from kvmplan.mapping.paths import drop, insert
from kvmplan.mapping.types import Name, SecretText, VolumeName

KEY = "opt/com.coreos/config"
"""Where Ignition looks, on every platform that is QEMU."""
SUFFIX = ".ign"
"""What the names of its volumes end with, behind their domains'."""
BEHIND_SYSINFO = frozenset({"bootloader", "os", "features", "cpu", "clock", "devices"})


def _config(value: Any) -> Any:
    if isinstance(value, str | SecretText | Mapping):
        return value
    raise ValueError("it takes a text, a mapping, or {template: FILE, vars: {…}}")


def _entry(domain: Element) -> Element | None:
    found = (node for node in domain.iterfind("sysinfo/entry") if node.get("name") == KEY)
    return next(found, None)


def _read_volume(domain: Element, context: Any) -> str | None:
    entry = _entry(domain)
    path = entry.get("file") if entry is not None else None
    return None if path is None else host_context(context).volume_at(path)


def _write_volume(domain: Element, value: str | None, context: Any) -> None:
    """The file of that volume; what else is in the firmware configuration stays."""
    entry = _entry(domain)
    if entry is not None:
        holder = entry.getparent()
        drop(entry)
        if holder is not None and len(holder) == 0:
            drop(holder)
    if value is None:
        return
    facts = host_context(context).volume(value)
    if facts is None:
        raise LookupError(f"the volume {value} is not on the host")
    holder = domain.find("sysinfo[@type='fwcfg']")
    if holder is None:
        holder = etree.Element("sysinfo", {"type": "fwcfg"})
        insert(domain, holder, BEHIND_SYSINFO)
    etree.SubElement(holder, "entry", {"name": KEY, "file": facts.path})


class Ignition(Mapped):
    """A configuration for Ignition: a small volume of the stack's own, which QEMU hands on."""

    scalar: ClassVar[str] = "config"
    exclusive: ClassVar[tuple[tuple[str, ...], ...]] = (("config", "volume"), ("pool", "volume"))
    config: Annotated[
        Annotated[Any, BeforeValidator(_config), WithJsonSchema({"type": ["string", "object"]})]
        | None,
        Policy(),
        Secret(),
    ] = None
    """What the guest shall be, as JSON text or as a mapping; ``ignition.version`` says by which
    specification. A mapping that has it may be written without ``config``."""
    pool: Annotated[Name | None, Policy()] = None
    """The pool that its volume is made in. By default that of the guest's first disk."""
    on_change: Annotated[Literal["reseed", "replace", "keep"] | None, Policy()] = None
    """What an edit does: ``reseed`` (by default) writes it anew, which only a first boot reads;
    ``replace`` makes the guest begin from nothing, as in `cloud_init`; ``keep`` leaves it as it was
    born, and the plan says so."""
    volume: Annotated[
        VolumeName | None,
        Through(_read_volume, _write_volume, "./sysinfo[@type='fwcfg']/entry/@file"),
        Ref("volume"),
    ] = None
    """A volume that holds it already; where `config` is written, the one that is made of it."""

    @classmethod
    def expand(cls, value: Any) -> Any:
        """A text, and a mapping that is a configuration itself, stand for ``{config: …}``."""
        is_config = isinstance(value, Mapping) and "ignition" in value
        if is_config or not isinstance(value, Mapping | list):
            return {cls.scalar: value}
        return value
