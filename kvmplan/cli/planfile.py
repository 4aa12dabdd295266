"""Saved plans: ``plan --out FILE``, ``apply FILE``, ``show FILE``.

Applying a file plans again from the specs inside, on what the host is now, and goes on only if that
is the very plan that was saved: what was approved is what runs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kvmplan.address import LOCAL, Address, parse_address
from kvmplan.diagnostics import Diagnostics, ExitCode, Failure, fail

if TYPE_CHECKING:
    from kvmplan.cli.session import Session
    from kvmplan.plan.change import LeftOut
    from kvmplan.plan.options import PlanOptions
    from kvmplan.plan.planner import Planned
    from kvmplan.spec import Desired

AGAIN = "plan again, and have that plan approved"
NOTHING = ["no-op"]
"""The actions of what a plan leaves as it is."""


@dataclass(frozen=True, slots=True)
class SavedPlan:
    """What a plan file holds.

    Attributes:
        document: the plan as JSON (the contract's format).
        text: the plan as it was shown.
        path: where its specs were, for their templates.
    """

    document: Mapping[str, Any]
    text: str
    desired: Desired
    options: PlanOptions
    path: Path

    @property
    def acting(self) -> dict[Address, Mapping[str, Any]]:
        """Address -> resource change, of what the plan does."""
        return self._rows(lambda row: row["change"]["actions"] != NOTHING)

    @property
    def unprotecting(self) -> dict[Address, Mapping[str, Any]]:
        """Address -> resource change, of what loses its `prevent_destroy` and nothing else.

        What gets it needs no word of the plan's: it is noted of all that the specs protect.
        """
        return self._rows(
            lambda row: row["change"]["actions"] == NOTHING and row.get("prevent_destroy") is False
        )

    def _rows(self, which: Callable[[Mapping[str, Any]], bool]) -> dict[Address, Mapping[str, Any]]:
        rows = self.document["resource_changes"]
        return {parse_address(row["address"]): row for row in rows if which(row)}

    @property
    def refusals(self) -> Diagnostics:
        """What stood against it when it was made."""
        found = Diagnostics()
        for row in self.document["refusals"]:
            remedy, address = f"{row['remedy']}; {AGAIN}", parse_address(row["address"])
            found.error(row["code"], row["summary"], remedy=remedy, address=address)
        return found

    @property
    def connect(self) -> str | None:
        """The URI that `local` was, where the stack names no hosts."""
        host = self.document["hosts"].get(LOCAL)
        return None if self.desired.stack.hosts or host is None else str(host["uri"])


def save(session: Session, planned: Planned, file: Path) -> None:
    """Write a plan file. Raises `Failure`: KVP314, KVP315."""
    from kvmplan.cli.git import git_state
    from kvmplan.plan import saved
    from kvmplan.spec.stored import Unsavable, dump
    from kvmplan.views.plan_json import plan_json
    from kvmplan.views.plan_text import plan_text

    git = git_state(session.path)
    try:
        members = {
            "plan.json": plan_json(planned.plan, git),
            "text.json": plan_text(planned.plan, git=git),
            "desired.json": dump(session.desired),
            "options.json": _options_json(planned.options, session.path),
        }
        saved.write(file, members)
    except Unsavable as error:
        remedy = "write it as `!secret {env: …}`: a plan file keeps where a secret is, never what"
        raise fail("KVP314", f"the plan cannot be saved: {error}", remedy=remedy) from error
    except (saved.NotReplaced, OSError) as error:
        raise _not_written(file, error) from error


def check_place(file: Path) -> None:
    """See whether a plan can be saved there before it is made. Raises `Failure`: KVP315."""
    from kvmplan.plan import saved

    try:
        saved.place(file)
    except (saved.NotReplaced, OSError) as error:
        raise _not_written(file, error) from error


def _not_written(file: Path, error: Exception) -> Failure:
    why = error.strerror if isinstance(error, OSError) else error
    remedy = None if isinstance(error, OSError) else "choose another name"
    return fail("KVP315", f"cannot write {file}: {why}", remedy=remedy)


def _options_json(options: PlanOptions, path: Path) -> dict[str, Any]:
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
        "origin": options.origin,
        "path": str(path.resolve()),
    }


def load(file: Path, *, secrets: bool = True) -> SavedPlan:
    """Read a plan file. Raises `Failure`: KVP310 … KVP312, or a secret that cannot be read."""
    from kvmplan.kinds import MODELS
    from kvmplan.plan import saved
    from kvmplan.plan.shape import check
    from kvmplan.spec.secrets import Secrets
    from kvmplan.spec.stored import restore
    from kvmplan.views.plan_json import digest

    found = Diagnostics()
    try:
        members = saved.read(file)
        document, text = members["plan.json"], members["text.json"]
        given = check(document, text, members["options.json"])
        if digest(document) != document.get("digest"):
            raise saved.BadPlanFile("KVP311", f"the plan in {file} does not have its own digest")
        path = Path(given["path"])
        reader = Secrets(path.parent, os.environ, found, read=secrets)
        desired = restore(members["desired.json"], MODELS, reader)
        plan = SavedPlan(document, text, desired, _options(given), path)
        _ = plan.acting, plan.refusals, plan.connect
    except saved.BadPlanFile as error:
        raise fail(error.code, str(error), remedy=AGAIN) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if found.has_errors:
            raise Failure(found) from error
        summary = (
            f"{file} is damaged: {error if isinstance(error, ValueError) else 'a part is missing'}"
        )
        raise fail("KVP311", summary, remedy=AGAIN) from error
    if found.has_errors:
        raise Failure(found)
    return plan


def _options(given: Mapping[str, Any]) -> PlanOptions:
    from kvmplan.plan.options import PlanOptions

    return PlanOptions(
        destroy=given["destroy"],
        targets=tuple(given["targets"]),
        excludes=tuple(given["excludes"]),
        replace=tuple(given["replace"]),
        adopt=given["adopt"],
        allow_data_loss=tuple(given["allow_data_loss"]),
        allow_restart=tuple(given["allow_restart"]),
        max_restarts=given["max_restarts"],
        prune=given["prune"],
        max_delete=given["max_delete"],
        allow_empty=given["allow_empty"],
        drift=given["drift"],
        same_stack=given["same_stack"],
        origin=given["origin"],
    )


def check_digest(document: Mapping[str, Any], expected: str | None) -> None:
    """Refuse another plan than the one that was approved. Raises `Failure`, exit 3."""
    if expected is not None and document["digest"] != expected:
        summary = f"the plan's digest is {document['digest']}, not {expected}"
        raise fail("KVP302", summary, remedy=AGAIN, exit_code=ExitCode.STALE)


def check_refusals(plan: SavedPlan) -> None:
    """Refuse what was refused when it was planned: that is what its reviewers have seen.

    Its options may say otherwise by now: they are not in the digest that was approved.

    Raises:
        Failure: exit 7, with what stood against it.
    """
    if plan.refusals:
        raise Failure(plan.refusals, ExitCode.REFUSED)


def session_of(plan: SavedPlan, given: Mapping[str, Any], *, destroy: bool) -> Session:
    """The hosts of a plan file, connected; `destroy` if the command removes things only.

    Raises:
        Failure: KVP313, a flag that would make it another plan.
    """
    from kvmplan.cli.session import Session, connect_hosts

    refused = [flag for flag, name in CHANGING.items() if given.get(name)]
    refused += ["--max-delete"] if given.get("max_delete") is not None else []
    refused += ["--max-restarts"] if given.get("max_restarts") is not None else []
    refused += ["--drift keep"] if given.get("drift") == "keep" else []
    refused += ["destroy"] if destroy and not plan.options.destroy else []
    if refused:
        summary = f"{', '.join(refused)} would make it another plan than the one in the file"
        raise fail("KVP313", summary, remedy="give them to `kvmplan plan --out`")
    session = Session(plan.path, plan.desired)
    session.hosts = connect_hosts(
        session, plan.connect, read_only=False, on_unreachable=given["on_unreachable"]
    )
    return session


CHANGING = {
    "--var": "variables",
    "--var-file": "var_files",
    "--target": "targets",
    "--exclude": "excludes",
    "--replace": "replace",
    "--adopt": "adopt",
    "--allow-data-loss": "allow_data_loss",
    "--allow-restart": "allow_restart",
    "--prune": "prune",
    "--allow-empty": "allow_empty",
    "--same-stack": "same_stack",
    "--connect": "connect",
    "--read-only": "read_only",
}
"""Flags that a plan file has settled, and the parameters they set."""


def replan(session: Session, plan: SavedPlan, *, skip_stale: bool) -> Planned:
    """The saved plan, made again on what is there now, without what is stale if that is skipped.

    Without some of it the rest may be another plan (`max_restarts` lets others have their turn), so
    that is looked at as well.

    Raises:
        Failure: KVP301 and exit 3, it is another plan now and `skip_stale` does not allow that.
    """
    from kvmplan.cli.session import make_plan

    rows = {**plan.acting, **plan.unprotecting}
    left_out: dict[Address, str] = {}
    while True:
        kept = {address: row for address, row in rows.items() if address not in left_out}
        planned = make_plan(session, replace(plan.options, only=frozenset(kept)))
        stale = _stale(kept, planned)
        if not stale:
            return replace(
                planned, plan=replace(planned.plan, left_out=_as_left_out(left_out, rows))
            )
        _report(session, stale, skip_stale=skip_stale)
        left_out |= {a: f"stale since it was planned: {', '.join(m)}" for a, m in stale.items()}
        several = len(session.hosts) > 1
        left_out |= _dependents(left_out, plan.acting, several=several)


def _stale(rows: Mapping[Address, Mapping[str, Any]], planned: Planned) -> dict[Address, list[str]]:
    """What is another change now than in these rows, and how."""
    from kvmplan.views.plan_json import plan_json

    now = {row["address"]: row for row in plan_json(planned.plan)["resource_changes"]}
    moved = {address: _moved(row, now.get(str(address))) for address, row in rows.items()}
    return {address: words for address, words in moved.items() if words}


def _report(session: Session, stale: Mapping[Address, list[str]], *, skip_stale: bool) -> None:
    """Warn of what is stale. Raises `Failure`, KVP301 and exit 3, unless it is skipped."""
    found = Diagnostics()
    for address, moved in sorted(stale.items()):
        text = f"{address.short} changed since it was planned: {', '.join(moved)}"
        report = found.warning if skip_stale else found.error
        report("KVP301", text, remedy="left out" if skip_stale else AGAIN, address=address)
    if not skip_stale:
        raise Failure(found, ExitCode.STALE)
    session.warnings.extend(found)


def _as_left_out(
    why: Mapping[Address, str], rows: Mapping[Address, Mapping[str, Any]]
) -> tuple[LeftOut, ...]:
    from kvmplan.plan.change import Action, LeftOut

    actions = {tuple(action.json): action for action in Action}
    return tuple(
        LeftOut(address, actions[tuple(rows[address]["change"]["actions"])], said)
        for address, said in sorted(why.items())
    )


def _moved(then: Mapping[str, Any], now: Mapping[str, Any] | None) -> list[str]:
    """What of a change is not as it was saved, in words; nothing if it is the same."""
    if now is None:
        return ["it is in the plan no longer"]
    fields = [_by_path(row["change"]["fields"]) for row in (then, now)]
    moved = sorted(
        path
        for path in fields[0].keys() | fields[1].keys()
        if fields[0].get(path) != fields[1].get(path)
    )
    if moved:
        return moved
    was, is_ = ("/".join(row["change"]["actions"]) for row in (then, now))
    if was != is_:
        return [f"{was} was planned, now it is {is_}"]
    if now.get("prevent_destroy") is False and then.get("prevent_destroy") is not False:
        return ["prevent_destroy"]
    if was == "no-op":
        return []
    if then["precondition"] != now["precondition"]:
        return ["it is another object, or in another state"]
    return [] if _steps(then) == _steps(now) else ["its steps"]


def _by_path(fields: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    return {row["path"]: json.dumps(row, sort_keys=True) for row in fields}


def _steps(row: Mapping[str, Any]) -> list[str]:
    """A change's steps without their numbers, which depend on the rest of the plan."""
    kept = ("verb", "fields", "arguments", "impact", "fallback")
    return [
        json.dumps({name: step[name] for name in kept}, sort_keys=True) for step in row["steps"]
    ]


def _dependents(
    left_out: Mapping[Address, str], acting: Mapping[Address, Mapping[str, Any]], *, several: bool
) -> dict[Address, str]:
    """Everything that needs what is left out, also by way of others, and what that is."""
    why: dict[Address, str] = {}
    todo = sorted(left_out)
    while todo:
        needed = todo.pop(0)
        said = f"needs {needed if several else needed.short}, which is left out"
        for address, row in sorted(acting.items()):
            if str(needed) in row["depends_on"] and address not in (left_out.keys() | why.keys()):
                why[address] = said
                todo.append(address)
    return why
