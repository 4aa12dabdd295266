"""Which networks have a bridge that libvirt makes and removes, in their documents.

The others hand guests to a bridge or an interface of the host, where these stay while the network
is down. Apart from the fields, so that whoever only looks for it need not load them.
"""

from __future__ import annotations

from lxml.etree import _Element as Element

OWN_BRIDGE = frozenset({"nat", "route", "open", "none"})
"""Modes of forwarding of networks with a bridge of their own; ``none``: there is no forwarding."""


def forward_mode(network: Element) -> str:
    """How a network forwards: libvirt takes what names no mode for ``nat``."""
    forward = network.find("forward")
    return "none" if forward is None else forward.get("mode", "nat")


def has_own_bridge(network: Element) -> bool:
    """Whether libvirt makes a bridge for it."""
    return forward_mode(network) in OWN_BRIDGE
