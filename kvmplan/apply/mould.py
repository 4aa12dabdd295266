"""Moulds: the documents of a thousand new domains that differ in names only are made once.

A domain is made with stand-ins in the place of its `Free` texts; where they come out is where those
of the next domains go. A stand-in that something looks into, or that comes out where a schema would
mind the difference, makes no mould; nor does one that does not give the first domain's document as
it was made on the usual way. Whatever a mould is not sure of takes that way, too.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from kvmplan.apply.likeness import Filling
from kvmplan.apply.schema import interchangeable
from kvmplan.kinds.context import VolumeFacts
from kvmplan.mapping.markers import Items, Overlay
from kvmplan.mapping.model import Binding, Mapped, bindings, key_of

Tree = Mapping[str, Any]
Lookup = Callable[[str], VolumeFacts | None]

PLAIN = re.compile(r"[A-Za-z0-9_.:,;=@/+()-]+(?: +[A-Za-z0-9_.:,;=@/+()-]+)*")
"""Texts that stand in XML and in the mark's JSON as they are."""
MAC = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")
UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
ANYTHING = r"[^<]*"
WORTH_IT = 3
"""Documents of one cast that are made on the usual way before a mould is: it costs as two."""
MOST = 1000
"""Casts that are counted at once."""
MOST_TEXTS = 256
"""In one document: what a stand-in's number has room for."""
_VALUES = frozenset({str, int, float, bool, type(None)})


class LookedInto(Exception):
    """What is made depends on a text that was taken to be free."""


def _look(*_: Any, **__: Any) -> NoReturn:
    raise LookedInto


class StandIn(str):
    """A text that may be written and nothing else: not compared, not searched, not taken apart."""

    def __eq__(self, other: object) -> bool:
        # It is never empty, and what is written is compared with that.
        if other is self or other is None or (type(other) is str and not other):
            return other is self
        raise LookedInto

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __bool__(self) -> bool:
        return True


_ALLOWED = frozenset(
    {"__class__", "__new__", "__init__", "__init_subclass__", "__subclasshook__", "__str__"}
    | {"__getattribute__", "__setattr__", "__delattr__", "__dir__", "__doc__", "__eq__", "__ne__"}
)
for _name in vars(str):
    if _name not in _ALLOWED:
        setattr(StandIn, _name, _look)


class Unfit(Exception):
    """No mould can be made: the usual way is taken."""


@dataclass(frozen=True, slots=True)
class Cast:
    """What a mould is for, and what one document is filled with.

    Attributes:
        outline: all that is wanted but for the texts that are free; hashable.
        texts: those, in order: name, uuid, and the free ones of the tree.
    """

    outline: Any
    texts: tuple[str, ...]


def cast_of(model: type[Mapped], trees: Iterable[Tree], name: str, uuid: str) -> Cast:
    """The cast of a new object.

    Args:
        model: of its kind.
        trees: all that its document is made from; the same value at the same place of each.
        name: its name.
        uuid: its uuid.

    Raises:
        Unfit: there is something in it that no mould is made for.
    """
    texts = [name, uuid]
    if not PLAIN.fullmatch(name):
        raise Unfit
    outline = tuple(_outline(model, tree, texts) for tree in trees)
    return Cast(outline, tuple(texts))


def _outline(model: type[Mapped], tree: Tree, texts: list[str]) -> Any:
    known, parts = bindings(model), list[Any]()
    for name, value in tree.items():
        kind = type(value)
        parts.append(name)
        if kind is str:
            if known[name].free and PLAIN.fullmatch(value):
                texts.append(value)
                value = None, name
            elif isinstance(known[name].place, Overlay):
                raise Unfit
        elif kind in _VALUES:
            # True equals 1, and is another value.
            value = kind, value
        elif kind is tuple and all(type(part) in _VALUES for part in value):
            value = tuple((type(part), part) for part in value)
        else:
            value = _inner(known[name], value, texts)
        parts.append(value)
    return tuple(parts)


def _inner(binding: Binding, value: Any, texts: list[str]) -> Any:
    if not isinstance(value, Mapping):
        raise Unfit
    if binding.item is None:
        if not all(type(part) is str for part in value.values()):
            raise Unfit
        return tuple(value.items())
    if not isinstance(binding.place, Items):
        return _outline(binding.item, value, texts)
    parts = list[Any]()
    for key, item in value.items():
        if not isinstance(item, Mapping):
            raise Unfit
        parts += (key, _outline(binding.item, item, texts))
    if binding.place.named:
        parts.append(_order(binding.place, value))
    return tuple(parts)


def _order(place: Items, members: Tree) -> tuple[str, ...]:
    """The members in the order of their natural keys, in which the mark names them."""
    natural = {key_of(place, item) or "": key for key, item in members.items()}
    if len(natural) < len(members) or "" in natural:
        raise Unfit
    return tuple(natural[key] for key in sorted(natural))


@dataclass(slots=True)
class Stage:
    """What a document is made of once, to see where its free texts come out.

    Attributes:
        trees: as they were cast, with stand-ins.
        volume: looks volumes up by their stand-ins, and notes that.
        paths: for each text whose volume was asked for, the facts and the stand-in of its path.
    """

    name: StandIn
    uuid: StandIn
    trees: tuple[dict[str, Any], ...]
    stand_ins: list[StandIn]
    texts: tuple[str, ...]
    look_up: Lookup
    paths: dict[int, tuple[VolumeFacts, StandIn]] = field(default_factory=dict)

    def volume(self, name: str) -> VolumeFacts | None:
        """The facts of a volume, its path a stand-in. Raises Unfit."""
        place = next((n for n, it in enumerate(self.stand_ins) if it is name), None)
        if place is None:
            raise Unfit
        facts = self.look_up(self.texts[place])
        if facts is None or not PLAIN.fullmatch(facts.path):
            raise Unfit
        if place not in self.paths:
            self.paths[place] = facts, _stand_in(facts.path)
        return VolumeFacts(facts.type, self.paths[place][1], facts.format)


def _stand_in(text: str, number: int = 0) -> StandIn:
    """A text of the same pattern that occurs nowhere else; of a higher number, a later one."""
    token = f"{secrets.randbits(48):012x}"
    if UUID.fullmatch(text):
        return StandIn(f"{number:08x}-{token[:4]}-{token[4:8]}-{token[8:]}-{secrets.token_hex(6)}")
    if MAC.fullmatch(text):
        pairs = f"{number:02x}{token[:8]}"
        return StandIn(":".join(["02", *(pairs[at : at + 2] for at in range(0, 10, 2))]))
    return StandIn(f"{'/' if text.startswith('/') else ''}k{token}{secrets.token_hex(6)}")


def _stand_ins(texts: Sequence[str]) -> list[StandIn]:
    """Stand-ins in the order of the texts that they stand for."""
    if len(texts) > MOST_TEXTS:
        raise Unfit
    made: dict[int, StandIn] = {}
    for number, place in enumerate(sorted(range(len(texts)), key=texts.__getitem__)):
        made[place] = _stand_in(texts[place], number)
    return [made[place] for place in range(len(texts))]


def _staged(model: type[Mapped], tree: Tree, left: list[StandIn]) -> dict[str, Any]:
    """The tree with stand-ins, taken from `left` in the order in which `_outline` gives texts."""
    known, made = bindings(model), dict[str, Any]()
    for name, value in tree.items():
        binding = known[name]
        if binding.free and type(value) is str and PLAIN.fullmatch(value):
            made[name] = left.pop(0)
        elif binding.item is None or not isinstance(value, Mapping):
            made[name] = value
        elif isinstance(binding.place, Items):
            made[name] = {key: _staged(binding.item, it, left) for key, it in value.items()}
        else:
            made[name] = _staged(binding.item, value, left)
    return made


@dataclass(frozen=True, slots=True)
class Mould:
    """A document with gaps.

    Attributes:
        pieces: the text between the gaps, one more than these.
        gaps: for each gap, the place of its text among the texts, and the paths behind those.
        patterns: by that place, what a text there must match, or no schema was asked about it.
        token: stands for it, and for no other.
    """

    pieces: tuple[str, ...]
    gaps: tuple[int, ...]
    patterns: Mapping[int, tuple[re.Pattern[str], ...]]
    token: object = field(default_factory=object)

    def filled(self, texts: Sequence[str]) -> str | None:
        """The document with these texts; None if one of them is not of its pattern."""
        for place, patterns in self.patterns.items():
            for pattern in patterns:
                if not pattern.fullmatch(texts[place]):
                    return None
        parts = [""] * (2 * len(self.gaps) + 1)
        parts[::2] = self.pieces
        parts[1::2] = [texts[place] for place in self.gaps]
        return "".join(parts)


def make_mould(document: str, stand_ins: Sequence[str]) -> Mould:
    """A mould from a document with stand-ins.

    Raises:
        Unfit: one of them stands where a schema would mind another text.
    """
    find = re.compile("|".join(map(re.escape, map(str.__str__, stand_ins))))
    places = {str.__str__(text): place for place, text in enumerate(stand_ins)}
    patterns: dict[int, set[str]] = {}
    seen = 0
    for value, pattern in interchangeable(document):
        found = find.findall(value)
        seen += len(found)
        if found and pattern == ANYTHING:
            continue
        if found and found != [value]:
            raise Unfit
        for text in found:
            patterns.setdefault(places[text], set()).add(pattern)
    gaps = find.findall(document)
    if seen != len(gaps):
        raise Unfit
    compiled = {place: tuple(map(re.compile, each)) for place, each in patterns.items()}
    return Mould(tuple(find.split(document)), tuple(places[text] for text in gaps), compiled)


@dataclass(slots=True)
class _Known:
    """What is known of one outline.

    Attributes:
        seen: how many documents of it were made on the usual way.
        is_unfit: whether no mould can be made.
        asked: places of texts whose volumes are looked up.
        moulds: by the types and formats of those volumes.
    """

    seen: int = 0
    is_unfit: bool = False
    asked: tuple[int, ...] | None = None
    moulds: dict[Any, Mould] = field(default_factory=dict)


class Moulds:
    """The moulds of one host's run. Any thread may call any method: at worst one is made twice."""

    def __init__(self) -> None:
        self._known: dict[Any, _Known] = {}

    def filled(self, cast: Cast, look_up: Lookup) -> tuple[str, Filling] | None:
        """The document of a new object; None if there is no mould for it."""
        known = self._known.get(cast.outline)
        if known is None or known.asked is None:
            return None
        volumes = [cast.texts[place] for place in known.asked]
        facts = [look_up(name) for name in volumes]
        mould = known.moulds.get(_kinds(facts))
        if mould is None:
            return None
        paths = tuple(it.path for it in facts if it is not None)
        if not all(map(PLAIN.fullmatch, paths)):
            return None
        texts = (*cast.texts, *paths)
        document = mould.filled(texts)
        if document is None:
            return None
        return document, Filling(mould.token, texts, tuple(zip(volumes, paths, strict=True)))

    def learn(
        self,
        cast: Cast,
        document: str,
        model: type[Mapped],
        trees: Iterable[Tree],
        make: Callable[[Stage], str],
        look_up: Lookup,
    ) -> None:
        """Learn from a document that was made on the usual way, and is valid.

        Args:
            cast: of what it was made.
            document: itself.
            model: of its kind.
            trees: as they were cast.
            make: makes a document of stand-ins.
            look_up: looks volumes up.
        """
        if len(self._known) >= MOST and cast.outline not in self._known:
            self._known.clear()
        known = self._known.setdefault(cast.outline, _Known())
        known.seen += 1
        if known.seen % WORTH_IT or known.is_unfit:
            return
        try:
            _add(known, cast, document, _stage(cast, model, trees, look_up), make)
        except Exception:
            # Whatever goes wrong with stand-ins, the domain's own document is made and well.
            known.is_unfit = True


def _stage(cast: Cast, model: type[Mapped], trees: Iterable[Tree], look_up: Lookup) -> Stage:
    stand_ins = _stand_ins(cast.texts)
    left = stand_ins[2:]
    staged = tuple(_staged(model, tree, left) for tree in trees)
    return Stage(stand_ins[0], stand_ins[1], staged, stand_ins, cast.texts, look_up)


def _add(
    known: _Known, cast: Cast, document: str, stage: Stage, make: Callable[[Stage], str]
) -> None:
    """Add the mould that the stage makes. Raises Unfit, LookedInto."""
    made = make(stage)
    asked = tuple(sorted(stage.paths))
    behind = [stage.paths[place] for place in asked]
    kinds = _kinds(facts for facts, _ in behind)
    if kinds in known.moulds:
        return
    mould = make_mould(made, [*stage.stand_ins, *(path for _, path in behind)])
    filled = mould.filled((*cast.texts, *(facts.path for facts, _ in behind)))
    if filled != document or known.asked not in (None, asked):
        raise Unfit
    known.moulds[kinds] = mould
    known.asked = asked


def _kinds(facts: Iterable[VolumeFacts | None]) -> Any:
    return tuple(None if it is None else (it.type, it.format) for it in facts)
