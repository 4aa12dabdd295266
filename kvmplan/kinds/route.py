"""Static routes of networks: the only place where their fields are declared.

https://libvirt.org/formatnetwork.html#static-routes
"""

from __future__ import annotations

import ipaddress
from typing import Annotated, Any

from lxml.etree import _Element as Element
from pydantic import Field

from kvmplan.kinds.prefixed import read_prefixed, write_prefixed
from kvmplan.mapping.codecs import IP
from kvmplan.mapping.markers import NoDefault, Through, Xml
from kvmplan.mapping.model import Mapped
from kvmplan.mapping.types import Ip, IpNet


def _read_route(element: Element, _: Any) -> str | None:
    written = read_prefixed(element)
    try:
        return None if written is None else str(ipaddress.ip_network(written, strict=False))
    except ValueError:
        return written


def _write_route(element: Element, value: str | None, _: Any) -> None:
    if value is not None:
        network = ipaddress.ip_network(value)
        write_prefixed(element, network.network_address, network.prefixlen)


class Route(Mapped):
    """A static route on the host, to networks behind guests."""

    to: Annotated[IpNet, Through(_read_route, _write_route, "./@address")]
    """The network behind."""
    via: Annotated[
        Ip | None, Xml("./@gateway", codec=IP), NoDefault("a route leads through somebody")
    ] = None
    """The guest that leads there."""
    metric: Annotated[int | None, Field(ge=1), Xml("./@metric")] = None
    """Lower wins."""
