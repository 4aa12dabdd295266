"""Events: what an apply tells its views. A closed union; views end with `assert_never`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from kvmplan.address import Address
from kvmplan.apply.port import ConsoleTail
from kvmplan.apply.transfers import Transfer
from kvmplan.diagnostics import Diagnostic
from kvmplan.mapping.impact import Impact
from kvmplan.plan.change import Action, Change, LeftOut, Plan, Step


class Outcome(StrEnum):
    """How it ended for a resource."""

    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class ApplyStarted:
    """The plan's execution begins."""

    plan: Plan


@dataclass(frozen=True, slots=True)
class ChangeStarted:
    """The first step of a resource begins."""

    change: Change


@dataclass(frozen=True, slots=True)
class StepStarted:
    """A step begins. One that waits for a guest begins once, however often it is looked at."""

    step: Step


@dataclass(frozen=True, slots=True)
class StepFinished:
    """A step is done; `fell_back` names the impact it had instead of the live one."""

    step: Step
    seconds: float
    fell_back: Impact | None = None


@dataclass(frozen=True, slots=True)
class ChangeFinished:
    """A resource is done and found as wanted. `notes`: what waits for a restart or the guest."""

    change: Change
    seconds: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ChangeFailed:
    """A step of a resource failed; the rest of its steps is not tried."""

    change: Change
    diagnostic: Diagnostic
    seconds: float


@dataclass(frozen=True, slots=True)
class ChangeSkipped:
    """A resource was not attempted, or left out of a saved plan before."""

    change: Change | LeftOut
    because: Address | str


@dataclass(frozen=True, slots=True)
class Progress:
    """What waits longest and for what: a heartbeat in 30 seconds, and when a busy one is met.

    Of every transfer one in a few seconds; `done` and `total` count resources all the same.
    """

    address: Address
    seconds: float
    waiting: str
    done: int
    total: int
    transfer: Transfer | None = None


@dataclass(frozen=True, slots=True)
class GuestNotReady:
    """A guest was started and is not what it is waited for; what depends on it is left out."""

    change: Change
    step: Step
    diagnostic: Diagnostic
    console: ConsoleTail


@dataclass(frozen=True, slots=True)
class Warned:
    """Something is not as it should be, and stops nothing."""

    diagnostic: Diagnostic


@dataclass(frozen=True, slots=True)
class ApplyFinished:
    """All is over. Counts are of resources; `outcomes` names every acting address.

    `run`: the id under which the journal has what was there before; ``""`` if it has nothing.
    `unready`: the guests that were not what they were waited for.
    """

    added: int
    changed: int
    destroyed: int
    outcomes: tuple[tuple[Address, Action, Outcome, str], ...]
    run: str = ""
    unready: tuple[Address, ...] = ()

    @classmethod
    def of(
        cls,
        plan: Plan,
        outcomes: Mapping[Address, tuple[Outcome, str]],
        run: str = "",
        unready: Iterable[Address] = (),
    ) -> ApplyFinished:
        """The end of a plan, from what became of each acting resource and why.

        What was left out of a saved plan counts as skipped.
        """
        rows: list[tuple[Address, Action, Outcome, str]] = []
        done: dict[Action, int] = dict.fromkeys(Action, 0)
        for change in plan.acting:
            outcome, why = outcomes[change.address]
            rows.append((change.address, change.action, outcome, why))
            done[change.action] += outcome is Outcome.DONE
        rows += [(it.address, it.action, Outcome.SKIPPED, it.why) for it in plan.left_out]
        replaced = done[Action.REPLACE]
        return cls(
            added=done[Action.CREATE] + replaced,
            changed=done[Action.UPDATE],
            destroyed=done[Action.DELETE] + replaced,
            outcomes=tuple(rows),
            run=run,
            unready=tuple(sorted(unready)),
        )

    @property
    def failed(self) -> int:
        """How many resources failed."""
        return sum(1 for _, _, outcome, _ in self.outcomes if outcome is Outcome.FAILED)

    @property
    def skipped(self) -> int:
        """How many resources were skipped."""
        return sum(1 for _, _, outcome, _ in self.outcomes if outcome is Outcome.SKIPPED)


Event = (
    ApplyStarted
    | ChangeStarted
    | StepStarted
    | StepFinished
    | ChangeFinished
    | ChangeFailed
    | ChangeSkipped
    | Progress
    | GuestNotReady
    | Warned
    | ApplyFinished
)
