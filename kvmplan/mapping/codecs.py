"""Codecs: how a value stands as text in XML."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

UNITS = {
    "": 1,
    "b": 1,
    "bytes": 1,
    "kib": 1024,
    "k": 1024,
    "kb": 1000,
    "mib": 1024**2,
    "m": 1024**2,
    "mb": 1000**2,
    "gib": 1024**3,
    "g": 1024**3,
    "gb": 1000**3,
    "tib": 1024**4,
    "t": 1024**4,
    "tb": 1000**4,
    "pib": 1024**5,
    "p": 1024**5,
    "pb": 1000**5,
    "eib": 1024**6,
    "e": 1024**6,
    "eb": 1000**6,
}
"""libvirt's scaling suffixes in lower case: https://libvirt.org/formatdomain.html#memory-allocation"""


@dataclass(frozen=True, slots=True)
class Codec:
    """Two functions between a text and a value. `decode` raises ValueError for what it cannot."""

    name: str
    decode: Callable[[str], Any]
    encode: Callable[[Any], str]


def _choice(yes: str, no: str) -> Codec:
    words = {yes: True, no: False}

    def decode(text: str) -> bool:
        value = words.get(text.strip())
        if value is None:
            raise ValueError(text)
        return value

    return Codec(f"{yes}/{no}", decode, lambda value: yes if value else no)


def _address(text: str) -> str:
    return str(ipaddress.ip_address(text.strip()))


TEXT = Codec("text", str, str)
INTEGER = Codec("integer", int, str)
NUMBER = Codec("number", float, lambda value: f"{value:g}")
YES_NO = _choice("yes", "no")
ON_OFF = _choice("on", "off")
LOWER = Codec("text", str.lower, str)
"""For what libvirt lower-cases: MAC addresses."""
IP = Codec("ip", _address, str)
"""IPv6 in its shortest lower-case form, as libvirt writes it."""


def factor(unit: str) -> int | None:
    """Bytes in one of libvirt's units; None for an unknown one."""
    return UNITS.get(unit.lower())
