"""Every declared field, tried on a real daemon: tables of edits, and one bench that runs them all.

A table has groups; a group is one object whose fields are edited together, from one valid value to
another. Whoever declares a field adds a line to a table, or says why it cannot be tried here:
`untold` fails the suite otherwise.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import libvirt
import yaml

from kvmplan.address import LOCAL, Address, Kind
from kvmplan.diff import at
from kvmplan.kinds import MODELS
from kvmplan.mapping.markers import Items
from kvmplan.mapping.model import Mapped, bindings, chain, declared
from kvmplan.spec import LoadOptions, load
from tests.integration.fields_by_hand import by_hand, handle_of, power_cycle
from tests.integration.support import Stack, Tree, _Dumper, subnet
from tests.privatehost import PrivateHost

SECTIONS = {
    Kind.NETWORK: "networks",
    Kind.POOL: "pools",
    Kind.VOLUME: "volumes",
    Kind.DOMAIN: "domains",
}
NOTED, SILENT = "noted", "silent"
"""Instead of an impact: a field of birth, whose edit is told; a policy, whose edit is nothing."""
TITLE = "Declared fields on a real libvirtd"
Place = tuple[str, ...]


class Default(str):
    """``!default`` in a spec."""


DEFAULT = "!default ''"
"""How PyYAML writes a tag without a value; kvmplan wants the tag alone."""
_Dumper.add_representer(Default, lambda dumper, _: dumper.represent_scalar("!default", ""))


class FieldStack(Stack):
    """A stack whose specs may say ``!default``."""

    def write(self) -> None:
        super().write()
        file = self.path / "stack.yaml"
        file.write_text(file.read_text().replace(DEFAULT, "!default"))


@contextlib.contextmanager
def field_stack(directory: Path, host: PrivateHost) -> Iterator[FieldStack]:
    """A stack that is destroyed at the end, whatever happened to it."""
    made = FieldStack(directory, host)
    try:
        yield made
    finally:
        made.destroy()


@dataclass(frozen=True, slots=True)
class Edit:
    """One field's way from a value to another.

    Attributes:
        path: the field, its steps apart by blanks; ``$own`` and the like are filled in.
        before, after: as a spec says it; None: its line is not there.
        impact: of the change on an active object, `NOTED` or `SILENT`.
        idle: of the change on an inactive one.
        drift: whether the old value, found on the host, is a drift of this very field.
        default, released: whether ``!default`` in its place, or no line, leaves a valid object.
        covers: the declared field that is tried, where the edit is of a whole member.
        waits: the path that a pending restart shows, where it is another, or where the change is
            live, and the guest does not let go of what it takes out.
    """

    path: str
    before: Any
    after: Any
    impact: str = "next-boot"
    idle: str = "next-boot"
    drift: bool = True
    default: bool = True
    released: bool = True
    covers: str = ""
    waits: str = ""

    @property
    def whole(self) -> bool:
        """Whether it is a whole member of a collection."""
        return isinstance(self.before, dict) or isinstance(self.after, dict)


@dataclass(frozen=True, slots=True)
class Group:
    """One object and its edits.

    Attributes:
        spec: what else it says.
        active, idle: whether it is tried while it runs, and while it does not.
        why: why one of them cannot be had here.
    """

    name: str
    spec: Tree
    edits: tuple[Edit, ...]
    active: bool = True
    idle: bool = True
    why: str = ""

    def names(self, model: type[Mapped]) -> dict[str, Edit]:
        """The declared fields that it tries, by name."""
        found: dict[str, Edit] = {}
        for edit in self.edits:
            name = edit.covers or " ".join(pattern(model, tuple(edit.path.split(" "))))
            if not name.endswith("*"):
                found.setdefault(name, edit)
        return found


@dataclass(frozen=True, slots=True)
class Subject:
    """A group's object on the host, active or not."""

    group: Group
    kind: Kind
    active: bool
    fills: Mapping[str, str]

    @property
    def name(self) -> str:
        """Its name."""
        return self.fills["own"]

    @property
    def address(self) -> Address:
        """Its address."""
        return Address(LOCAL, self.kind, self.name)

    @property
    def edits(self) -> Iterator[tuple[Place, Edit]]:
        """Every edit with its path."""
        for edit in self.group.edits:
            yield tuple(self.fill(edit.path).split(" ")), edit

    def fill(self, value: Any) -> Any:
        """A value of the table with this object's own names in it."""
        if isinstance(value, str) and not isinstance(value, Default) and "$" in value:
            for name, text in self.fills.items():
                value = value.replace(f"${name}", text)
            return value
        if isinstance(value, Mapping):
            return {self.fill(key): self.fill(item) for key, item in value.items()}
        return [self.fill(item) for item in value] if isinstance(value, list) else value

    def spec(self, side: str) -> Tree:
        """The object's spec: ``before``, ``after``, ``released`` or ``default``."""
        tree: Tree = self.fill(copy.deepcopy(self.group.spec))
        for path, edit in self.edits:
            match side:
                case "before" | "after":
                    value = edit.before if side == "before" else edit.after
                case "default" if edit.default:
                    value = Default()
                case "released" if edit.released and not edit.whole:
                    value = None
                    put(tree, path, "")
                case _:
                    value = edit.after
            put(tree, path, self.fill(value))
        return tree

    def impact(self, edit: Edit) -> str:
        """What the plan shall say of an edit."""
        return edit.impact if self.active or edit.impact in (NOTED, SILENT) else edit.idle


def put(tree: Tree, path: Place, value: Any) -> None:
    """Set a spec's value; None takes the line out."""
    *outer, last = path
    if value is None:
        above = at(tree, tuple(outer))
        if isinstance(above, dict):
            above.pop(last, None)
        return
    node = tree
    for name in outer:
        node = node.setdefault(name, {})
    node[last] = value


def leaves(model: type[Mapped], above: Place = ()) -> Iterator[Place]:
    """Every field of a model that holds a value, ``*`` for the keys of collections."""
    for name, binding in bindings(model).items():
        path = (*above, name, "*") if isinstance(binding.place, Items) else (*above, name)
        if binding.item is None:
            yield path
        else:
            yield from leaves(binding.item, path)


def pattern(model: type[Mapped], path: Place) -> Place:
    """The declared field of a path: its keys as ``*``."""
    found: list[str] = []
    for link in chain(model, path):
        found += [link.name, "*"] if isinstance(link.place, Items) else [link.name]
    return tuple(found)


IMPACTS = ("live", "next-boot", "restart", "replace", "data-loss", NOTED, SILENT)


def account(kind: Kind, groups: Iterable[Group], cannot: Mapping[str, str], folder: Path) -> None:
    """Fail for a field that no table speaks of; leave the counts for the session's summary."""
    model, groups = MODELS[kind], list(groups)
    known = {" ".join(path) for path in leaves(model)}
    running = _tried(model, (group for group in groups if group.active))
    stopped = _tried(model, (group for group in groups if group.idle))
    tried = stopped | running
    untold = sorted(known - tried.keys() - cannot.keys())
    assert not untold, f"no line in the table of {kind.value}: {untold}"
    stale = sorted((tried.keys() | cannot.keys()) - known) + sorted(tried.keys() & cannot.keys())
    assert not stale, f"lines that say nothing: {stale}"
    counts = Counter(
        running[name].impact if name in running else _idle(edit) for name, edit in tried.items()
    )
    assert not counts.keys() - set(IMPACTS), counts
    impacts = ", ".join(f"{counts[impact]} {impact}" for impact in IMPACTS)
    texts = [
        f"{kind.value}: {len(known)} declared, {len(tried)} tried, {len(running)} of them running, "
        f"{len(stopped)} stopped: {impacts}; {len(cannot)} skipped"
    ]
    texts += [f"{kind.value}: skipped: {name}: {why}" for name, why in sorted(cannot.items())]
    for group in groups:
        alone = sorted(group.names(model).keys() - (running if group.idle else stopped).keys())
        if group.why and alone:
            mode = "stopped" if group.idle else "running"
            texts.append(f"{kind.value}: only {mode}: {', '.join(alone)}: {group.why}")
    lines = [json.dumps({"title": TITLE, "text": text}) for text in texts]
    (folder / f"fields-{kind.value}.summary.json").write_text("\n".join(lines) + "\n")


def _tried(model: type[Mapped], groups: Iterable[Group]) -> dict[str, Edit]:
    found: dict[str, Edit] = {}
    for group in groups:
        found = group.names(model) | found
    return found


def _idle(edit: Edit) -> str:
    return edit.impact if edit.impact in (NOTED, SILENT) else edit.idle


@dataclass
class Bench:
    """All objects of a table on one host, in one stack.

    Attributes:
        others: what they refer to, by section.
    """

    stack: Stack
    conn: libvirt.virConnect
    kind: Kind
    groups: tuple[Group, ...]
    others: Tree = field(default_factory=dict)
    key: str = "$tag-$name-$mode"
    subjects: list[Subject] = field(init=False)
    trees: dict[str, dict[Address, Tree]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        modes = (True, False) if self.kind in (Kind.NETWORK, Kind.DOMAIN) else (True,)
        self.subjects = [
            self._subject(group, active)
            for group in self.groups
            for active in modes
            if (group.active if active else group.idle)
        ]

    def _subject(self, group: Group, active: bool) -> Subject:
        net = subnet()
        fills = {
            "tag": self.stack.tag,
            "dir": str(self.stack.directory),
            "net6": f"fd00:{net.split('.')[1]}:{net.split('.')[2]}:",
            "net": net,
            "mac": "52:54:00:{:02x}:{:02x}".format(*map(int, net.split(".")[1:])),
            "br": f"kf{net.split('.')[1]}n{net.split('.')[2]}",
        }
        own = self.key.replace("$name", group.name).replace("$mode", "on" if active else "off")
        fills = {"own": own.replace("$tag", fills["tag"]), **fills}
        return Subject(group, self.kind, active, fills)

    def turn(self, side: str) -> None:
        """Write the specs of a side, and remember what they want."""
        self.stack.specs = {"stack": self.stack.specs["stack"], **copy.deepcopy(self.others)}
        section = self.stack.specs.setdefault(SECTIONS[self.kind], {})
        for subject in self.subjects:
            section[subject.name] = {**self._runtime(subject), **subject.spec(side)}
        self.stack.write()
        options = LoadOptions(environ={**os.environ, **self.stack.env})
        desired, report = load(self.stack.path, options)
        assert desired is not None, [str(problem) for problem in report]
        self.trees[side] = {
            subject.address: declared(desired.resources[subject.address].model)
            for subject in self.subjects
        }

    def _runtime(self, subject: Subject) -> Tree:
        if self.kind is Kind.DOMAIN:
            return {"state": "running" if subject.active else "stopped"}
        return {"active": subject.active} if self.kind is Kind.NETWORK else {}

    def plan(self) -> dict[str, Any]:
        """The plan as JSON."""
        done = self.stack.run("plan", "--format", "json")
        assert done.code == 0, str(done)
        made: dict[str, Any] = json.loads(done.out)
        return made

    def check_change(self) -> None:
        """The plan shows exactly the edits, with their impacts; birth fields are noted."""
        made = self.plan()
        wrong = {}
        for subject in self.subjects:
            edits = list(subject.edits)
            wanted = {
                ".".join(path): subject.impact(edit)
                for path, edit in edits
                if subject.impact(edit) not in (NOTED, SILENT)
            }
            noted = {".".join(path) for path, edit in edits if edit.impact == NOTED}
            change = self._of(made, "resource_changes", subject)
            shown = {item["path"]: item["impact"] for item in change["change"]["fields"]}
            notes = {note.partition(": born from")[0] for note in change["notes"]}
            if (shown, notes) != (wanted, noted):
                wrong[subject.name] = {"shown": (shown, notes), "wanted": (wanted, noted)}
        assert not wrong, _differences(wrong)

    def check_pending(self) -> None:
        """What waits for a restart is exactly what was changed for the next boot."""
        made, wrong = self.plan(), {}
        for subject in self.subjects:
            wanted = {
                subject.fill(edit.waits) or ".".join(path)
                for path, edit in subject.edits
                if subject.active and (edit.impact == "next-boot" or edit.waits)
            }
            shown = self._waiting(made, subject)
            if shown != wanted:
                wrong[subject.name] = {"shown": shown, "wanted": wanted}
        assert not wrong, _differences(wrong)

    def check_nothing_pending(self) -> None:
        """After a restart nothing waits any more."""
        made = self.plan()
        waiting = {s.name: self._waiting(made, s) for s in self.subjects}
        assert not {name: fields for name, fields in waiting.items() if fields}, str(waiting)

    def _waiting(self, made: Tree, subject: Subject) -> set[str]:
        found = self._all_of(made, "pending_restart", subject)
        return {f["path"] for item in found if not item["waiting"] for f in item["fields"]}

    def check_drift(self) -> None:
        """The plan shows exactly what was changed by hand, as drift, with its impact."""
        made, wrong = self.plan(), {}
        for subject in self.subjects:
            told = {
                ".".join(path): "next-boot" if self._still_runs(edit) else subject.impact(edit)
                for path, edit in drifting(subject)
                if edit.impact != NOTED
            }
            secret = {
                ".".join(path)
                for path, _ in drifting(subject)
                if any(link.secret for link in chain(MODELS[self.kind], path))
            }
            fields = self._of(made, "resource_changes", subject)["change"]["fields"]
            shown = {item["path"]: item["impact"] for item in fields}
            drift = {item["path"] for item in fields if item["drift"]}
            if (shown, drift) != (told, told.keys() - secret):
                wrong[subject.name] = {"shown": (shown, drift), "wanted": (told, secret)}
        assert not wrong, _differences(wrong)

    def _still_runs(self, edit: Edit) -> bool:
        """Whether it is a device that only the persistent definition lacks."""
        return self.kind is Kind.DOMAIN and edit.whole

    def check_released(self) -> None:
        """Lines that are gone release their fields: nothing changes, and the plan says so."""
        self.stack.in_sync()
        made, wrong = self.plan(), {}
        for subject in self.subjects:
            shown = {item["path"] for item in self._all_of(made, "released", subject)}
            after = self.trees["after"][subject.address]
            left = self.trees["released"][subject.address]
            gone = {
                ".".join(path)
                for path, edit in subject.edits
                if not edit.whole and at(after, path) is not None and at(left, path) is None
            }
            covered = {p for p in gone if any(p == s or p.startswith(f"{s}.") for s in shown)}
            if covered != gone:
                wrong[subject.name] = {"shown": shown, "wanted": gone}
        assert not wrong, _differences(wrong)

    def undo(self) -> None:
        """Bring the old values back by hand, behind kvmplan's back."""
        for subject in self.subjects:
            before = self.trees["before"][subject.address]
            edits = [
                (path, at(before, path))
                for path, edit in drifting(subject)
                if self.kind is not Kind.VOLUME or edit.impact != NOTED
            ]
            edits += [
                (path, at(before, path))
                for path, edit in subject.edits
                if self.kind is not Kind.VOLUME
                and edit.impact == SILENT
                and at(before, path) is not None
            ]
            if edits:
                by_hand(self.conn, subject.address, edits, before)

    def restart(self) -> None:
        """Stop and start what runs."""
        for subject in (subject for subject in self.subjects if subject.active):
            power_cycle(handle_of(self.conn, subject.address))

    def _of(self, made: Tree, section: str, subject: Subject) -> Tree:
        (found,) = self._all_of(made, section, subject)
        return found

    @staticmethod
    def _all_of(made: Tree, section: str, subject: Subject) -> list[Tree]:
        kind, name = subject.kind.value, subject.name
        return [item for item in made[section] if (item["type"], item["name"]) == (kind, name)]


def drifting(subject: Subject) -> Iterator[tuple[Place, Edit]]:
    """The edits that can be undone by hand."""
    for path, edit in subject.edits:
        if edit.drift and edit.impact != SILENT and edit.after is not None:
            yield path, edit


def _differences(wrong: Mapping[str, Any]) -> str:
    return "\n" + yaml.dump({name: str(value) for name, value in wrong.items()}, width=1000)


class Life:
    """What every field of a kind goes through, in this order; a module's own class is a test."""

    def test_what_was_born_is_in_sync(self, bench: Bench) -> None:
        bench.stack.in_sync()
        bench.check_nothing_pending()

    def test_every_field_changes(self, bench: Bench) -> None:
        bench.turn("after")
        bench.check_change()
        bench.stack.apply()
        bench.stack.in_sync()
        bench.check_pending()

    def test_nothing_waits_after_a_restart(self, bench: Bench) -> None:
        bench.restart()
        bench.stack.in_sync()
        bench.check_nothing_pending()

    def test_every_field_drifts(self, bench: Bench) -> None:
        bench.undo()
        bench.check_drift()
        bench.stack.apply()
        bench.stack.in_sync()

    def test_every_field_is_released(self, bench: Bench) -> None:
        bench.turn("released")
        bench.check_released()

    def test_every_field_goes_back_to_its_birth(self, bench: Bench) -> None:
        bench.turn("default")
        bench.stack.apply()
        bench.stack.in_sync()
