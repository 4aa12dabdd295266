"""Update strategies: how a field's change reaches its object, and whom it disturbs.

A strategy leads from a `Situation` to an `Effect`, so it can depend on values and on the host. It
speaks of *active* objects; on an inactive one every change is written to its definition.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kvmplan.mapping.impact import Impact


@dataclass(frozen=True, slots=True)
class Situation:
    """What a strategy may look at.

    Attributes:
        path: the field, below its resource.
        before: the persistent value; None if there is none.
        after: the wanted value; None if it goes.
        persistent: the persistent fields of the resource, as far as they are declared.
        running: the running fields, with the same shape; None if nothing runs.
        desired: the wanted fields of the resource.
        facts: what the host offers; the kind's strategies know its type.
        document: the running document, for what no field tells: who else uses the object.
    """

    path: tuple[str, ...]
    before: Any
    after: Any
    persistent: Mapping[str, Any] = field(default_factory=dict)
    running: Mapping[str, Any] | None = None
    desired: Mapping[str, Any] = field(default_factory=dict)
    facts: Any = None
    document: str | None = None

    def at(self, tree: Mapping[str, Any] | None, *path: str) -> Any:
        """The value at `path` in a tree of fields; None if it is not there."""
        node: Any = tree
        for name in path:
            node = node.get(name) if isinstance(node, Mapping) else None
        return node


@dataclass(frozen=True, slots=True)
class Effect:
    """What a change does.

    Attributes:
        verb: the name of the live verb; None: the change is written by a redefine.
        fallback: what it becomes when the host says it cannot be live.
        reason: why it is not live, in words, for the reviewer.
        noted: the change is not carried out but told to the reviewer (birth fields).
        arguments: what the verb needs beside the field itself.
    """

    impact: Impact
    verb: str | None = None
    fallback: Impact | None = None
    reason: str = ""
    noted: bool = False
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Strategy:
    """A function from a `Situation` to an `Effect`, and what it says in words.

    Attributes:
        describe: for the reference page: ``live, else next-boot``.
    """

    decide: Callable[[Situation], Effect]
    describe: str

    def __call__(self, situation: Situation) -> Effect:
        """Decide."""
        return self.decide(situation)


def live(verb: str, *, fallback: Impact | None = Impact.NEXT_BOOT, **arguments: Any) -> Strategy:
    """Changed on the running object by `verb`; written for the next boot where that is refused."""
    effect = Effect(Impact.LIVE, verb, fallback, arguments=arguments)
    return Strategy(lambda _: effect, f"live, else {fallback}" if fallback else "live")


def next_boot(reason: str = "") -> Strategy:
    """Written to the persistent definition; the running object gets it at its next start."""
    return _fixed(Effect(Impact.NEXT_BOOT, reason=reason))


def born() -> Strategy:
    """A fact of birth: editing it is noted, and only a requested replacement acts."""
    effect = Effect(Impact.NONE, noted=True)
    return Strategy(lambda _: effect, "born with it: an edit is noted, `--replace` acts")


def data_loss(reason: str) -> Strategy:
    """Bytes that a guest wrote can be lost."""
    return _fixed(Effect(Impact.DATA_LOSS, reason=reason))


def when(test: Callable[[Situation], bool], then: Strategy, otherwise: Strategy) -> Strategy:
    """One strategy or another, by values or by the host's facts; the reasons tell them apart."""
    return Strategy(
        lambda situation: (then if test(situation) else otherwise)(situation),
        f"{then.describe}; or {otherwise.describe}",
    )


def plugged(situation: Situation) -> bool:
    """Whether the running object has the member that a path leads to.

    It may have it while the persistent definition does not: someone took it out for the next boot.
    """
    return situation.at(situation.running, *situation.path) is not None


def unplugged(situation: Situation) -> bool:
    """Whether something runs that does not have the member any more."""
    return situation.running is not None and not plugged(situation)


def _fixed(effect: Effect) -> Strategy:
    reason = f" ({effect.reason})" if effect.reason else ""
    return Strategy(lambda _: effect, f"{effect.impact}{reason}")
