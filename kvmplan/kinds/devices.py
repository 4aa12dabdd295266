"""The other devices of a domain: the only place where their fields are declared.

https://libvirt.org/formatdomain.html#devices
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from lxml.etree import _Element as Element

from kvmplan.kinds.verbs import Verb
from kvmplan.mapping.markers import NotRunning, On, Secret, Through, Xml
from kvmplan.mapping.model import Mapped
from kvmplan.mapping.paths import unset
from kvmplan.mapping.strategy import live
from kvmplan.mapping.types import SecretStr


def _read_listen(graphics: Element, _: Any) -> str | None:
    node = graphics.find("listen[@type='address']")
    return (node.get("address") if node is not None else None) or graphics.get("listen")


def _write_listen(graphics: Element, value: str | None, _: Any) -> None:
    """Attribute and child must agree, or libvirt refuses the document."""
    for node in graphics.findall("listen"):
        graphics.remove(node)
    unset(graphics, "listen")
    if value is not None:
        unset(graphics, "socket")
        graphics.set("listen", value)


def _read_port(graphics: Element, _: Any) -> str | int | None:
    port = graphics.get("port")
    if graphics.get("autoport") == "yes" or port == "-1":
        return "auto"
    return int(port) if port is not None and port.isdecimal() else None


def _write_port(graphics: Element, value: str | int | None, _: Any) -> None:
    for name in ("port", "autoport", *(("socket",) if value is not None else ())):
        unset(graphics, name)
    if value == "auto":
        graphics.set("autoport", "yes")
    elif value is not None:
        graphics.set("port", str(value))
        graphics.set("autoport", "no")


class Graphics(Mapped):
    """A graphical console, known by its type."""

    scalar: ClassVar[str] = "type"
    type: Annotated[Literal["vnc", "spice", "sdl", "egl-headless", "rdp", "dbus"], Xml("./@type")]
    """How it is reached."""
    listen: Annotated[str | None, Through(_read_listen, _write_listen, "./@listen")] = None
    """The host's address it listens on. Born as 127.0.0.1."""
    port: Annotated[int | Literal["auto"] | None, Through(_read_port, _write_port, "./@port")] = (
        None
    )
    """Its port; ``auto`` lets the host choose."""
    password: Annotated[
        SecretStr | None, Xml("./@passwd"), Secret(), NotRunning(), On(live(Verb.UPDATE_DEVICE))
    ] = None
    """Its password."""


class Tpm(Mapped):
    """An emulated TPM."""

    scalar: ClassVar[str] = "version"
    version: Annotated[
        Literal["1.2", "2.0"] | None, Xml("./backend/@version", clears=("./@model",))
    ] = None
    """Version of the standard. Another one has other devices."""
    model: Annotated[Literal["tpm-crb", "tpm-tis", "tpm-spapr"] | None, Xml("./@model")] = None
    """The device that the guest sees."""
