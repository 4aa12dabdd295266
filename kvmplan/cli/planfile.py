"""Saved plans: ``plan --out FILE``, ``apply FILE``, ``show FILE``.

Applying a file plans again from the specs inside, on what the host is now, and goes on only if that
is the very plan that was saved: what was approved is what runs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kvmplan.address import LOCAL, Address, parse_address
from kvmplan.diagnostics import Diagnostics, ExitCode, Failure, fail

if TYPE_CHECKING:
    from kvmplan.cli.session import Session
    from kvmplan.plan.options import PlanOptions
    from kvmplan.plan.planner import Planned
    from kvmplan.spec import Desired

AGAIN = "plan again, and have that plan approved"


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
        rows = self.document["resource_changes"]
        return {
            parse_address(row["address"]): row
            for row in rows
            if row["change"]["actions"] != ["no-op"]
        }

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
    except OSError as error:
        raise fail("KVP315", f"cannot write {file}: {error.strerror}") from error


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
        _ = plan.acting, plan.connect
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


def session_of(plan: SavedPlan, given: Mapping[str, Any]) -> Session:
    """The hosts of a plan file, connected.

    Raises:
        Failure: KVP313, a flag that would make it another plan.
    """
    from kvmplan.cli.session import Session, connect_hosts

    refused = [flag for flag, name in CHANGING.items() if given.get(name)]
    refused += ["--max-delete"] if given.get("max_delete") is not None else []
    refused += ["--max-restarts"] if given.get("max_restarts") is not None else []
    refused += ["--drift keep"] if given.get("drift") == "keep" else []
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
    "--destroy": "destroy",
}
"""Flags that a plan file has settled, and the parameters they set."""


def replan(
    session: Session, plan: SavedPlan, *, skip_stale: bool
) -> tuple[Planned, frozenset[Address]]:
    """The saved plan, made again on what is there now.

    Returns:
        The plan, and what was left out because it is stale or needs something that is.

    Raises:
        Failure: KVP301 and exit 3, it is another plan now and `skip_stale` does not allow that.
    """
    from kvmplan.cli.session import make_plan
    from kvmplan.views.plan_json import plan_json

    acting = plan.acting
    planned = make_plan(session, replace(plan.options, only=frozenset(acting)))
    now = {row["address"]: row for row in plan_json(planned.plan)["resource_changes"]}
    stale = {
        address: moved
        for address, row in acting.items()
        if (moved := _moved(row, now.get(str(address))))
    }
    if not stale:
        return planned, frozenset()
    found = Diagnostics()
    for address, moved in sorted(stale.items()):
        text = f"{address.short} changed since it was planned: {', '.join(moved)}"
        report = found.warning if skip_stale else found.error
        report("KVP301", text, remedy="left out" if skip_stale else AGAIN, address=address)
    if not skip_stale:
        raise Failure(found, ExitCode.STALE)
    session.warnings.extend(found)
    left_out = frozenset(_with_dependents(set(stale), acting))
    kept = frozenset(acting) - left_out
    return make_plan(session, replace(plan.options, only=kept)), left_out


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


def _with_dependents(
    stale: set[Address], acting: Mapping[Address, Mapping[str, Any]]
) -> set[Address]:
    """Stale addresses and everything that needs them."""
    names = {str(address) for address in stale}
    while True:
        more = {
            str(address) for address, row in acting.items() if names & set(row["depends_on"])
        } - names
        if not more:
            return {parse_address(name) for name in names}
        names |= more
