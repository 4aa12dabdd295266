"""What a plan is made from, beside the hosts: the ``inputs`` of its JSON, and so of its digest.

A reviewer approves a digest: what apply makes of a plan file must follow from it, and not from
what else is in the file. Where the specs are, and the comments in them, is left out.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kvmplan.diagnostics import fail

if TYPE_CHECKING:
    from kvmplan.cli.session import Session
    from kvmplan.plan.options import PlanOptions


def inputs_json(session: Session, options: PlanOptions) -> dict[str, Any]:
    """The ``inputs`` of a plan's JSON."""
    from kvmplan.spec.stored import dump, fingerprint

    return {
        "specs": fingerprint(dump(session.desired, clear=True)),
        "templates": templates_digest(session.templates),
        "options": options_json(options),
    }


def options_json(options: PlanOptions) -> dict[str, Any]:
    """What the user asked and allowed."""
    return {
        "destroy": options.destroy,
        "targets": list(options.targets),
        "excludes": list(options.excludes),
        "replace": list(options.replace),
        "adopt": options.adopt,
        "allow_data_loss": list(options.allow_data_loss),
        "allow_restart": list(options.allow_restart),
        "max_restarts": options.max_restarts,
        "prune": options.prune,
        "max_delete": options.max_delete,
        "allow_empty": options.allow_empty,
        "drift": options.drift,
        "same_stack": options.same_stack,
    }


def templates_digest(folder: Path) -> str | None:
    """sha256 of the user's own templates, by name; None if there is none.

    New objects are born from them, and no step says what a document will hold that no spec names.

    Raises:
        Failure: KVP603, one cannot be read.
    """
    found = sorted(path for path in folder.rglob("*.j2") if path.is_file())
    if not found:
        return None
    whole = hashlib.sha256()
    for path in found:
        name = path.relative_to(folder).as_posix().encode(errors="surrogateescape")
        whole.update(hashlib.sha256(name).digest() + hashlib.sha256(_bytes(path)).digest())
    return whole.hexdigest()


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise fail("KVP603", f"the template {path} cannot be read: {error.strerror}") from error
