"""Networks and pools that are off, and nobody's: as their specs say, and no use to anybody.

That they are active is a standing default of what the stack owns. Of what it does not own that is
no difference, unless the spec writes it; but what the plan puts on them would fail half way.
"""

from __future__ import annotations

from collections.abc import Iterable

from kvmplan.address import Kind
from kvmplan.diagnostics import Diagnostics
from kvmplan.plan.change import Action, Reason
from kvmplan.plan.fields import Compared
from kvmplan.plan.intent import Intent
from kvmplan.plan.references import wanted
from kvmplan.plan.verdict import Verdict

LEFT_OFF = "it is off, and left so: this stack keeps active what it owns"


def is_only_off(intent: Intent, compared: Compared) -> bool:
    """Whether nothing differs but that it is off, which no spec has asked about."""
    paths = [change.path for change in compared.changes]
    return paths == [("active",)] and "active" not in intent.resource.model.model_fields_set


def check_idle(drafts: Iterable[Verdict], acting: Iterable[Verdict], found: Diagnostics) -> None:
    """KVP220 for what changes and needs a network or pool that is off and not the stack's."""
    off = {
        draft.address
        for draft in drafts
        if draft.address.kind in (Kind.NETWORK, Kind.POOL)
        and draft.reason is Reason.UNOWNED
        and draft.record is not None
        and not draft.record.active
    }
    for draft in acting if off else ():
        if draft.intent is None or draft.action is Action.DELETE:
            continue
        resource = draft.intent.resource
        for target in sorted(off.intersection(wanted(resource))):
            summary = (
                f"{draft.address.short} needs {target.short}, which is off, and not owned by this"
                " stack"
            )
            remedy = "--adopt takes it over and starts it; or start it by hand"
            found.error("KVP220", summary, resource.place, remedy, draft.address)
