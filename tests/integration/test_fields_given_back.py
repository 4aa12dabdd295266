"""Every field and group by itself: its line taken out, and `!default` in its place.

One object for each, and none of them runs. A field goes back to what a fresh object has, or is
refused with its place and the way out, before any host is asked; a line that is gone is told once.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import re
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from kvmplan.address import Kind
from kvmplan.diagnostics import Diagnostic
from kvmplan.diff import at
from kvmplan.kinds import MODELS
from kvmplan.mapping.markers import Items
from kvmplan.mapping.model import chain
from kvmplan.spec import LoadOptions, load
from tests.integration import test_fields_domain, test_fields_network, test_fields_storage
from tests.integration.fields import (
    SECTIONS,
    Bench,
    Default,
    Edit,
    Group,
    Place,
    Subject,
    field_stack,
    put,
)
from tests.integration.support import Tree, connection
from tests.privatehost import PrivateHost

TABLES: dict[Kind, tuple[Group, ...]] = {
    Kind.NETWORK: test_fields_network.GROUPS,
    Kind.DOMAIN: test_fields_domain.GROUPS,
    Kind.POOL: tuple(it for it in test_fields_storage.POOLS if it.name in ("dir", "kind", "build")),
    Kind.VOLUME: test_fields_storage.VOLUMES,
}
"""Of pools those that several can be of: two of one source are refused."""
ONLY_ONE = {"identity": "two domains cannot have the same uuid"}


def places(group: Group) -> dict[Place, None]:
    """The fields of a group's edits, and the groups and collections around them."""
    found: dict[Place, None] = {}
    for edit in group.edits:
        path = tuple(edit.path.split(" "))
        found |= dict.fromkeys(path[:length] for length in range(1, len(path) + 1))
    return found


def is_member(kind: Kind, path: Place) -> bool:
    """Whether it is a whole member of a collection, which is no field."""
    links = chain(MODELS[kind], path)
    length = sum(2 if isinstance(link.place, Items) else 1 for link in links)
    return isinstance(links[-1].place, Items) and length == len(path)


class Alone(Bench):
    """One object for each field, which alone is edited."""

    def turn_each(self, line: Any, but: Iterable[str] = ()) -> None:
        """Write the specs, with `line` where each one's own field is; None: as it was given."""
        self.stack.specs = {"stack": self.stack.specs["stack"], **copy.deepcopy(self.others)}
        section = self.stack.specs.setdefault(SECTIONS[self.kind], {})
        for subject in (it for it in self.subjects if it.name not in set(but)):
            path, spec = self.path(subject), self.given(subject)
            if line is not None:
                put(spec, path, line if isinstance(line, Default) else None)
            section[subject.name] = spec

    def given(self, subject: Subject) -> Tree:
        """The spec that says something in its field."""
        spec = subject.spec("before")
        if at(spec, self.path(subject)) is None:
            spec = subject.spec("after")
        return {**self._runtime(subject), **spec}

    def path(self, subject: Subject) -> Place:
        """A subject's own field."""
        return tuple(subject.fill(subject.group.why).split(" "))

    def refused(self) -> dict[str, list[Diagnostic]]:
        """What `validate` refuses, by the name of the object."""
        self.stack.write()
        options = LoadOptions(environ={**os.environ, **self.stack.env})
        found: dict[str, list[Diagnostic]] = {}
        for problem in load(self.stack.path, options)[1]:
            name = next(it.name for it in self.subjects if _names(problem, it.name))
            found.setdefault(name, []).append(problem)
        return found

    def left(self) -> list[str]:
        """What a plan would still change, or tells of as released."""
        made = self.plan()
        own = {subject.name: " ".join(self.path(subject)) for subject in self.subjects}
        changed = [it for it in made["resource_changes"] if it["change"]["fields"]]
        fields = [f"{own[c['name']]}: {json.dumps(c['change']['fields'])}" for c in changed]
        return fields + [f"{own[it['name']]}: released" for it in made["released"]]


def _names(problem: Diagnostic, name: str) -> bool:
    return re.search(rf"{re.escape(name)}(?![\w-])", problem.summary) is not None


def says_what_to_do(problem: Diagnostic) -> bool:
    """Whether it gives a remedy, or is the remedy: what is missing is named."""
    return bool(problem.remedy) or "needs '" in problem.summary or "say which" in problem.summary


def groups(kind: Kind) -> Iterator[Group]:
    """A group for each field, which is named where groups say why they cannot be had."""
    active = kind in (Kind.POOL, Kind.VOLUME)
    for group in TABLES[kind]:
        if group.name in ONLY_ONE:
            continue
        edits = tuple(_of_its_own(edit) for edit in group.edits)
        for number, path in enumerate(places(group)):
            if not is_member(kind, path):
                name = f"{number}-{group.name}"
                yield Group(name, group.spec, edits, active, not active, " ".join(path))


def _of_its_own(edit: Edit) -> Edit:
    """The same edit, of a block device that no other object has."""
    text = json.dumps([edit.before, edit.after])
    before, after = json.loads(re.sub("/dev/kvmplan-|rbd:pool/", r"\g<0>$own-", text))
    return edit if isinstance(edit.after, Default) else Edit(edit.path, before, after)


@pytest.fixture(scope="module", params=list(TABLES), ids=str)
def alone(
    private_host: PrivateHost,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Iterator[Alone]:
    directory, kind = tmp_path_factory.mktemp("alone"), request.param
    with (
        contextlib.ExitStack() as around,
        field_stack(directory, private_host) as made,
        connection(private_host) as conn,
    ):
        key = "$tag/$name" if kind is Kind.VOLUME else "$tag-$name"
        bench = Alone(made, conn, kind, tuple(groups(kind)), key=key)
        match kind:
            case Kind.NETWORK:
                around.enter_context(test_fields_network.surroundings(private_host))
            case Kind.DOMAIN:
                around.enter_context(test_fields_domain.surroundings(bench, private_host))
            case Kind.VOLUME:
                bench.others |= test_fields_storage.surroundings(made)
        bench.turn_each(None)
        made.apply()
        yield bench


def test_a_line_that_is_gone_is_told_once(alone: Alone) -> None:
    alone.turn_each("gone")
    refused = alone.refused()
    assert not [it for found in refused.values() for it in found if not says_what_to_do(it)]
    alone.turn_each("gone", refused)
    told = {it["name"] for it in alone.plan()["released"]}
    assert told, "nothing was released"
    alone.stack.apply()
    assert alone.left() == []


def test_a_default_is_refused_or_reached(alone: Alone) -> None:
    alone.turn_each(None)
    alone.stack.apply()
    alone.stack.in_sync()
    alone.turn_each(Default())
    refused = alone.refused()
    assert not [it for found in refused.values() for it in found if not says_what_to_do(it)]
    assert len(refused) < len(alone.subjects) / 2
    alone.turn_each(Default(), refused)
    alone.stack.apply()
    assert alone.left() == []
