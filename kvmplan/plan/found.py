"""What is there, as a change tells it: its `before`, all that it takes away or back included."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from kvmplan.diff import put
from kvmplan.inventory import Inventory, Record
from kvmplan.kinds.context import HostContext
from kvmplan.kinds.mark import NAMESPACE, read_mark
from kvmplan.kinds.models import MODELS
from kvmplan.mapping.document import parse_to_read
from kvmplan.mapping.lens import read
from kvmplan.plan.change import FieldChange, Tree
from kvmplan.plan.intent import runtime_of


def as_it_runs(live: Tree | None, fields: Iterable[FieldChange]) -> Tree | None:
    """The live tree, with what runs where that alone is changed: its definition does not say it."""
    running = [field for field in fields if field.only_running]
    if live is None or not running:
        return live
    tree: dict[str, Any] = dict(live)
    for field in running:
        tree = put(tree, field.path, field.before)
    return tree


def whole_tree(
    record: Record, inventory: Inventory, skeleton: Callable[..., Any]
) -> dict[str, Any]:
    """All that a spec could declare of an object that no spec declares."""
    model, root = MODELS[record.address.kind], parse_to_read(record.document)
    mark = read_mark(root)
    context = HostContext(
        skeleton,
        mark.keys if mark else {},
        runtime_of(record, inventory.claim(record.address), {}),
        volume_at=inventory.volume_by_path.get,
    )
    tree = read(model, root, context)
    if isinstance(tree.get("metadata"), dict):
        tree["metadata"].pop(NAMESPACE, None)
    return tree
