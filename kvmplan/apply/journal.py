"""The journal: what a run touches as it was before, kept on the machine that runs it.

A file of JSON lines for each run: whose it is, each object's document before its first step, the
steps that were done, how it ended. It is a way back for people; no plan ever reads it. Secrets stay
out: documents are those that libvirt gives without them, what looks like a password is cut out of
the rest, and so are the values of the specs' secrets.
"""

from __future__ import annotations

import json
import os
import secrets
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kvmplan.address import Address
from kvmplan.apply.events import ApplyFinished, ChangeFailed, ChangeFinished, Event, StepFinished
from kvmplan.diagnostics import Diagnostic, Severity
from kvmplan.diff import at
from kvmplan.inventory import Record
from kvmplan.mapping.document import parse_to_read
from kvmplan.mapping.model import secret_paths
from kvmplan.mapping.secrecy import redact_xml, scrubber_of
from kvmplan.mapping.types import SecretText
from kvmplan.plan.change import Change
from kvmplan.plan.intent import Intent

_encode = json.JSONEncoder(separators=(",", ":")).encode

FORMAT = 1
SUFFIX = ".jsonl"


@dataclass(frozen=True, slots=True)
class Head:
    """Whose run it is.

    Attributes:
        run: its id; those of later runs sort behind it.
        operation: ``apply`` or ``destroy``.
        stack, uid: the stack's name and uid.
        hosts: name -> URI.
        who: user, machine and process.
        began: ISO 8601, UTC.
    """

    run: str
    operation: str
    stack: str
    uid: str
    hosts: Mapping[str, str]
    who: str
    began: str


def new_run_id(now: datetime) -> str:
    """An id that sorts by time, to the millisecond, and that no other run has."""
    millis = now.microsecond // 1000
    return f"{now.astimezone(UTC):%Y%m%d-%H%M%S}-{millis:03d}{secrets.token_hex(2)}"


class Journal:
    """One run's journal, being written. Any thread may call any method; none but the first raises.

    Args:
        folder: where the stack's runs are; made if it is not there, for its owner alone.
        head: whose run it is.
        hidden: secrets that must not get in, wherever they stand.

    Raises:
        OSError: it cannot be written there.

    Attributes:
        problem: why it ends before its run does; None while all is written.
    """

    def __init__(self, folder: Path, head: Head, hidden: Iterable[str] = ()) -> None:
        self._secrets = scrubber_of(hidden)
        self._guard, self._syncing = threading.Lock(), threading.Lock()
        self._written = self._synced = 0
        self._begun: set[Address] = set()
        self.head = head
        self.problem: OSError | None = None
        make_private(folder)
        self._path = folder / f"{head.run}{SUFFIX}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        self._stream = os.fdopen(os.open(self._path, flags, 0o600), "wb")
        self._write({"type": "run", "format": FORMAT, **asdict(head)})
        self.settle()
        if self.problem is not None:
            self.close()
            raise self.problem

    @property
    def run(self) -> str:
        """The run's id, once it has touched something that is on record; else ``""``."""
        return self.head.run if self._begun and self.problem is None else ""

    def before(self, change: Change, record: Record | None, left_out: Iterable[str]) -> None:
        """An object is about to be touched: what it is now is on disk when this returns.

        Args:
            change: what will be done.
            record: the object, read without its secrets; None if it is not there yet.
            left_out: where in its document libvirt left secrets out.
        """
        with self._guard:
            self._begun.add(change.address)
        line = {
            "type": "before",
            "at": _now(),
            "address": str(change.address),
            "action": change.action.value,
            "steps": [
                {"verb": step.verb.value, "fields": [".".join(path) for path in step.fields]}
                for step in change.steps
            ],
            "object": None if record is None else self._object(record, left_out),
        }
        self._write(line, durable=record is not None)

    def __call__(self, event: Event) -> None:
        """Note what was done to what is on record, and how it ended."""
        match event:
            case StepFinished(step, _, fell_back):
                line = {"type": "step", "address": str(step.address), "verb": step.verb.value}
                if fell_back is not None:
                    line["fell_back"] = fell_back.value
                self._write({**line, "at": _now()})
            case ChangeFinished(change):
                self._outcome(change, "done", "")
            case ChangeFailed(change, problem):
                self._outcome(change, "failed", f"{problem.summary} [{problem.code}]")
            case ApplyFinished():
                self._write({"type": "end", "at": _now()}, durable=True)
            case _:
                pass  # what was not touched has no way back to keep

    def close(self) -> None:
        """Close the file; one that holds no object is removed."""
        with suppress(OSError):
            self._stream.close()
        if not self._begun:
            with suppress(OSError):
                self._path.unlink()

    def _outcome(self, change: Change, outcome: str, why: str) -> None:
        if change.address in self._begun:
            line = {"type": "outcome", "address": str(change.address), "outcome": outcome}
            self._write({**line, "why": self._secrets.text(why), "at": _now()})

    def _object(self, record: Record, left_out: Iterable[str]) -> dict[str, Any]:
        return {
            "key": record.key,
            "document": self._open_text(record.document),
            "running": None if record.running is None else self._open_text(record.running),
            "state": record.state.value,
            "persistent": record.persistent,
            "autostart": record.autostart,
            "left_out": sorted(left_out),
        }

    def _open_text(self, document: str) -> str:
        return self._secrets.text(redact_xml(document))

    def _write(self, line: Mapping[str, Any], *, durable: bool = False) -> None:
        data = _encode(line).encode() + b"\n"
        with self._guard:
            if self.problem is not None:
                return
            try:
                self._stream.write(data)
                if durable:
                    self._stream.flush()
            except OSError as error:
                self.problem = error
                return
            self._written += 1
            mine = self._written
        if durable:
            self._sync(mine)

    def settle(self) -> None:
        """Give the system what was noted: a line that nothing is lost with waits for this."""
        with self._guard:
            if self.problem is None:
                try:
                    self._stream.flush()
                except OSError as error:
                    self.problem = error

    def _sync(self, mine: int) -> None:
        """Have a line on disk; threads that wait for that share one call."""
        with self._syncing:
            if self._synced >= mine:
                return
            with self._guard:
                upto = self._written
            try:
                os.fdatasync(self._stream.fileno())
            except OSError as error:
                self.problem = error
                return
            self._synced = upto


def lost(error: OSError) -> Diagnostic:
    """That a run goes on without its journal."""
    what = error.strerror or str(error)
    where = f" ({error.filename})" if error.filename else ""
    return Diagnostic(
        "KVP620",
        Severity.WARNING,
        f"the journal of this run cannot be written: {what}{where}",
        remedy="the run does not need it, but what it changes is not kept as it was before; "
        "interrupt it if that matters, and point XDG_STATE_HOME where there is room",
    )


def make_private(folder: Path) -> None:
    """Make a directory and those above it that are missing, for their owner alone.

    Raises:
        OSError: one cannot be made.
    """
    if not folder.is_dir():
        make_private(folder.parent)
        folder.mkdir(0o700, exist_ok=True)


def secrets_of(intents: Iterable[Intent]) -> Iterator[str]:
    """The values of all secrets that are wanted or were read."""
    for intent in intents:
        for tree in (intent.tree, intent.live or {}):
            for path in secret_paths(intent.model, tree):
                value = at(tree, path)
                if isinstance(value, SecretText):
                    yield value.reveal()


def secret_places(secure: str, plain: str) -> tuple[str, ...]:
    """Where a document that was read with its secrets says more than the one without them.

    Returns:
        Paths such as ``/domain/devices/graphics/@passwd``; what stands there is not looked at.
    """
    if secure == plain:
        return ()
    return tuple(sorted(set(_places(secure)) - set(_places(plain))))


def _places(document: str) -> Iterator[str]:
    root = parse_to_read(document)
    tree = root.getroottree()
    for node in root.iter("*"):
        path = tree.getpath(node)
        yield path
        yield from (f"{path}/@{name!s}" for name in node.attrib)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
