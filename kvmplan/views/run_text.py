"""``show --before RUN``: what a run touched, and an object's document as it was before."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from kvmplan.apply.runs import Run, Touched
from kvmplan.mapping.secrecy import SENSITIVE
from kvmplan.views.style import printable

_ACTION, _ADDRESS = 8, 36


def run_text(run: Run) -> str:
    """Everything that a run touched, in order, ending in a line break."""
    head = run.head
    lines = [f"Run {head.run}: {head.operation} of stack {head.stack} by {head.who}"]
    several = len(head.hosts) > 1
    for touched in run.touched.values():
        name = touched.address if several else touched.short
        words = "; ".join([_outcome(touched), *_notes(touched)])
        lines.append(f"  {touched.action:<{_ACTION}} {name:<{_ADDRESS}} {words}".rstrip())
    if not run.ended:
        lines.append("The run was ended before it was over.")
    return "".join(f"{printable(line)}\n" for line in lines)


def _outcome(touched: Touched) -> str:
    if touched.outcome == "cut":
        return f"cut after {len(touched.done)} of {len(touched.planned)} steps"
    return f"{touched.outcome}: {touched.why}" if touched.why else touched.outcome


def _notes(touched: Touched) -> list[str]:
    notes = [f"{verb}: {instead}" for verb, instead in sorted(touched.fell_back.items())]
    return notes if touched.before is not None else [*notes, "was not there before"]


def run_json(run: Run) -> dict[str, Any]:
    """A run as JSON types, without the documents."""
    return {
        **asdict(run.head),
        "ended": run.ended or None,
        "objects": [touched_json(touched) for touched in run.touched.values()],
    }


def touched_json(touched: Touched) -> dict[str, Any]:
    """What was done to one object, as JSON types, without its document."""
    left = list(touched.done)
    steps = []
    for step in touched.planned:
        done = step["verb"] in left
        if done:
            left.remove(step["verb"])
        fell_back = touched.fell_back.get(step["verb"])
        steps.append({**step, "done": done, "fell_back": fell_back})
    return {
        "address": touched.address,
        "action": touched.action,
        "outcome": touched.outcome,
        "why": touched.why,
        "existed": touched.before is not None,
        "steps": steps,
    }


def document_hints(touched: Touched) -> list[str]:
    """What an object's document does not say of it: for who is about to define it again."""
    before = touched.before or {}
    hints = []
    if not touched.address.partition(":")[2].startswith("volume."):
        autostart = "on" if before["autostart"] else "off"
        hints.append(f"it was {before['state']}, autostart {autostart}: its document says neither")
    if not before["persistent"]:
        hints.append("it was transient: defined, it will be kept")
    hints += [f"a secret is left out: {place}" for place in before["left_out"]]
    if SENSITIVE in before["document"]:
        hints.append(f"{SENSITIVE} stands where secrets were cut out: fill them in")
    return hints
