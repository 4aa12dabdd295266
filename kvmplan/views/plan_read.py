"""A plan as it was saved, read back from its JSON: what ``show PLANFILE`` makes its text from.

So the text of a saved plan says what its JSON says, and no more. Secrets are not in there: their
paths are, and they are shown as they were. It is for views: nothing is carried out from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kvmplan.address import Address, parse_address
from kvmplan.diagnostics import Diagnostic, Place, Severity
from kvmplan.inventory import HostFacts
from kvmplan.kinds.verbs import Verb
from kvmplan.mapping.impact import Impact
from kvmplan.plan.change import (
    Action,
    Busy,
    Change,
    FieldChange,
    Growth,
    Guarded,
    Path,
    Pending,
    Plan,
    Precondition,
    Reason,
    Released,
    Step,
    Unlisted,
)
from kvmplan.views.gitstate import GitState

Json = Mapping[str, Any]

_ACTIONS = {tuple(action.json): action for action in Action}


def plan_of(document: Json) -> Plan:
    """The plan that a document of `plan_json` is of.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: it is none.
    """
    return Plan(
        stack_name=document["stack"]["name"],
        stack_uid=document["stack"]["uid"],
        hosts={name: _host(facts) for name, facts in document["hosts"].items()},
        changes=tuple(map(_change, document["resource_changes"])),
        drift=tuple(map(_change, document["resource_drift"])),
        pending=tuple(map(_pending, document["pending_restart"])),
        busy=tuple(Busy(_address(row), tuple(row["jobs"])) for row in document["busy"]),
        unlisted=tuple(
            Unlisted(_address(row), _path(row["path"]), row["summary"])
            for row in document["unlisted"]
        ),
        released=tuple(Released(_address(it), _path(it["path"])) for it in document["released"]),
        orphans=tuple(map(_address, document["orphans"])),
        bases={_address(row): row["guests"] for row in document["bases"]},
        growth=tuple(Growth(_address(row), row["bytes"]) for row in document["pool_growth"]),
        refusals=tuple(
            Guarded(row["code"], _address(row), row["summary"], row["remedy"])
            for row in document["refusals"]
        ),
        diagnostics=tuple(map(_diagnostic, document["diagnostics"])),
        errored=document["errored"],
        created=document["created"],
        hosts_left_out=tuple(document["hosts_left_out"]),
    )


def git_of(document: Json) -> GitState | None:
    """The commit that a document of `plan_json` names."""
    given = document["git"]
    return given and GitState(given["commit"], given["branch"], given["dirty"])


def _host(facts: Json) -> HostFacts:
    libvirt, hypervisor = facts["libvirt_version"], facts["hypervisor_version"]
    return HostFacts(facts["uri"], libvirt_version=libvirt, hypervisor_version=hypervisor)


def _address(row: Json) -> Address:
    return parse_address(row["address"])


def _path(text: str) -> Path:
    """A path that is only ever shown: of a key with a dot in it two are made, and the same text."""
    return tuple(text.split("."))


def _change(row: Json) -> Change:
    change, previous = row["change"], row.get("previous_address")
    relies = row["precondition"]
    return Change(
        _address(row),
        _ACTIONS[tuple(change["actions"])],
        Reason(row["action_reason"] or ""),
        fields=tuple(map(_field, change["fields"])),
        impact=Impact(change["impact"]),
        before=change["before"],
        after=change["after"],
        sensitive=(*_marked(change["before_sensitive"]), *_marked(change["after_sensitive"])),
        depends_on=tuple(map(parse_address, row["depends_on"])),
        steps=tuple(_step(row, step) for step in row["steps"]),
        precondition=Precondition(
            relies["exists"], relies["key"], relies["active"], relies["digest"]
        ),
        source=_place(row["source"]),
        notes=tuple(row["notes"]),
        pending=tuple(map(_field, change["pending"])),
        previous=None if previous is None else parse_address(previous),
        protect=row.get("prevent_destroy"),
    )


def _marked(marks: Any, path: Path = ()) -> Iterator[Path]:
    """The sensitive paths in Terraform's ``before_sensitive``."""
    if marks is True:
        yield path
    elif isinstance(marks, Mapping):
        for key, member in marks.items():
            yield from _marked(member, (*path, key))
    elif isinstance(marks, list):
        for index, member in enumerate(marks):
            yield from _marked(member, (*path, str(index)))


def _field(row: Json) -> FieldChange:
    return FieldChange(
        tuple(row["keys"]),
        row["before"],
        row["after"],
        Impact(row["impact"]),
        None if row["fallback"] is None else Impact(row["fallback"]),
        row["reason"],
        row["sensitive"],
        row["drift"],
    )


def _step(row: Json, step: Json) -> Step:
    return Step(
        step["id"],
        _address(row),
        Verb(step["verb"]),
        tuple(map(_path, step["fields"])),
        step["arguments"],
        tuple(step["after"]),
        Impact(step["impact"]),
        None if step["fallback"] is None else Impact(step["fallback"]),
    )


def _pending(row: Json) -> Pending:
    fields = tuple(map(_field, row["fields"]))
    return Pending(_address(row), fields, row["waiting"], row["since"] or "", row["saved"])


def _diagnostic(row: Json) -> Diagnostic:
    place, named = row["range"], row["address"]
    if place is not None:
        start, end = place["start"], place["end"]["column"]
        length = end - start["column"]
        place = Place(place["filename"], start["line"], start["column"], length)
    return Diagnostic(
        row["code"],
        Severity(row["severity"]),
        row["summary"],
        place,
        row["remedy"],
        None if named is None else parse_address(named),
    )


def _place(given: Json | None) -> Place | None:
    return None if given is None else Place(given["file"], given["line"], given["column"])
