"""Plan files: a zip of JSON documents with a manifest of their digests.

Whoever opens one trusts nothing in it: names, counts and sizes are limited before anything is
unpacked, and every member must have the digest that the manifest says.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FORMAT = 2
MANIFEST = "manifest.json"
MEMBERS = ("plan.json", "desired.json", "origin.json")
MOMENT = (1980, 1, 1, 0, 0, 0)
"""The time stamp of members: the same plan makes the same bytes."""
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)
"""What zipfile raises for files that are none."""
LARGEST = 128 * 2**20
"""Bytes that a member may have unpacked; 10,000 domains make some 40 MiB."""


class BadPlanFile(Exception):
    """The file cannot be used. `code` is its diagnostic's code, the message its sentence."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


def is_plan_file(path: Path) -> bool:
    """Whether a path is a file that begins like a zip: specs never do."""
    try:
        with path.open("rb") as stream:
            return stream.read(2) == b"PK"
    except OSError:
        return False


class NotReplaced(Exception):
    """What is there is not overwritten: devices, pipes, and files that are no plans."""


def place(path: Path) -> Path:
    """Where a plan file of this path is written: where its links lead.

    Only an earlier plan is replaced, and what is empty: a typo must cost nobody his specs, nor root
    a device node, which a rename would take the place of.

    Raises:
        NotReplaced: something else is there.
        OSError: it cannot be looked at.
    """
    target = Path(os.path.realpath(path))
    try:
        status = target.lstat()
    except FileNotFoundError:
        return target
    if not stat.S_ISREG(status.st_mode):
        raise NotReplaced("it is no regular file")
    if status.st_size and not _is_ours(target):
        raise NotReplaced("it is there already, and no plan file")
    return target


def _is_ours(path: Path) -> bool:
    """Whether a file is a plan, of whatever version: its manifest has digests of all else in it."""
    try:
        with zipfile.ZipFile(path) as archive:
            named = json.loads(_unpacked(archive, MANIFEST))["sha256"].keys()
            return sorted(archive.namelist()) == sorted((MANIFEST, *named))
    except (*DAMAGE, ValueError, LookupError, TypeError, AttributeError, BadPlanFile):
        return False


def write(path: Path, members: Mapping[str, Any]) -> None:
    """Write a plan file, readable by its owner alone, whole or not at all.

    Raises:
        NotReplaced: something else is there.
        OSError: it cannot be written.
    """
    path = place(path)
    texts = {name: json.dumps(members[name], ensure_ascii=True) for name in MEMBERS}
    digests = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}
    texts[MANIFEST] = json.dumps({"format": FORMAT, "sha256": digests}, sort_keys=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream, zipfile.ZipFile(stream, "w") as archive:
            for name, text in sorted(texts.items()):
                info = zipfile.ZipInfo(name, MOMENT)
                info.compress_type = zipfile.ZIP_DEFLATED
                info.external_attr = 0o600 << 16
                archive.writestr(info, text)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read(path: Path) -> tuple[dict[str, Any], str]:
    """The members of a plan file, each with the digest that its manifest says; and the file's own.

    Raises:
        BadPlanFile: KVP310 no plan file, KVP311 damaged or forged, KVP312 of another version.
    """
    try:
        # Read once: what is used is what the digest is of, whoever writes to the file meanwhile.
        with path.open("rb") as stream:
            whole = stream.read(LARGEST + 1)
        if len(whole) > LARGEST:
            raise BadPlanFile("KVP311", f"{path} is too large to be a plan file")
        with zipfile.ZipFile(io.BytesIO(whole)) as archive:
            manifest = _manifest(path, archive)
            _check_members(archive)
            texts = {name: _unpacked(archive, name) for name in MEMBERS}
    except (*DAMAGE, ValueError) as error:
        raise BadPlanFile("KVP311", f"{path} is damaged: {error}") from error
    except OSError as error:
        raise BadPlanFile("KVP310", f"cannot read {path}: {error.strerror}") from error
    return _checked(path, texts, manifest), hashlib.sha256(whole).hexdigest()


def _manifest(path: Path, archive: zipfile.ZipFile) -> Any:
    """The manifest, of this version: in another one a plan may have other members."""
    if archive.namelist().count(MANIFEST) != 1:
        raise BadPlanFile("KVP310", "the file is no plan file of kvmplan")
    try:
        manifest = json.loads(_unpacked(archive, MANIFEST))
    except (ValueError, RecursionError) as error:
        raise BadPlanFile("KVP311", f"{path} is damaged: {type(error).__name__}") from error
    format_ = manifest.get("format") if isinstance(manifest, dict) else None
    if isinstance(format_, int) and format_ != FORMAT:
        raise BadPlanFile("KVP312", f"{path} has format {format_}; this kvmplan reads {FORMAT}")
    return manifest


def _check_members(archive: zipfile.ZipFile) -> None:
    if sorted(archive.namelist()) != sorted((MANIFEST, *MEMBERS)):
        raise BadPlanFile("KVP310", "the file is no plan file of kvmplan")


def _unpacked(archive: zipfile.ZipFile, name: str) -> bytes:
    """A member's bytes, never more than its header says: a bomb's stream goes on after that."""
    size = archive.getinfo(name).file_size
    if size > LARGEST:
        raise BadPlanFile("KVP311", f"{name} in the plan file is too large to be real")
    with archive.open(name) as member:
        return member.read(size)


def _checked(path: Path, texts: Mapping[str, bytes], manifest: Any) -> dict[str, Any]:
    try:
        digests = manifest["sha256"]
        for name in MEMBERS:
            if hashlib.sha256(texts[name]).hexdigest() != digests[name]:
                raise BadPlanFile("KVP311", f"{name} in {path} is not what its manifest says")
        return {name: json.loads(texts[name]) for name in MEMBERS}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadPlanFile("KVP311", f"{path} is damaged: {type(error).__name__}") from error
