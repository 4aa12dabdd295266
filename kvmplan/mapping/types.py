"""Value types of spec fields: what a user may write, and the one form it is compared in.

Validators raise ValueError with a sentence that says the right spelling. A validation context
``{"live": True}`` marks values read from a host, which are in their compared form already.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, WithJsonSchema

from kvmplan.mapping.units import parse_duration, parse_size

LONGEST_NAME = 251
"""Bytes; libvirt keeps an object in a file of its name and ``.xml``."""
CPUS = re.compile(r"(\^?)(\d{1,5})(?:-(\d{1,5}))?")
Uuid = Annotated[str, Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
"""As libvirt writes it: in lower case, with dashes."""
MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


def _live(info: ValidationInfo) -> bool:
    return bool(info.context and info.context.get("live"))


def _size(value: Any, info: ValidationInfo) -> int:
    return value if _live(info) and isinstance(value, int) else parse_size(value)


def _duration(value: Any, info: ValidationInfo) -> int:
    return value if _live(info) and isinstance(value, int) else parse_duration(value)


def _mac(value: str) -> str:
    mac = value.lower().replace("-", ":")
    if not MAC.fullmatch(mac):
        raise ValueError(f"'{value}' is not a MAC address; write it like 52:54:00:00:00:01")
    if int(mac[:2], 16) & 1:
        raise ValueError(f"'{value}' is a multicast MAC address; its first octet must be even")
    return mac


def _ip(value: str) -> str:
    try:
        return str(ipaddress.ip_address(value))
    except ValueError as error:
        raise ValueError(f"'{value}' is not an IP address") from error


def _interface(value: str) -> str:
    if "/" not in value:
        raise ValueError(f"'{value}' lacks its prefix; write it like 10.10.0.1/24")
    try:
        return str(ipaddress.ip_interface(value))
    except ValueError as error:
        raise ValueError(
            f"'{value}' is not an address with a prefix, such as 10.10.0.1/24"
        ) from error


def _net(value: str) -> str:
    try:
        return str(ipaddress.ip_network(value))
    except ValueError as error:
        raise ValueError(f"'{value}' is not a network, such as 10.20.0.0/16: {error}") from error


def _range(value: str) -> str:
    first, dash, last = value.partition("-")
    if not dash:
        raise ValueError(f"'{value}' is not a range; write it like 10.10.0.50-10.10.0.199")
    low, high = ipaddress.ip_address(_ip(first.strip())), ipaddress.ip_address(_ip(last.strip()))
    if low.version != high.version or int(low) > int(high):
        raise ValueError(f"'{value}' is not a range: its first address must come before its last")
    return f"{low}-{high}"


def _cpuset(value: str) -> str:
    """The form libvirt gives a set of CPUs: ``0,1,3-5,^4`` is ``0-1,3,5``."""
    numbers: set[int] = set()
    for part in (part.strip() for part in value.split(",")):
        found = CPUS.fullmatch(part)
        first, last = (int(found[2]), int(found[3] or found[2])) if found else (1, 0)
        if found is None or first > last:
            raise ValueError(f"'{value}' is no set of CPUs; write it like 0-3,^2 or 0,2")
        members = range(first, last + 1)
        numbers = numbers.difference(members) if found[1] else numbers.union(members)
    if not numbers:
        raise ValueError(f"'{value}' leaves no CPU")
    starts = sorted(number for number in numbers if number - 1 not in numbers)
    ends = sorted(number for number in numbers if number + 1 not in numbers)
    spans = zip(starts, ends, strict=True)
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in spans)


def _absolute(value: str) -> str:
    if not value.startswith("/"):
        raise ValueError(f"'{value}' is not an absolute path; it is a path on the host")
    stripped = value.rstrip("/")
    return stripped or "/"


def _volume_name(value: str) -> str:
    pool, slash, name = value.partition("/")
    if not (slash and pool and name):
        raise ValueError(f"'{value}' is not a volume; write POOL/NAME")
    _name(pool)
    _name(name)
    return value


def _name(value: str) -> str:
    if not value or "/" in value or "\n" in value or value != value.strip():
        raise ValueError(f"'{value}' cannot be a name: no '/', no line break, no blank at its ends")
    if value in (".", ".."):
        raise ValueError(f"'{value}' cannot be a name: it means a directory")
    if len(value.encode()) > LONGEST_NAME:
        raise ValueError(f"a name of {len(value.encode())} bytes: {LONGEST_NAME} at most")
    return value


def _server(value: str) -> str:
    """``NAME``, ``NAME:PORT``, ``[IPv6]:PORT``."""
    name, port = split_server(value)
    if not name or any(c.isspace() or c == "/" for c in name):
        raise ValueError(f"'{value}' is no server; write NAME, NAME:PORT or [ADDRESS]:PORT")
    if port is not None and not (port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"'{port}' is no port")
    return value


def split_server(value: str) -> tuple[str, str | None]:
    """Name or address, and port, of a server."""
    if value.startswith("["):
        name, _, rest = value[1:].partition("]")
        return name, rest[1:] if rest.startswith(":") else None
    if value.count(":") == 1:
        name, _, port = value.partition(":")
        return name, port
    return value, None


def _number(value: Any) -> Any:
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value


def _pattern(pattern: str, example: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": pattern, "examples": [example]})


def _xml(value: str) -> str:
    from kvmplan.mapping.document import parse_written

    try:
        parse_written(value)
    except ValueError as error:
        raise ValueError(f"this is no XML: {error}") from error
    return value


def _foreign(value: dict[str, str]) -> dict[str, str]:
    from kvmplan.mapping.document import foreign

    for space, text in value.items():
        try:
            foreign(text, space)
        except ValueError as error:
            raise ValueError(f"the metadata of {space} is no XML for it: {error}") from error
    return value


Size = Annotated[int, BeforeValidator(_size), _pattern(r"^\d+(B|KiB|MiB|GiB|TiB|PiB)$", "20GiB")]
"""A size; in bytes. Written ``20GiB``."""
Duration = Annotated[int, BeforeValidator(_duration), _pattern(r"^\d+(s|m|h|d)$", "5m")]
"""A duration; in seconds. Written ``5m``."""
Mac = Annotated[str, AfterValidator(_mac)]
"""A MAC address, lower case."""
CpuSet = Annotated[str, AfterValidator(_cpuset)]
"""A set of the host's CPUs: ``0-3,^2``."""
Ip = Annotated[str, AfterValidator(_ip)]
"""An IP address in its shortest form."""
IpInterface = Annotated[str, AfterValidator(_interface)]
"""An address with its prefix: ``10.10.0.1/24``."""
IpNet = Annotated[str, AfterValidator(_net)]
"""A network: ``10.20.0.0/16``."""
IpRange = Annotated[str, AfterValidator(_range)]
"""Two addresses: ``10.10.0.50-10.10.0.199``."""
HostPath = Annotated[str, AfterValidator(_absolute)]
"""An absolute path on the host, without a trailing slash."""
VolumeName = Annotated[str, AfterValidator(_volume_name)]
"""A volume: ``POOL/NAME``."""
Name = Annotated[str, AfterValidator(_name)]
"""A libvirt name."""
Server = Annotated[str, AfterValidator(_server)]
"""A server: ``NAME``, ``NAME:PORT`` or ``[IPv6]:PORT``."""
XmlText = Annotated[str, AfterValidator(_xml)]
"""Well-formed XML."""
ForeignXml = Annotated[dict[str, str], AfterValidator(_foreign)]
"""Namespace -> one element of it, as XML; an element without a namespace is put into it."""
Number = Annotated[int, BeforeValidator(_number), Field(ge=0)]
"""A number that is a key, too: keys are texts."""
Port = Annotated[int, Field(ge=1, le=65535)]
"""A TCP or UDP port."""


class SecretText:
    """A secret in memory: equal by value, and unreadable wherever it is printed or serialised.

    `source` says where it was read, such as ``{"env": "NAME"}``, so that it can be read again;
    None where it was made in memory.
    """

    __slots__ = ("_value", "source")

    def __init__(self, value: str, source: Mapping[str, Any] | None = None) -> None:
        self._value, self.source = value, source

    def reveal(self) -> str:
        """The secret itself, for the document that is sent to the host."""
        return self._value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretText) and self._value == other._value

    def __hash__(self) -> int:
        return hash(SecretText)

    def __repr__(self) -> str:
        return "(sensitive)"

    __str__ = __repr__

    def __copy__(self) -> SecretText:
        return self

    def __deepcopy__(self, _: Any) -> SecretText:
        return self

    def __reduce__(self) -> Any:
        raise TypeError("a secret is never serialised")


def _secret(value: Any) -> SecretText:
    if isinstance(value, SecretText):
        return value
    if isinstance(value, str):
        return SecretText(value)
    raise ValueError("a secret is a text; write !secret {env: NAME} or !secret {file: PATH}")


def _text_or_secret(value: Any) -> str | SecretText:
    if isinstance(value, str | SecretText):
        return value
    raise ValueError("expected a text; !raw keeps {{ in it as it is")


OpenText = Annotated[
    Any, BeforeValidator(_text_or_secret), WithJsonSchema({"type": "string", "writeOnly": True})
]
"""A text, or a `SecretText` where a template put secrets into it."""
SecretStr = Annotated[
    Any, BeforeValidator(_secret), WithJsonSchema({"type": "string", "writeOnly": True})
]
"""A `SecretText`, from a plain text or ``!secret {…}``."""
