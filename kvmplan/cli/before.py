"""``kvmplan show --before RUN [ADDRESS]``: from the journals of this machine, without a host."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kvmplan.diagnostics import Failure, fail

if TYPE_CHECKING:
    from kvmplan.apply.runs import Run, Touched

LAST = "last"
_NAMED = 5


def show_before(name: str, address: str | None, form: str, given: dict[str, Any]) -> None:
    """Print what a run touched, or one object's document as it was before.

    Args:
        name: the run's id, or a part of it that no other begins with, or ``last``.
        address: the object; None lists what the run touched.
        form: ``text`` or ``json``.
        given: the command's other flags: where the specs are, whose last run is meant.

    Raises:
        Failure: KVP621 no such run, or several; KVP622 nothing of that address; KVP623 unreadable.
    """
    from kvmplan.views.run_text import document_hints, run_json, run_text, touched_json
    from kvmplan.views.style import emit

    run = _last(given) if name == LAST else _named(name)
    if address is None:
        text = run_text(run) if form == "text" else _json(run_json(run))
        emit(sys.stdout, text)
        return
    touched = _touched(run, address)
    if form == "json":
        emit(sys.stdout, _json({**touched_json(touched), "before": touched.before}))
        return
    if touched.before is None:
        summary = (
            f"{address} was not there before run {run.head.run}, which was to {touched.action} it"
        )
        raise fail("KVP622", summary)
    emit(sys.stdout, touched.before["document"].rstrip("\n") + "\n")
    for hint in document_hints(touched):
        emit(sys.stderr, f"{hint}\n")


def _json(value: Any) -> str:
    return json.dumps(value, indent=2) + "\n"


def _root() -> Path:
    from kvmplan.cli.places import runs_folder

    try:
        return runs_folder()
    except OSError as error:
        raise fail("KVP621", f"there are no journals: {error}") from error


def _read(path: Path) -> Run:
    from kvmplan.apply.runs import BadJournal, read

    try:
        return read(path)
    except BadJournal as error:
        raise fail("KVP623", str(error)) from error
    except OSError as error:
        raise fail("KVP623", f"cannot read {path}: {error.strerror}") from error


def _named(name: str) -> Run:
    from kvmplan.apply.runs import find

    root = _root()
    known = find(root)
    found = [path for path in known if path.stem.startswith(name)] if name else []
    if len(found) == 1:
        return _read(found[0])
    what = f"{len(found)} runs begin with '{name}'" if found else f"there is no run '{name}'"
    near = ", ".join(path.stem for path in (found or known)[:_NAMED])
    remedy = f"the newest: {near}" if near else f"no run of yours is on record in {root}"
    raise fail("KVP621", what, remedy=remedy)


def _last(given: dict[str, Any]) -> Run:
    """The newest run that touched something: of the stack of the specs, or of the only stack."""
    from kvmplan.apply.runs import find

    root, uid = _root(), _uid(given)
    paths = find(root, uid)
    if uid is None and len({path.parent for path in paths}) > 1:
        remedy = "say where the specs are (--specs), or name the run: " + ", ".join(
            path.stem for path in paths[:_NAMED]
        )
        raise fail("KVP621", "several stacks have runs here, and no specs say whose", remedy=remedy)
    for path in paths:
        run = _read(path)
        if run.touched:
            return run
    raise fail("KVP621", "there is no last run", remedy=f"none is on record in {root}")


def _uid(given: dict[str, Any]) -> str | None:
    """The uid of the specs' stack; None if there are none that can be read."""
    from kvmplan.cli.session import load_specs

    try:
        _, desired, _ = load_specs(
            given["path"], given["variables"], given["var_files"], secrets=False
        )
    except Failure:
        if given["path"] is not None:
            raise
        return None
    return desired.stack.uid


def _touched(run: Run, address: str) -> Touched:
    found = [t for t in run.touched.values() if address in (t.address, t.short)]
    if len(found) == 1:
        return found[0]
    if found:
        remedy = f"write one of {', '.join(touched.address for touched in found)}"
        raise fail("KVP622", f"{address} is on several hosts", remedy=remedy)
    from difflib import get_close_matches

    near = get_close_matches(address, [t.short for t in run.touched.values()], n=1)
    remedy = (
        f"did you mean '{near[0]}'?" if near else f"`kvmplan show --before {run.head.run}` lists it"
    )
    raise fail("KVP622", f"run {run.head.run} did not touch {address}", remedy=remedy)
