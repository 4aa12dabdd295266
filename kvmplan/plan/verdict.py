"""Verdicts: what happens to each resource, and why, before its steps are made."""

from __future__ import annotations

from dataclasses import dataclass

from kvmplan.address import Address
from kvmplan.inventory import Record
from kvmplan.plan.change import Action, FieldChange, Reason
from kvmplan.plan.fields import NOTHING, Compared
from kvmplan.plan.intent import Intent


@dataclass(slots=True)
class Verdict:
    """What happens to one resource, and why.

    Attributes:
        compared: how it differs from what is wanted.
        restart: whether its guest goes down and up again in this run.
        otherwise: what happens to it without that.
        pending: what is defined already and reaches the guest by that.
        ejects: whether its running guest has a seed that it may be done with.
    """

    address: Address
    action: Action
    reason: Reason = Reason.NONE
    intent: Intent | None = None
    record: Record | None = None
    compared: Compared = NOTHING
    restart: bool = False
    otherwise: Action = Action.NOOP
    pending: tuple[FieldChange, ...] = ()
    ejects: bool = False

    @property
    def is_in_sync(self) -> bool:
        """Whether there is nothing to do and nothing to say."""
        return (
            self.action is Action.NOOP
            and self.reason is Reason.NONE
            and not any((self.compared.changes, self.compared.notes, self.compared.unlisted))
        )
