"""Claims: which objects of a host a stack owns, kept on the host in libvirt secrets.

One secret holds them as compact JSON in its description; beyond two mebibytes there are shards
(``…/1``, ``…/2``). Every shard can be read alone, and an entry that moves is written to its new
shard before it leaves the old one: what a crash leaves behind is never less than what is owned.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import libvirt

from kvmplan.address import parse_address
from kvmplan.apply.port import HostError
from kvmplan.host import secrets
from kvmplan.inventory import Claim, Claims, Hold

PREFIX = f"{secrets.PREFIX}claims/"
FORMAT = 1
SHARD_BYTES = 2 * 1024 * 1024
"""libvirt carries descriptions up to 4 MiB; JSON's quotes grow in XML."""

_NAMESPACE = uuid.UUID("6f2d5b1a-3f0e-5f6b-9a57-6b766d706c61")


@dataclass(slots=True)
class Shard:
    """One secret's part of a stack's claims: ``KIND.NAME`` -> the entry's JSON text."""

    number: int
    entries: dict[str, str] = field(default_factory=dict)
    text: str = ""
    """What the host holds now; empty if it has no such secret yet."""
    uuid: str = ""
    """The uuid of the secret that the host has; empty if it has none yet."""


def secret_uuid(stack_uid: str, host_uuid: str, shard: int) -> str:
    """The uuid that a stack's claims have on a host."""
    suffix = f"/{shard}" if shard else ""
    return str(uuid.uuid5(_NAMESPACE, f"{stack_uid}@{host_uuid}{suffix}"))


def encode(claims: Claims, entries: Mapping[str, str]) -> str:
    """One shard's description: ASCII, one line, entries sorted by address."""
    head = {"format": FORMAT, "stack": {"name": claims.stack_name, "origin": claims.origin}}
    head["uid"] = claims.stack_uid
    body = ",".join(f"{_dump(address)}:{entries[address]}" for address in sorted(entries))
    return f'{_dump(head)[:-1]},"entries":{{{body}}}}}'


def encode_entry(claim: Claim) -> str:
    """One claim's JSON, without what is at its default."""
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
    return _dump(entry)


def decode(text: str, usage: str) -> Claims:
    """Read one shard's description.

    Raises:
        HostError: it is not ours to understand: damaged, or written by a newer kvmplan.
    """
    try:
        content = json.loads(text)
        found = content["format"]
    except (ValueError, TypeError, KeyError):
        raise _unreadable(usage, "it is damaged") from None
    if found != FORMAT:
        raise _unreadable(usage, f"its format is {found!r}, this kvmplan knows {FORMAT}")
    try:
        stack = content["stack"]
        entries = {a: _decode_entry(a, entry) for a, entry in content["entries"].items()}
        return Claims(content["uid"], stack["name"], entries, stack["origin"])
    except (ValueError, TypeError, KeyError, AttributeError):
        raise _unreadable(usage, "it is damaged") from None


def _decode_entry(address: str, entry: Mapping[str, Any]) -> Claim:
    parse_address(address)
    return Claim(
        address=address,
        key=entry["key"],
        phase=entry.get("phase", "done"),
        born=entry.get("born", {}),
        applied=entry.get("applied"),
        protect=entry.get("protect", False),
        hold=Hold(*entry["hold"]) if "hold" in entry else None,
        waiting=entry.get("waiting", {}),
    )


def _unreadable(usage: str, why: str) -> HostError:
    return HostError(
        f"the claims in libvirt's secret '{usage}' cannot be read: {why}; nothing was overwritten",
        doing="reading claims",
    )


def read(connection: Any, stack_uid: str) -> tuple[Claims | None, list[Claims], list[str]]:
    """All claims on a host.

    Returns:
        This stack's, the other stacks', and sentences on foreign ones that cannot be read.

    Raises:
        HostError: this stack's own claims cannot be read.
        libvirtError: the host did not answer.
    """
    stacks: dict[str, Claims] = {}
    unread: list[str] = []
    for secret in secrets.listed(connection, PREFIX):
        owner = secret.usage[len(PREFIX) :].partition("/")[0]
        text = secret.text()
        if text is None:
            continue
        try:
            shard = decode(text, secret.usage)
        except HostError as error:
            if owner == stack_uid:
                raise
            unread.append(error.message)
            continue
        before = stacks.get(owner)
        if before is not None:
            merged = {**before.entries, **shard.entries}
            shard = Claims(shard.stack_uid, shard.stack_name, merged, shard.origin)
        stacks[owner] = shard
    own = stacks.pop(stack_uid, None)
    return own, [stacks[owner] for owner in sorted(stacks)], unread


def write(connection: Any, host_uuid: str, claims: Claims) -> None:
    """Replace a stack's claims on a host; without entries, remove them.

    Raises:
        HostError: what is there cannot be read, and is not overwritten.
        libvirtError: the host did not do it.
    """
    shards = _present(connection, claims.stack_uid)
    wanted = {a: encode_entry(claim) for a, claim in claims.entries.items()}
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


def place(shards: dict[int, Shard], wanted: Mapping[str, str]) -> None:
    """Give every wanted entry a shard: the one it is in while that has room, else a later one.

    Entries only ever move to higher shards, and higher shards are written first.
    """
    home = {a: number for number in sorted(shards) for a in shards[number].entries}
    for shard in shards.values():
        shard.entries = {}
    sizes: dict[int, int] = {}
    shards.setdefault(0, Shard(0))
    # Those that have a place come first, lest a new entry pushes one out of it.
    for address in sorted(wanted, key=lambda a: (a not in home, a)):
        cost = _cost((address, wanted[address]))
        number = home.get(address, 0)
        while sizes.get(number, 0) and sizes[number] + cost > SHARD_BYTES:
            number += 1
        sizes[number] = sizes.get(number, 0) + cost
        shards.setdefault(number, Shard(number)).entries[address] = wanted[address]


def _cost(item: tuple[str, str]) -> int:
    address, entry = item
    return len(address) + len(entry) + 8


def _present(connection: Any, stack_uid: str) -> dict[int, Shard]:
    shards: dict[int, Shard] = {}
    for secret in secrets.listed(connection, usage_name(stack_uid, 0)):
        owner, _, suffix = secret.usage[len(PREFIX) :].partition("/")
        text = secret.text()
        if owner != stack_uid or text is None:
            continue
        if suffix and not suffix.isdecimal():
            raise _unreadable(secret.usage, "its name is not one of kvmplan's")
        number = int(suffix or 0)
        entries = decode(text, secret.usage).entries
        # Where they are is all that counts: their texts are made anew from the claims.
        shards[number] = Shard(number, dict.fromkeys(entries, ""), text, secret.uuid)
    return shards


def _keep_key(secret: Any) -> None:
    """Give the secret a random value unless it has one: the stack's key on this host."""
    try:
        secret.value(0)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_SECRET:
            raise
        secret.setValue(os.urandom(32), 0)


_dump = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), sort_keys=True).encode
