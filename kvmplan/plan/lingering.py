"""What lingers: fields that still wait for the next boot, and that no spec speaks of any more.

Nobody asks for them now, so they are not pending, and nothing is restarted for them. Whoever
restarts the object for another reason is to know that it gets them, too.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from kvmplan.diff import at
from kvmplan.kinds.netports import as_defined
from kvmplan.mapping.document import parse_to_read
from kvmplan.mapping.lens import read
from kvmplan.plan.booted import boot_notes, differences, is_told
from kvmplan.plan.change import Path
from kvmplan.plan.fields import is_declared, running_document
from kvmplan.plan.intent import Intent


def lingering(intent: Intent, told: Collection[str]) -> tuple[str, ...]:
    """The names of what lingers.

    Args:
        intent: the object, as it is now.
        told: the fields that are pending or changed.
    """
    running, record, claim = running_document(intent), intent.record, intent.claim
    if running is None or record is None or intent.context is None or claim is None:
        return ()
    paths = {name: tuple(name.split(".")) for name in sorted(claim.waiting) if name not in told}
    paths = {name: path for name, path in paths.items() if not is_declared(intent.tree, path)}
    if not paths:
        return ()
    roots = (as_defined(parse_to_read(running)), parse_to_read(record.document))
    runs, defined = (read(intent.model, root, intent.context) for root in roots)
    noted = {path for path, _, _ in differences(intent.model, boot_notes(record), defined)}
    return tuple(
        name
        for name, path in paths.items()
        if path in noted or _differs(intent, path, at(runs, path), at(defined, path))
    )


def _differs(intent: Intent, path: Path, runs: Any, defined: Any) -> bool:
    """Whether a field, or that there is such a member, is not yet so in what runs."""
    if isinstance(runs, Mapping) and isinstance(defined, Mapping):
        return False
    return runs != defined and is_told(intent.model, path)
