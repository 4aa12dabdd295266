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
    from kvmplan.plan.change import LeftOut, Plan
    from kvmplan.plan.options import PlanOptions
    from kvmplan.plan.planner import Planned
    from kvmplan.spec import Desired
    from kvmplan.views.gitstate import GitState

AGAIN = "plan again, and have that plan approved"
NOTHING = ["no-op"]
"""The actions of what a plan leaves as it is."""


@dataclass(frozen=True, slots=True)
class SavedPlan:
    """What a plan file holds.

    Attributes:
        document: the plan as JSON (the contract's format).
        plan, git: the same to be shown as text.
        path: where its specs were, for their templates.
        file_digest: sha256 of the whole file, as `sha256sum` tells it.
    """

    document: Mapping[str, Any]
    plan: Plan
    git: GitState | None
    file_digest: str
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
    from kvmplan.cli.inputs import inputs_json
    from kvmplan.plan import saved
    from kvmplan.spec.stored import Unsavable, dump
    from kvmplan.views.plan_json import plan_json

    inputs = inputs_json(session, planned.options)
    where = {"path": str(session.path.resolve()), "origin": planned.options.origin}
    try:
        members = {
            "plan.json": plan_json(planned.plan, git_state(session.path), inputs),
            "desired.json": dump(session.desired),
            "origin.json": where,
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


def load(file: Path, *, secrets: bool = True, expected: str | None = None) -> SavedPlan:
    """Read a plan file.

    Args:
        file: where it is.
        secrets: whether those of its specs are read, which may run commands.
        expected: the only digest that will do: the plan's, or the whole file's. No secret of
            another plan is read.

    Raises:
        Failure: KVP310 … KVP312; KVP302 and exit 3; or a secret that cannot be read.
    """
    from kvmplan.plan import saved

    found = Diagnostics()
    try:
        members, file_digest = saved.read(file)
        document = _checked(file, members)
        check_digest(document, expected, file_digest)
        return _loaded(members, file_digest, found, secrets=secrets)
    except saved.BadPlanFile as error:
        raise fail(error.code, str(error), remedy=AGAIN) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if found.has_errors:
            raise Failure(found) from error
        summary = (
            f"{file} is damaged: {error if isinstance(error, ValueError) else 'a part is missing'}"
        )
        raise fail("KVP311", summary, remedy=AGAIN) from error


def _checked(file: Path, members: Mapping[str, Any]) -> Mapping[str, Any]:
    """The plan's JSON, if it has its own digest, and the specs beside it are its own.

    Raises:
        BadPlanFile: it is forged.
        ValueError, KeyError, TypeError, AttributeError: it is damaged.
    """
    from kvmplan.plan.saved import BadPlanFile
    from kvmplan.plan.shape import check
    from kvmplan.spec.stored import fingerprint
    from kvmplan.views.plan_json import digest, plan_id

    document: Mapping[str, Any] = members["plan.json"]
    check(document, members["origin.json"])
    if document["digest"] != digest(document) or document["plan_id"] != plan_id(document):
        raise BadPlanFile("KVP311", f"the plan in {file} does not have its own digest")
    if document["inputs"]["specs"] != fingerprint(members["desired.json"]):
        raise BadPlanFile("KVP311", f"the specs in {file} are not those that its plan is of")
    return document


def _loaded(
    members: Mapping[str, Any], file_digest: str, found: Diagnostics, *, secrets: bool
) -> SavedPlan:
    from kvmplan.kinds import MODELS
    from kvmplan.spec.secrets import Secrets
    from kvmplan.spec.stored import restore
    from kvmplan.views.plan_read import git_of, plan_of
    from kvmplan.views.plan_text import plan_text

    document, where = members["plan.json"], members["origin.json"]
    path = Path(where["path"])
    reader = Secrets(path.parent, os.environ, found, read=secrets)
    desired = restore(members["desired.json"], MODELS, reader)
    options = _options(document["inputs"]["options"], where["origin"])
    git, made = git_of(document), plan_of(document)
    plan = SavedPlan(document, made, git, file_digest, desired, options, path)
    _ = plan.acting, plan.refusals, plan.connect, plan_text(made, git=git)
    if found.has_errors:
        raise Failure(found)
    return plan


def _options(given: Mapping[str, Any], origin: str) -> PlanOptions:
    from kvmplan.plan.options import PlanOptions

    listed: dict[str, Any] = {
        name: tuple(it) if isinstance(it, list) else it for name, it in given.items()
    }
    return PlanOptions(**listed, origin=origin)


def check_digest(
    document: Mapping[str, Any], expected: str | None, file_digest: str | None = None
) -> None:
    """Refuse another plan than the one that was approved. Raises `Failure`, exit 3."""
    if expected is not None and expected not in (document["digest"], file_digest):
        summary = f"the plan's digest is {document['digest']}, not {expected}"
        raise fail("KVP302", summary, remedy=AGAIN, exit_code=ExitCode.STALE)


def check_refusals(plan: SavedPlan) -> None:
    """Refuse what was refused when it was planned: that is what its reviewers have seen.

    Raises:
        Failure: exit 7, with what stood against it.
    """
    if plan.refusals:
        raise Failure(plan.refusals, ExitCode.REFUSED)


def session_of(plan: SavedPlan, given: Mapping[str, Any], *, destroy: bool) -> Session:
    """The hosts of a plan file, connected; `destroy` if the command removes things only.

    Raises:
        Failure: KVP313, a flag that would make it another plan; KVP301, other templates.
    """
    from kvmplan.cli.session import Session, connect_hosts

    refused = [flag for flag, name in CHANGING.items() if given.get(name)]
    refused += ["--max-delete"] if given.get("max_delete") is not None else []
    refused += ["--max-restarts"] if given.get("max_restarts") is not None else []
    refused += ["--drift keep"] if given.get("drift") == "keep" else []
    # The same host may be named again: scripts give all their commands the same flag.
    refused += ["--connect"] if given.get("connect") not in (None, plan.connect) else []
    refused += ["destroy"] if destroy and not plan.options.destroy else []
    if refused:
        summary = f"{', '.join(refused)} would make it another plan than the one in the file"
        removal = refused == ["destroy"]
        remedy = "--destroy --out FILE`, then apply that" if removal else "--out FILE` with them"
        raise fail("KVP313", summary, remedy=f"make that one: `kvmplan plan {remedy}")
    session = Session(plan.path, plan.desired)
    _check_templates(session, plan)
    session.hosts = connect_hosts(
        session, plan.connect, read_only=False, on_unreachable=given["on_unreachable"]
    )
    return session


def _check_templates(session: Session, plan: SavedPlan) -> None:
    """Raises `Failure`, exit 3: new objects would be born from other templates."""
    from kvmplan.cli.inputs import templates_digest

    if templates_digest(session.templates) != plan.document["inputs"]["templates"]:
        summary = f"the templates in {session.templates} are not those that it was planned with"
        raise fail("KVP301", summary, remedy=AGAIN, exit_code=ExitCode.STALE)


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
