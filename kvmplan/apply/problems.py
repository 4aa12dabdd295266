"""What can go wrong with a change, and how it is told: one diagnostic, never a secret in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kvmplan.apply.port import ConnectionLost, HostError, TimedOut
from kvmplan.diagnostics import Diagnostic, Severity
from kvmplan.images.errors import ImageError
from kvmplan.kinds.skeletons import TemplateError
from kvmplan.kinds.verbs import Verb
from kvmplan.mapping.types import SecretText
from kvmplan.plan.change import Change

AGAIN = "plan again: it shows what is left to do"
EXISTS = "it exists now, and did not when it was planned"
VOLUME_EXISTS = "VIR_ERR_STORAGE_VOL_EXIST"
"""libvirt's word for a volume whose name another has."""


class Stale(Exception):
    """What the plan relies on does not hold any more. The message says what moved."""


class Invalid(Exception):
    """A document that was made is refused by libvirt's own schema. The message says where."""


class NotAsWanted(Exception):
    """After all steps the object is not as it was wanted. The message says how."""


class Busy(Exception):
    """Something else works on the object, longer than the run waits for. The message says what."""


class NotRestarted(Exception):
    """A guest did not go down, or did not come back. The message says which, and what it is now."""

    def __init__(self, message: str, remedy: str) -> None:
        self.remedy = remedy
        super().__init__(message)


def not_restarted(verb: Verb, error: HostError) -> NotRestarted:
    """What a restart that stopped in one of its steps says."""
    match verb:
        case Verb.SHUTDOWN:
            up = "it runs on as it was, and gets the change at its next start"
            return NotRestarted(
                f"not restarted: {words(error)}; {up}",
                "shut it down from inside, or let `force: true` power it off",
            )
        case Verb.START:
            return NotRestarted(
                f"it was shut down for its restart and does not start: {words(error)}",
                "it is down: correct what keeps it from starting; the next apply starts it",
            )
        case Verb.RESTART_NETWORK:
            return NotRestarted(
                f"not restarted: {words(error)}", "correct what keeps it from that, and apply again"
            )
        case Verb.RECONNECT:
            return NotRestarted(
                f"it was restarted, and not all of its guests are back on it: {words(error)}",
                "apply again; a guest gets it back at its next start, too",
            )
    return NotRestarted(
        f"it was restarted and did not come back: {words(error)}",
        "look at its console; what it was started with is its definition now",
    )


class LockLost(Exception):
    """The stack's lock on a host is not ours any more: nothing more may be written there."""


def secrets_of(tree: Any) -> frozenset[str]:
    """The secrets somewhere in a tree, as plain texts; to be kept out of messages."""
    if isinstance(tree, SecretText):
        return frozenset({tree.reveal()})
    if isinstance(tree, Mapping):
        return frozenset().union(*(secrets_of(value) for value in tree.values()))
    return frozenset()


def scrub(text: str, secrets: Iterable[str]) -> str:
    """The text with every secret replaced, the longest first."""
    for secret in sorted(secrets, key=len, reverse=True):
        if secret:
            text = text.replace(secret, "(sensitive)")
    return text


def words(error: HostError) -> str:
    """``libvirt 55 VIR_ERR_OPERATION_INVALID: domain is not running``; our own findings as is."""
    if not error.code:
        return error.message
    name = f" {error.name}" if error.name else ""
    return f"libvirt {error.code}{name}: {error.message}"


def diagnostic(error: Exception, change: Change) -> Diagnostic:
    """What an exception that ended a change says to the user."""
    code, summary, remedy = _tell(error)
    secrets = secrets_of(change.after) | secrets_of(change.before)
    text = scrub(summary, secrets)
    return Diagnostic(code, Severity.ERROR, text, change.source, remedy, change.address)


def partly_done(change: Change, why: str) -> Diagnostic:
    """A change of which some steps are done, and the others will not be."""
    summary = f"{change.address.short}: only partly done: {why}"
    return Diagnostic("KVP607", Severity.ERROR, summary, change.source, AGAIN, change.address)


def untold(error: Exception) -> Diagnostic:
    """What is told of a run broke, and the run ended with it."""
    summary = f"internal error: {_origin(error)}; the steps in flight ended, nothing more was begun"
    remedy = "please report it; then plan again to see what is left to do"
    return Diagnostic("KVP901", Severity.ERROR, summary, remedy=remedy)


def unclaimed(host: str, error: HostError) -> Diagnostic:
    """The claims on a host are not what they should be in the end."""
    summary = f"the claims on host '{host}' could not be written: {words(error)}"
    remedy = "apply again: what is done is done, and will be claimed then"
    return Diagnostic("KVP606", Severity.ERROR, summary, remedy=remedy)


_SHAPE = "correct the field, the `xml:` fragment or the template that makes this part of it"


def _tell(error: Exception) -> tuple[str, str, str | None]:
    match error:
        case ConnectionLost():
            doing = f" ({error.doing})" if error.doing else ""
            lost = f"the connection was lost, whether the step in flight{doing} was done is unknown"
            return "KVP602", f"{lost}; {words(error)}", AGAIN
        case TimedOut():
            return "KVP602", words(error), "see what keeps it busy, then plan again"
        case HostError():
            return "KVP602", words(error), _known_remedy(error)
        case LockLost():
            return "KVP402", str(error), "see who works on this stack, then plan again"
        case Stale():
            return "KVP601", str(error), AGAIN
        case Busy():
            return "KVP608", str(error), "apply again when that is over, or wait longer for it"
        case NotRestarted():
            return "KVP609", str(error), error.remedy
        case TemplateError():
            return "KVP603", str(error), "correct the template"
        case ImageError():
            return error.code, error.summary, error.remedy
        case LookupError() | ValueError():
            return "KVP604", _plain(error), None
        case Invalid():
            return "KVP605", str(error), _SHAPE
        case NotAsWanted():
            return "KVP610", str(error), AGAIN
    return "KVP901", f"internal error: {_origin(error)}", "please report it"


def _known_remedy(error: HostError) -> str | None:
    """What helps where libvirt's own words do not."""
    if "creating bridge interface" in error.message and "File exists" in error.message:
        return "if nothing uses that bridge (a killed libvirtd leaves it), `ip link delete` it"
    if "accurate CPU usage" in error.message:
        return "qemu-img measures the CPU before it encrypts, and missed by chance: apply again"
    return None


def _plain(error: Exception) -> str:
    """The message; a KeyError's own text would be quoted."""
    return str(error.args[0]) if error.args else type(error).__name__


def _origin(error: Exception) -> str:
    """Kind and origin of a bug; its message is left out, it may hold values."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return type(error).__name__
    module = trace.tb_frame.f_globals.get("__name__", "?")
    return f"{type(error).__name__} in {module}, line {trace.tb_lineno}"
