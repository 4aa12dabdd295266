"""Verdicts: what happens to each resource, and why, before its steps are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kvmplan.address import Address
from kvmplan.diff import put
from kvmplan.inventory import FORGOTTEN, Record
from kvmplan.plan.change import Action, FieldChange, Path, Reason, Tree
from kvmplan.plan.fields import NOTHING, Compared
from kvmplan.plan.intent import Intent

LEFT_ALONE = frozenset({Reason.HELD, Reason.HELD_BACK, Reason.BLOCKED})
"""Why an object stays as it is, whatever the specs say."""


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
    def protect(self) -> bool | None:
        """What an apply is to note of `prevent_destroy` in the claim; None: that is noted already.

        It is noted of whatever is ours and stays. It is taken back only from what this plan is
        about: not from what is held, nor from what its targets leave out.
        """
        claim = self.intent.claim if self.intent is not None else None
        if self.intent is None or claim is None or claim.phase == FORGOTTEN:
            return None
        unseen = self.intent.record is None
        if self.action not in (Action.NOOP, Action.UPDATE) or not (self.intent.ours or unseen):
            return None
        wanted = self.intent.resource.lifecycle.prevent_destroy
        left_alone = self.reason in (Reason.HELD, Reason.HELD_BACK)
        return None if wanted == claim.protect or (left_alone and not wanted) else wanted

    @property
    def prospect(self) -> Tree:
        """What becomes of it: beside what is changed all stays, what no spec lists included."""
        if self.intent is None:
            return {}
        if self.intent.live is None or self.action in (Action.CREATE, Action.REPLACE):
            return {} if self.reason in LEFT_ALONE else self.intent.tree
        tree = {**self.intent.live, "xml": self.intent.tree.get("xml")}
        for change in self.compared.changes:
            if not change.only_running:
                tree = put(tree, change.path, change.after)
        return _there(tree)

    @property
    def released(self) -> tuple[Path, ...] | None:
        """What an apply is to note of fields that have left the specs; None: nothing new.

        A change of the object notes it by itself, with what was applied.
        """
        claim = self.intent.claim if self.intent is not None else None
        if self.intent is None or claim is None or not self.intent.ours:
            return None
        if self.action is not Action.NOOP or self.reason is not Reason.NONE:
            return None
        return None if self.intent.gone == claim.released else self.intent.gone

    @property
    def is_in_sync(self) -> bool:
        """Whether there is nothing to do and nothing to say."""
        return (
            self.action is Action.NOOP
            and self.reason is Reason.NONE
            and not any((self.compared.changes, self.compared.notes, self.compared.unlisted))
            and self.protect is None
            and self.released is None
        )


def _there(tree: Tree) -> Tree:
    """A tree without what is not there."""
    return {
        name: _there(value) if isinstance(value, Mapping) else value
        for name, value in tree.items()
        if value is not None
    }
