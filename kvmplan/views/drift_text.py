"""``drift``: what was changed by hand on the hosts, field by field."""

from __future__ import annotations

from kvmplan.plan.change import Plan
from kvmplan.views.change_text import change_lines
from kvmplan.views.layout import Layout
from kvmplan.views.redact import scrubber
from kvmplan.views.style import PLAIN, Meaning, Style
from kvmplan.views.values import Describe, describe_field


def drift_text(
    plan: Plan,
    *,
    style: Style = PLAIN,
    describe: Describe = describe_field,
) -> str:
    """The drifted objects with their fields; the last line says how many there are."""
    layout, secrets = Layout(style, describe, plan.several_hosts), scrubber(plan)
    lines: list[str] = []
    if plan.drift:
        title = ("Drift on the host", len(plan.drift), "IMPACT", "what apply would do")
        lines += layout.title(*title)
        lines += [line for change in plan.drift for line in change_lines(change, layout, secrets)]
    if plan.unlisted:
        lines += layout.title("Unlisted", len(plan.unlisted), "", "not from these specs, kept")
        lines += [
            f"    {layout.address(item.address)}  {'.'.join(item.path)}" for item in plan.unlisted
        ]
    count = len(plan.drift)
    last = f"Drift: {count} object{'' if count == 1 else 's'} changed by hand."
    none = "No drift." if not plan.hosts_left_out else "No drift on the hosts that were read."
    lines.append(style.paint(last if count else none, Meaning.BOLD))
    return "\n".join(lines) + "\n"
