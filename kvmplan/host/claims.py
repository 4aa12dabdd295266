"""Claims: which objects of a host a stack owns, kept on the host in libvirt secrets.

One secret holds them as compact JSON in its description; beyond two mebibytes there are shards
(``…/1``, ``…/2``). Every shard can be read alone, and an entry that moves is written to its new
shard before it leaves the old one: what a crash leaves behind is never less than what is owned.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import Any

import libvirt

from kvmplan.address import Kind
from kvmplan.apply.port import ClaimsUnreadable, HostError
from kvmplan.host import secrets
from kvmplan.host.errors import DENIED
from kvmplan.inventory import EMPTY, Claim, Claims, DamagedClaims, Hold
from kvmplan.mapping.foreign import as_fields, as_text, as_texts, read_json

PREFIX = f"{secrets.PREFIX}claims/"
FORMAT = 1
DAMAGED = "it is damaged"
SHARD_BYTES = 3 * 1024 * 1024
"""Of a description as libvirt sends it: it carries up to 4 MiB, in which a quote takes six."""

NOBODY: Set[str] = frozenset()
_KINDS = frozenset(kind.value for kind in Kind)
_NAMESPACE = uuid.UUID("6f2d5b1a-3f0e-5f6b-9a57-6b766d706c61")


@dataclass(slots=True)
class Shard:
    """One secret's part of a stack's claims.

    Attributes:
        there: the addresses that the host's text holds now.
    """

    number: int
    there: Set[str] = frozenset()
    entries: dict[str, Entry] = field(default_factory=dict)
    text: str = ""
    """What the host holds now; empty if it has no such secret yet."""
    uuid: str = ""
    """The uuid of the secret that the host has; empty if it has none yet."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One claim as a member of a shard's JSON: ``"KIND.NAME":{…}``; how long it is in XML."""

    claim: Claim
    text: str
    size: int


class Encoder:
    """Makes entries of claims, and makes none twice: a run writes them all, time and again."""

    def __init__(self) -> None:
        self._known: dict[str, Entry] = {}

    def entries(self, claims: Claims) -> dict[str, Entry]:
        """``KIND.NAME`` -> the entry, of all claims."""
        made = {}
        for address, claim in claims.entries.items():
            known = self._known.get(address)
            made[address] = known if known and known.claim is claim else encode_entry(claim)
        self._known = made
        return made


def secret_uuid(stack_uid: str, host_uuid: str, shard: int) -> str:
    """The uuid that a stack's claims have on a host."""
    suffix = f"/{shard}" if shard else ""
    return str(uuid.uuid5(_NAMESPACE, f"{stack_uid}@{host_uuid}{suffix}"))


def encode(claims: Claims, entries: Mapping[str, Entry]) -> str:
    """One shard's description: ASCII, one line, entries sorted by address."""
    head = {"format": FORMAT, "stack": {"name": claims.stack_name, "origin": claims.origin}}
    head["uid"] = claims.stack_uid
    body = ",".join(entries[address].text for address in sorted(entries))
    return f'{_dump(head)[:-1]},"entries":{{{body}}}}}'


def encode_entry(claim: Claim) -> Entry:
    """One claim's entry, without what is at its default."""
    entry: dict[str, Any] = {"key": claim.key}
    if claim.phase != "done":
        entry["phase"] = claim.phase
    if claim.born:
        entry["born"] = dict(claim.born)
    if claim.applied is not None:
        entry["applied"] = dict(claim.applied)
    if claim.protect:
        entry["protect"] = True
    if claim.hold is not None:
        entry["hold"] = [claim.hold.who, claim.hold.reason, claim.hold.until]
    if claim.waiting:
        entry["waiting"] = dict(claim.waiting)
    if claim.released:
        entry["released"] = claim.released
    text = f"{_dump(claim.address)}:{_dump(entry)}"
    # Each of these characters takes up to six in XML.
    return Entry(claim, text, 1 + len(text) + 5 * sum(map(text.count, "\"&<>'")))


def decode(text: str, usage: str) -> Claims:
    """Read one shard's description.

    Raises:
        ClaimsUnreadable: it is not ours to understand: damaged, or written by a newer kvmplan.
    """
    content = _content(text, usage)
    try:
        stack = content["stack"]
        entries = {a: _decode_entry(a, entry) for a, entry in content["entries"].items()}
        head = as_text(content["uid"]), as_text(stack["name"]), as_text(stack["origin"])
        return Claims(*head[:2], entries, head[2])
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ClaimsUnreadable(usage, DAMAGED) from None


def _content(text: str, usage: str) -> dict[str, Any]:
    """The JSON of a description in this kvmplan's format. Raises ClaimsUnreadable."""
    try:
        content: dict[str, Any] = read_json(text)
        found = content["format"]
    except (ValueError, TypeError, KeyError):
        raise ClaimsUnreadable(usage, DAMAGED) from None
    if found != FORMAT:
        raise ClaimsUnreadable(usage, f"its format is {found!r}, we know {FORMAT}", newer=True)
    if not isinstance(content.get("entries"), dict):
        raise ClaimsUnreadable(usage, DAMAGED)
    return content


def _decode_entry(address: str, entry: Mapping[str, Any]) -> Claim:
    kind, _, name = address.partition(".")
    if kind not in _KINDS or not name or (kind == Kind.VOLUME and not all(name.partition("/"))):
        raise ValueError(address)
    get = entry.get
    hold, applied = get("hold"), get("applied")
    return Claim(
        address,
        as_text(entry["key"]),
        as_text(get("phase", "done")),
        as_fields(get("born", EMPTY)),
        None if applied is None else as_fields(applied),
        bool(get("protect", False)),
        None if hold is None else Hold(*map(as_text, hold)),
        as_texts(get("waiting", EMPTY)),
        tuple(tuple(map(as_text, path)) for path in get("released", ())),
    )


@dataclass(slots=True)
class Found:
    """All claims on a host.

    Attributes:
        own: this stack's; None if there are none that can be read.
        foreign: the other stacks'.
        unread: sentences on foreign ones that cannot be read.
        damaged: this stack's own that cannot be read, where that was asked for.
    """

    own: Claims | None = None
    foreign: list[Claims] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    damaged: list[DamagedClaims] = field(default_factory=list)


def read(connection: Any, stack_uid: str, *, lenient: bool = False) -> Found:
    """All claims on a host.

    Args:
        connection: to it.
        stack_uid: whose claims are this stack's.
        lenient: name own claims that cannot be read, instead of raising an error.

    Raises:
        ClaimsUnreadable: this stack's own claims cannot be read.
        libvirtError: the host did not answer.
    """
    stacks: dict[str, Claims] = {}
    found = Found()
    for secret in sorted(secrets.listed(connection, PREFIX), key=_in_order):
        owner = _owner(secret.usage)
        text = secret.text()
        if text is None:
            continue
        try:
            _number(secret.usage)
            shard = decode(text, secret.usage)
        except ClaimsUnreadable as error:
            if owner != stack_uid:
                found.unread.append(error.message)
            elif lenient:
                damaged = DamagedClaims(secret.usage, secret.uuid, error.why, error.newer)
                found.damaged.append(damaged)
            else:
                raise
            continue
        before = stacks.get(owner)
        if before is not None:
            # An entry that was cut on its way to a higher shard is in both; there it is newer.
            merged = {**before.entries, **shard.entries}
            shard = Claims(shard.stack_uid, shard.stack_name, merged, shard.origin)
        stacks[owner] = shard
    found.own = stacks.pop(stack_uid, None)
    found.foreign = [stacks[owner] for owner in sorted(stacks)]
    return found


def _owner(usage: str) -> str:
    return usage[len(PREFIX) :].partition("/")[0]


def _suffix(usage: str) -> str:
    return usage[len(PREFIX) :].partition("/")[2]


def _in_order(secret: secrets.SecretHandle) -> tuple[str, int, str]:
    """By stack, and by number within it: 2 before 10."""
    suffix = _suffix(secret.usage)
    return _owner(secret.usage), len(suffix), suffix


def _has_number(usage: str) -> bool:
    suffix = _suffix(usage)
    return not suffix or suffix.isdecimal()


def _number(usage: str) -> int:
    """A shard's number. Raises ClaimsUnreadable: somebody else has named a secret so."""
    if not _has_number(usage):
        raise ClaimsUnreadable(usage, "its name is not one of kvmplan's")
    return int(_suffix(usage) or 0)


def key(connection: Any, stack_uid: str) -> bytes:
    """The stack's key on this host; empty before its first apply, and for those who may only look.

    Raises:
        libvirtError: the host did not answer.
    """
    usage = usage_name(stack_uid, 0)
    for secret in secrets.listed(connection, usage):
        if secret.usage != usage:
            continue
        try:
            return bytes(secret.handle.value(0))
        except libvirt.libvirtError as error:
            if error.get_error_code() not in _NO_KEY:
                raise
    return b""


def write(
    connection: Any, host_uuid: str, claims: Claims, encoder: Encoder, *, over: Set[str] = NOBODY
) -> None:
    """Replace a stack's claims on a host; without entries, remove them.

    Args:
        connection: to the host.
        host_uuid: the host's own uuid.
        claims: all that the stack owns there.
        encoder: makes the entries.
        over: uuids of damaged secrets of this stack that may be lost.

    Raises:
        ClaimsUnreadable: what is there cannot be read, and is not overwritten.
        libvirtError: the host did not do it.
    """
    shards = _present(connection, claims.stack_uid, over)
    wanted = encoder.entries(claims)
    place(shards, wanted)
    for shard in sorted(shards.values(), key=lambda shard: -shard.number):
        if shard.entries or (wanted and shard.number == 0):
            _put(connection, host_uuid, claims, shard)
        elif shard.uuid:
            secrets.undefine(connection, shard.uuid)


def _put(connection: Any, host_uuid: str, claims: Claims, shard: Shard) -> None:
    text = encode(claims, shard.entries)
    if text == shard.text:
        return
    usage = usage_name(claims.stack_uid, shard.number)
    identity = shard.uuid or secret_uuid(claims.stack_uid, host_uuid, shard.number)
    try:
        secret = secrets.define(connection, identity, usage, text)
    except secrets.UsageTaken:
        why = f"another run wrote the claims '{usage}' at the same time"
        raise HostError(why, doing="writing claims") from None
    _keep_key(secret)


def usage_name(stack_uid: str, shard: int) -> str:
    """The usage name of a shard."""
    return f"{PREFIX}{stack_uid}" + (f"/{shard}" if shard else "")


def place(shards: dict[int, Shard], wanted: Mapping[str, Entry]) -> None:
    """Give every wanted entry a shard: the one it is in while that has room, else a later one.

    Entries only ever move to higher shards, and higher shards are written first.
    """
    home = {a: number for number in sorted(shards) for a in shards[number].there}
    sizes: dict[int, int] = {}
    shards.setdefault(0, Shard(0))
    # Those that have a place come first, lest a new entry pushes one out of it.
    for address in sorted(wanted, key=lambda a: (a not in home, a)):
        entry, number = wanted[address], home.get(address, 0)
        while sizes.get(number, 0) and sizes[number] + entry.size > SHARD_BYTES:
            number += 1
        sizes[number] = sizes.get(number, 0) + entry.size
        shards.setdefault(number, Shard(number)).entries[address] = entry


def _present(connection: Any, stack_uid: str, over: Set[str]) -> dict[int, Shard]:
    """The shards that the host has, without entries; nothing is taken from those of `over`."""
    shards: dict[int, Shard] = {}
    for secret in secrets.listed(connection, usage_name(stack_uid, 0)):
        text = secret.text()
        if _owner(secret.usage) != stack_uid or text is None:
            continue
        if secret.uuid in over and not _has_number(secret.usage):
            secrets.undefine(connection, secret.uuid)
            continue
        number = _number(secret.usage)
        # Where entries are is all that counts: their texts are made anew from the claims.
        there = {} if secret.uuid in over else _content(text, secret.usage)["entries"]
        shards[number] = Shard(number, there.keys(), text=text, uuid=secret.uuid)
    return shards


def _keep_key(secret: Any) -> None:
    """Give the secret a random value unless it has one: the stack's key on this host."""
    try:
        secret.value(0)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_SECRET:
            raise
        secret.setValue(os.urandom(32), 0)


_NO_KEY = DENIED | {libvirt.VIR_ERR_NO_SECRET, libvirt.VIR_ERR_INVALID_SECRET}

_dump = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), sort_keys=True).encode
