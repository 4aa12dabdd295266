"""The plan as JSON: Terraform's names where it has one, no secret inside, a digest over all.

It is for readers and tools. It is not what apply executes: secrets are replaced in it.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping
from typing import Any

from kvmplan import __version__
from kvmplan.address import Address
from kvmplan.mapping.secrecy import SENSITIVE, Scrubber
from kvmplan.plan.change import Change, FieldChange, Path, Pending, Plan, Step, Tree
from kvmplan.views.diagnostics import diagnostic_json, sort_diagnostics
from kvmplan.views.gitstate import GitState
from kvmplan.views.redact import plain, scrubber, sensitive_map, sensitive_paths

FORMAT_VERSION = "1.0"

_UNSTABLE = ("created", "plan_id", "digest", "git", "busy", "diagnostics")
"""What differs between two plans that do the same; of each change also where it is written.

Diagnostics do: what is not read or not known depends on the machine that plans and on its rights,
and a digest that was approved on one must hold on the machine that applies. All that a plan does,
refuses or reports of objects is digested, and so is whether it has errors. The commit and the lines
in files are another's after every edit of a comment.
"""

_NAMESPACE = uuid.UUID("6c8a7f2e-3f0b-5d44-9f0e-5a1f7f0c2b90")


def plan_json(
    plan: Plan, git: GitState | None = None, inputs: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The plan as JSON types, keys in the order of the reference.

    Two plans for the same specs and hosts have the same `digest` and `plan_id`, whenever and
    wherever they were made. Without a repository `git` is null.

    Args:
        plan: what is planned.
        git: where the specs come from.
        inputs: what it was made from, beside the hosts: digests, and what the user asked.
    """
    secrets = scrubber(plan)
    changes = sorted(plan.changes, key=lambda change: change.address)
    drift = sorted(plan.drift, key=lambda change: change.address)
    known = {change.address: sensitive_paths(change) for change in changes}
    add, change, destroy = plan.count()
    document: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "kvmplan_version": __version__,
        "plan_id": "",
        "digest": "",
        "created": plan.created,
        "stack": {"name": plan.stack_name, "uid": plan.stack_uid},
        "git": git and {"commit": git.commit, "branch": git.branch, "dirty": git.dirty},
        "inputs": inputs,
        "hosts": _hosts(plan),
        "hosts_left_out": list(plan.hosts_left_out),
        "resource_changes": [_change(item, secrets) for item in changes],
        "resource_drift": [_change(item, secrets, known.get(item.address, ())) for item in drift],
        "pending_restart": [
            _pending(item, known.get(item.address, ()), secrets)
            for item in sorted(plan.pending, key=lambda item: (item.address, item.waiting))
        ],
        **_bystanders(plan),
        "diagnostics": [diagnostic_json(item) for item in sort_diagnostics(plan.diagnostics)],
        "summary": {
            "add": add,
            "change": change,
            "destroy": destroy,
            "impacts": {impact.value: number for impact, number in plan.impacts().items()},
        },
        "errored": plan.errored,
    }
    for name in ("refusals", "unlisted", "diagnostics"):
        document[name] = secrets.tree(document[name])
    document["digest"] = digest(document)
    document["plan_id"] = plan_id(document)
    return document


def plan_json_text(
    plan: Plan, git: GitState | None = None, inputs: dict[str, Any] | None = None
) -> str:
    """`plan_json` as it is printed: one object on one line."""
    return json.dumps(plan_json(plan, git, inputs), ensure_ascii=False) + "\n"


def plan_id(document: Mapping[str, Any]) -> str:
    """The uuid of a plan with this digest."""
    return str(uuid.uuid5(_NAMESPACE, document["digest"]))


def digest(document: Mapping[str, Any]) -> str:
    """sha256 (64 hex digits) of a plan's canonical JSON, without what differs from run to run."""
    stable = {key: value for key, value in document.items() if key not in _UNSTABLE}
    for key in ("resource_changes", "resource_drift"):
        stable[key] = [{**row, "source": None} for row in stable[key]]
    canonical = json.dumps(stable, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _hosts(plan: Plan) -> dict[str, Any]:
    return {
        name: {
            "uri": facts.uri,
            "libvirt_version": facts.libvirt_version,
            "hypervisor_version": facts.hypervisor_version,
        }
        for name, facts in sorted(plan.hosts.items())
    }


def _named(address: Address) -> dict[str, Any]:
    return {
        "address": str(address),
        "host": address.host,
        "type": address.kind.value,
        "name": address.name,
    }


def _change(change: Change, secrets: Scrubber, more: tuple[Path, ...] = ()) -> dict[str, Any]:
    paths = (*sensitive_paths(change), *more)
    source = change.source
    return {
        **_named(change.address),
        **({"previous_address": str(change.previous)} if change.previous is not None else {}),
        "change": {
            "actions": change.action.json,
            "before": _tree(change.before, paths),
            "after": _tree(change.after, paths),
            "before_sensitive": sensitive_map(change.before, paths),
            "after_sensitive": sensitive_map(change.after, paths),
            "impact": change.impact.value,
            "fields": [_field(field, paths, secrets) for field in change.fields],
            "pending": [_field(field, paths, secrets) for field in change.pending],
        },
        "action_reason": change.reason.value or None,
        **({"prevent_destroy": change.protect} if change.protect is not None else {}),
        "depends_on": [str(address) for address in change.depends_on],
        "steps": [_step(step, secrets) for step in change.steps],
        "precondition": {
            "exists": change.precondition.exists,
            "key": change.precondition.key,
            "active": change.precondition.active,
            "digest": change.precondition.digest,
        },
        "source": source and {"file": source.file, "line": source.line, "column": source.column},
        "notes": [secrets.text(note) for note in change.notes],
    }


def _tree(tree: Tree | None, paths: tuple[Path, ...]) -> Any:
    return None if tree is None else plain(tree, paths)


def _field(field: FieldChange, paths: tuple[Path, ...], secrets: Scrubber) -> dict[str, Any]:
    def value(given: Any) -> Any:
        hidden = field.sensitive and given is not None
        return SENSITIVE if hidden else plain(given, paths, field.path)

    return {
        "path": field.name,
        "keys": list(field.path),
        "before": value(field.before),
        "after": value(field.after),
        "impact": field.impact.value,
        "fallback": field.fallback and field.fallback.value,
        "reason": secrets.text(field.reason),
        "sensitive": field.sensitive,
        "drift": field.drift,
    }


def _step(step: Step, secrets: Scrubber) -> dict[str, Any]:
    return {
        "id": step.id,
        "verb": step.verb.value,
        "fields": [".".join(path) for path in step.fields],
        "arguments": secrets.tree(plain(step.arguments)),
        "after": list(step.after),
        "impact": step.impact.value,
        "fallback": step.fallback and step.fallback.value,
    }


def _pending(item: Pending, paths: tuple[Path, ...], secrets: Scrubber) -> dict[str, Any]:
    return {
        **_named(item.address),
        "waiting": item.waiting,
        "since": item.since or None,
        "saved": item.saved,
        "fields": [_field(field, paths, secrets) for field in item.fields],
    }


def _bystanders(plan: Plan) -> dict[str, Any]:
    return {
        "unlisted": [
            {**_named(item.address), "path": ".".join(item.path), "summary": item.summary}
            for item in sorted(plan.unlisted, key=lambda item: (item.address, item.path))
        ],
        "released": [
            {**_named(item.address), "path": ".".join(item.path)}
            for item in sorted(plan.released, key=lambda item: (item.address, item.path))
        ],
        "orphans": [_named(address) for address in sorted(plan.orphans)],
        "bases": [{**_named(address), "guests": n} for address, n in sorted(plan.bases.items())],
        "busy": [
            {**_named(item.address), "jobs": list(item.jobs)}
            for item in sorted(plan.busy, key=lambda item: item.address)
        ],
        "pool_growth": [{**_named(item.address), "bytes": item.bytes} for item in plan.growth],
        "refusals": [
            {
                **_named(item.address),
                "code": item.code,
                "summary": item.summary,
                "remedy": item.remedy,
            }
            for item in sorted(plan.refusals, key=lambda item: (item.address, item.code))
        ],
    }
