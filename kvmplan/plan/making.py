"""Changes: a verdict on an object becomes its steps, its impact, and what is told of both."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kvmplan.address import Address, Kind
from kvmplan.inventory import Inventory, Record
from kvmplan.kinds.mark import applied_fields
from kvmplan.kinds.models import MODELS
from kvmplan.kinds.verbs import Verb
from kvmplan.mapping.document import digest
from kvmplan.mapping.impact import Impact, worst
from kvmplan.mapping.model import secret_paths
from kvmplan.plan import steps
from kvmplan.plan.change import (
    Action,
    Change,
    FieldChange,
    Path,
    Precondition,
    Reason,
    Tree,
)
from kvmplan.plan.found import as_it_runs, whole_tree
from kvmplan.plan.losses import written
from kvmplan.plan.options import PlanOptions
from kvmplan.plan.origin import is_seed
from kvmplan.plan.outages import Outages
from kvmplan.plan.readiness import ejection_notes, wait_notes, waits_after, with_ejection
from kvmplan.plan.references import wanted
from kvmplan.plan.restarts import restart_notes
from kvmplan.plan.steps import Draft
from kvmplan.plan.users import Users, running_disk
from kvmplan.plan.verdict import Verdict
from kvmplan.spec.desired import Desired


class Changes:
    """Makes the changes of one plan."""

    def __init__(
        self,
        desired: Desired,
        inventories: Mapping[str, Inventory],
        skeleton: Callable[..., Any],
        options: PlanOptions,
        users: Mapping[str, Users],
        moment: str,
    ) -> None:
        """Begin.

        Args:
            desired: the specs.
            inventories: the hosts.
            skeleton: makes what documents and devices are born from.
            options: what is asked of the plan.
            users: who uses what, of every host that something changes on.
            moment: when the plan is made, ISO 8601, UTC.
        """
        self._desired, self._inventories, self._skeleton = desired, inventories, skeleton
        self._options, self._users = options, users
        self._outages = Outages(inventories, users, moment)

    def change(self, draft: Verdict) -> Change:
        """What becomes of an object: its impact, its steps, and what is to be told of them."""
        intent, address = draft.intent, draft.address
        fields = draft.compared.changes
        drafts = list(self._steps(draft))
        # A pool that is formatted at its birth is more than created; so are guests plugged in.
        also = [step.impact for step in drafts if step.verb in (Verb.BUILD, Verb.RECONNECT)]
        drafts += waits_after(drafts, intent)
        drafts = with_ejection(drafts, intent, due=draft.ejects)
        resource = self._desired.resources.get(address)
        before, secrets = self._before(draft, fields)
        return Change(
            address=address,
            action=draft.action,
            reason=draft.reason,
            fields=fields,
            impact=worst([self._impact(draft, fields), *also]),
            before=before,
            after=intent.tree if intent and draft.action is not Action.DELETE else None,
            sensitive=secrets,
            depends_on=wanted(resource) if resource and draft.action is not Action.DELETE else (),
            steps=tuple(step.unnumbered() for step in drafts),
            precondition=self._precondition(draft),
            source=resource.place if resource else None,
            notes=(
                *draft.compared.notes,
                *_protection_notes(draft.protect),
                *self._notes(draft),
                *wait_notes(drafts),
                *ejection_notes(drafts),
            ),
            pending=draft.pending,
            previous=self._former(draft),
            protect=draft.protect,
            released=draft.released,
        )

    def _before(
        self, draft: Verdict, fields: Iterable[FieldChange]
    ) -> tuple[Tree | None, tuple[Path, ...]]:
        """What is there, and the paths of what is secret there or shall be."""
        if draft.intent is not None:
            secrets = secret_paths(draft.intent.model, draft.intent.tree)
            return as_it_runs(draft.intent.live, fields), secrets
        if draft.record is None:
            return None, ()
        inventory = self._inventories[draft.address.host]
        tree = whole_tree(draft.record, inventory, self._skeleton)
        return tree, secret_paths(MODELS[draft.address.kind], tree)

    def _steps(self, draft: Verdict) -> Iterable[Draft]:
        intent, address, record = draft.intent, draft.address, draft.record
        match draft.action:
            case Action.CREATE if intent is not None:
                return [*steps.creation(intent), *self._outages.steps(draft)]
            case Action.DELETE if record is not None:
                return self._deletion(draft, record)
            case Action.REPLACE if intent is not None and record is not None:
                gone = self._deletion(draft, record)
                return [*gone, *steps.creation(intent)]
            case Action.UPDATE if intent is not None:
                disk = (
                    running_disk(self._users[address.host], address)
                    if address.kind is Kind.VOLUME
                    else None
                )
                made = list(steps.update(intent, draft.compared.changes, disk))
                defines = any(step.verb is Verb.DEFINE for step in made)
                if self._former(draft) is not None:
                    made.insert(0, steps.rename(intent))
                marked = address.kind in (Kind.DOMAIN, Kind.NETWORK)
                if draft.reason is Reason.ADOPT and marked and not defines:
                    made.append(steps.mark_step(intent))
                if address.kind is Kind.NETWORK:
                    return [*made, *self._outages.steps(draft)]
                return [*made, *steps.restart(intent)] if draft.restart else made
            case _:
                return []

    def _deletion(self, draft: Verdict, record: Record) -> Iterable[Draft]:
        if self._is_seed(draft):
            return [Draft(Verb.DELETE_VOLUME, draft.address, impact=Impact.DELETE)]
        keep = not self._options.allows_data_loss(draft.address)
        deleted = draft.action is Action.DELETE
        return steps.deletion(
            draft.intent,
            draft.address,
            active=record.active,
            keep_state=keep,
            impact=self._impact(draft, ()) if deleted else Impact.DELETE,
        )

    def _is_seed(self, draft: Verdict) -> bool:
        """Whether a volume was made here, and no guest ever writes to it."""
        claim = self._inventories[draft.address.host].claim(draft.address)
        return claim is not None and is_seed(claim.born)

    def _impact(self, draft: Verdict, fields: Iterable[FieldChange]) -> Impact:
        volume = draft.address.kind is Kind.VOLUME and not self._is_seed(draft)
        match draft.action:
            case Action.CREATE:
                return Impact.CREATE
            case Action.DELETE:
                lost = volume or self._loses_state(draft) or any(written(draft))
                return Impact.DATA_LOSS if lost else Impact.DELETE
            case Action.REPLACE:
                lost = volume and draft.reason is not Reason.TORN
                lost = lost or self._loses_state(draft) or any(written(draft))
                return Impact.DATA_LOSS if lost else Impact.REPLACE
            case _:
                whole = [Impact.RESTART] if draft.restart else []
                whole += [Impact.LIVE] if draft.ejects else []
                whole += [Impact.NEXT_BOOT] if self._former(draft) is not None else []
                return worst([*whole, *(field.impact for field in fields)])

    def _former(self, draft: Verdict) -> Address | None:
        """The address that a domain has until this plan renames it."""
        former = self._inventories[draft.address.host].former.get(draft.address)
        return former if draft.action is Action.UPDATE else None

    def _loses_state(self, draft: Verdict) -> bool:
        """Whether NVRAM or TPM state goes with a domain: only when its own word was given."""
        return (
            draft.address.kind is Kind.DOMAIN
            and draft.record is not None
            and self._options.allows_data_loss(draft.address)
            and _has_state(draft.record)
        )

    def _notes(self, draft: Verdict) -> list[str]:
        record, address = draft.record, draft.address
        if draft.action in (Action.CREATE, Action.UPDATE) and draft.intent is not None:
            return [*restart_notes(draft), *self._outages.notes(draft)]
        if record is None or draft.action not in (Action.DELETE, Action.REPLACE):
            return []
        notes = []
        if address.kind is Kind.DOMAIN:
            if record.active:
                notes.append(
                    "the guest is asked to shut down, then powered off after its shutdown_timeout"
                )
            if self._loses_state(draft):
                notes.append("its NVRAM and TPM state are removed")
            elif _has_state(record):
                notes.append(
                    f"NVRAM and TPM state stay; --allow-data-loss {address.short} removes them"
                )
        if address.kind is Kind.POOL:
            notes.append("its directory and files stay")
        return [*notes, *written(draft)]

    def _precondition(self, draft: Verdict) -> Precondition:
        record, intent = draft.record, draft.intent
        if record is None:
            return Precondition(exists=False)
        if draft.action is Action.NOOP:
            return Precondition(True, record.key, record.active)
        values = applied_fields(intent.model, intent.live) if intent and intent.live else {}
        text = json.dumps(values, sort_keys=True, separators=(",", ":"))
        return Precondition(True, record.key, record.active, digest(text))


def _protection_notes(protect: bool | None) -> Iterable[str]:
    """What an apply notes on the host, although nothing of the object changes by it."""
    if protect is not None:
        yield (
            "apply notes its prevent_destroy, which then outlives its line in the specs"
            if protect
            else "apply takes its prevent_destroy back"
        )


def _has_state(record: Record) -> bool:
    """Whether a domain keeps bytes outside of its disks: UEFI variables, a TPM's state."""
    words = ("<nvram", "<tpm", "firmware='efi'", 'firmware="efi"')
    return any(word in record.document for word in words)
