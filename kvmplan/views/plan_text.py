"""The plan as text: 80 columns, the dangerous first and named again last. Same plan, same bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from kvmplan import __version__
from kvmplan.diagnostics import Severity
from kvmplan.mapping.impact import Impact, worst
from kvmplan.mapping.secrecy import Scrubber
from kvmplan.mapping.units import about_size
from kvmplan.plan.change import Action, Change, Guarded, Pending, Plan, Reason
from kvmplan.views.change_text import change_head, change_lines
from kvmplan.views.diagnostics import compact_lines, count_line, sort_diagnostics
from kvmplan.views.gitstate import GitState
from kvmplan.views.layout import Layout, plural
from kvmplan.views.redact import scrubber, sensitive_paths
from kvmplan.views.style import PLAIN, Meaning, Style, printable
from kvmplan.views.values import Describe, Values, describe_field

NO_CHANGES = "No changes. Your infrastructure matches the configuration."

_DATA_LOSS_CODE = "KVP211"
_RESTART_CODE = "KVP217"
_NAMED_AT_THE_END = (Impact.DATA_LOSS, Impact.REPLACE, Impact.DELETE, Impact.RESTART, Impact.STOP)


def plan_text(
    plan: Plan,
    *,
    style: Style = PLAIN,
    describe: Describe = describe_field,
    git: GitState | None = None,
    summary: bool = False,
    width: int = 80,
) -> str:
    """The whole text, ending in a line break.

    Args:
        plan: what to show.
        style: paints.
        describe: the words of a value.
        git: where the specs come from, if they are in a repository.
        summary: one line for each change, without fields.
        width: columns to stay within.
    """
    layout = Layout(style, describe, plan.several_hosts, width, min(60, width - 20))
    secrets = scrubber(plan)
    blocks: list[list[str]] = [
        [_header(plan, git)],
        _alarms(plan, layout, secrets),
        _sections(plan, layout, secrets, summary),
        _diagnostics(plan, layout, secrets),
        _ending(plan, layout),
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def last_line(plan: Plan) -> str:
    """The last line of a text plan, byte for byte what scripts look for.

    A plan with errors never claims that everything matches, nor does one that leaves things out, or
    has not read all hosts.
    """
    if not (plan.acting or plan.errored or plan.left_out or plan.hosts_left_out):
        return NO_CHANGES
    add, change, destroy = plan.count()
    return f"Plan: {add} to add, {change} to change, {destroy} to destroy."


def impact_line(plan: Plan) -> str:
    """``Impact: 1 data-loss, 1 restart, 2 live``: the dangerous first; empty if nothing happens."""
    counts = plan.impacts()
    listed = ", ".join(f"{number} {impact}" for impact, number in counts.items())
    return f"Impact: {listed}" if listed else ""


def by_danger(changes: Iterable[Change]) -> list[Change]:
    """The dangerous first, then by address."""
    return sorted(changes, key=lambda change: (-change.impact.danger, change.address))


def _header(plan: Plan, git: GitState | None) -> str:
    parts = [f"kvmplan {__version__}", f"stack {printable(plan.stack_name)}"]
    if git:
        parts.append(str(git))
    read, all_ = len(plan.hosts), len(plan.hosts) + len(plan.hosts_left_out)
    parts.append(f"{f'{read} of ' if plan.hosts_left_out else ''}{plural(all_, 'host')} read")
    return " · ".join(parts)


def _alarms(plan: Plan, layout: Layout, secrets: Scrubber) -> list[str]:
    """What a reviewer must not miss: refusals, bytes that go, guests that go down."""
    lost = [item for item in plan.refusals if item.code == _DATA_LOSS_CODE]
    others = [item for item in plan.refusals if item.code != _DATA_LOSS_CODE]
    refused = {item.address for item in lost}
    refused |= {item.address for item in others if item.code == _RESTART_CODE}
    lines: list[str] = []
    if lost:
        items = plural(len({item.address for item in lost}), "item")
        lines += _alarm(f"DATA LOSS in {items}: apply stops before its first write", layout)
        lines += _refusals(lost, layout, secrets)
    for impact, words in ((Impact.DATA_LOSS, "DATA LOSS (allowed)"), (Impact.RESTART, "RESTART")):
        hit = [c for c in by_danger(plan.acting) if c.impact is impact and c.address not in refused]
        if hit:
            named = ", ".join(layout.address(change.address) for change in hit)
            lines += _alarm(f"{words} of {plural(len(hit), 'item')}: {named}", layout)
    if others:
        number = plural(len(others), "refusal")
        lines += _alarm(f"{number}: apply stops before its first write", layout)
        lines += _refusals(others, layout, secrets)
    return lines


def _alarm(text: str, layout: Layout) -> list[str]:
    return [layout.style.paint(line, Meaning.DANGER) for line in layout.wrap(f"!! {text}", 0, 3)]


def _refusals(items: Iterable[Guarded], layout: Layout, secrets: Scrubber) -> list[str]:
    lines: list[str] = []
    for item in sorted(items, key=lambda item: (item.address, item.code, item.summary)):
        words = f"{layout.address(item.address)}   {item.code}: {secrets.text(item.summary)}"
        lines += layout.wrap(words, 3, 6)
        lines += layout.wrap(f"= {item.remedy}", 6, 8) if item.remedy else []
    return lines


def _split(plan: Plan) -> tuple[list[Change], list[Change]]:
    """The changes that the specs ask for, and those that undo what was done by hand.

    A resource can be in both, each with its own fields; its impact is then that of these fields,
    unless the whole change disturbs more than any of its fields.
    """
    drifted = {change.address: change for change in plan.drift}
    wanted, undone = [], []
    for change in plan.acting:
        drift = drifted.get(change.address)
        if drift is None:
            wanted.append(change)
            continue
        paths = {field.path for field in drift.fields}
        rest = tuple(field for field in change.fields if field.path not in paths)
        if not rest:
            undone.append(replace(change, fields=drift.fields or change.fields))
            continue
        strongest = worst([field.impact for field in change.fields])
        whole = change.impact.danger > strongest.danger
        own = change.impact if whole else worst([field.impact for field in rest])
        wanted.append(replace(change, fields=rest, impact=own))
        back = change.impact if whole else worst([field.impact for field in drift.fields])
        undone.append(replace(change, fields=drift.fields, impact=back, notes=(), source=None))
    return by_danger(wanted), by_danger(undone)


def _sections(plan: Plan, layout: Layout, secrets: Scrubber, summary: bool) -> list[str]:
    wanted, undone = _split(plan)

    def show(change: Change) -> list[str]:
        return change_head(change, layout) if summary else change_lines(change, layout, secrets)

    lines: list[str] = []
    for words, more, changes in (
        ("From the specs", "", wanted),
        ("Drift on the host", "changed by hand, goes back", undone),
    ):
        if changes:
            lines += layout.title(words, len(changes), "IMPACT", more)
            lines += [line for change in changes for line in show(change)]
    lines += _pending(plan, layout)
    lines += _busy(plan, layout)
    lines += _bystanders(plan, layout, secrets)
    return [*lines, *_untouched(plan)]


def _pending(plan: Plan, layout: Layout) -> list[str]:
    lines: list[str] = []
    for words, waiting in (("Pending restart", False), ("Waiting for the guest", True)):
        items = sorted(
            (item for item in plan.pending if item.waiting is waiting),
            key=lambda item: item.address,
        )
        if items:
            lines += layout.title(words, len(items))
            lines += [line for item in items for line in _pending_lines(item, plan, layout)]
    return lines


def _pending_lines(item: Pending, plan: Plan, layout: Layout) -> list[str]:
    same = (change for change in plan.changes if change.address == item.address)
    hidden = tuple(path for change in same for path in sensitive_paths(change))
    own = tuple(field.path for field in item.fields if field.sensitive)
    values = Values(item.address.kind, layout.describe, (*hidden, *own))
    lines = layout.wrap(f"{layout.address(item.address)}{_pending_words(item)}", 4, 8)
    for field in sorted(item.fields, key=lambda field: field.path):
        running, defined = (values.text(field.path, value) for value in (field.before, field.after))
        words = f"asked for {defined}" if item.waiting else f"defined as {defined}"
        why = f" ({field.reason})" if field.reason and not item.waiting else ""
        lines += layout.wrap(f"{field.name}  running with {running}, {words}{why}", 6, 8)
    return lines


def _pending_words(item: Pending) -> str:
    """Since when, and whether the guest is in a managed save image meanwhile."""
    saved = "  saved: its next start goes on with what it ran with" if item.saved else ""
    return (f"  since {item.since}" if item.since else "") + saved


def _busy(plan: Plan, layout: Layout) -> list[str]:
    """Who is not touched until something else is over."""
    if not plan.busy:
        return []
    lines = layout.title("Busy", len(plan.busy), more="apply waits, then leaves them out")
    for item in sorted(plan.busy, key=lambda item: item.address):
        lines += layout.wrap(f"{layout.address(item.address)}  {', '.join(item.jobs)}", 4, 8)
    return lines


def _bystanders(plan: Plan, layout: Layout, secrets: Scrubber) -> list[str]:
    """What is reported and left alone."""
    lines: list[str] = []

    def section(words: str, more: str, rows: list[str]) -> None:
        if rows:
            lines.extend(layout.title(words, len(rows), more=more))
            lines.extend(line for row in rows for line in layout.wrap(row, 4, 8))

    def named(items: Iterable[Change]) -> list[str]:
        return [layout.address(item.address) for item in sorted(items, key=lambda c: c.address)]

    section(
        "Left out",
        "overtaken by the host",
        [f"{layout.address(it.address)}  {secrets.text(it.why)}" for it in plan.left_out],
    )
    section(
        "Released",
        "left the specs, keep their values",
        sorted(f"{layout.address(r.address)}  {'.'.join(r.path)}" for r in plan.released),
    )
    section(
        "Unlisted",
        "live, not this stack's, kept",
        sorted(
            f"{layout.address(u.address)}  {'.'.join(u.path)}  {secrets.text(u.summary)}".rstrip()
            for u in plan.unlisted
        ),
    )
    section(
        "Unowned", "not ours, in sync", named(c for c in plan.changes if _is(c, Reason.UNOWNED))
    )
    section(
        "Orphans",
        "ours, no longer in the specs, kept",
        [layout.address(address) for address in sorted(plan.orphans)],
    )
    section(
        "Room",
        "what pools may grow by",
        [f"{layout.address(item.address)}  {about_size(item.bytes)}" for item in plan.growth],
    )
    if plan.acting:
        section(
            "Bases",
            "guests on overlays and clones of them",
            [f"{layout.address(a)}  {plural(n, 'guest')}" for a, n in sorted(plan.bases.items())],
        )
    for held in _noted_noops(plan):
        lines += [f"Note on {layout.address(held.address)}"]
        lines += [line for note in held.notes for line in layout.wrap(secrets.text(note), 4, 6)]
    return lines


def _is(change: Change, reason: Reason) -> bool:
    return change.action is Action.NOOP and change.reason is reason


def _noted_noops(plan: Plan) -> list[Change]:
    """Resources that stay as they are and have something to say: busy, held, born otherwise."""
    quiet = (change for change in plan.changes if change.action is Action.NOOP and change.notes)
    return sorted(quiet, key=lambda change: change.address)


def _untouched(plan: Plan) -> list[str]:
    def count(test: Callable[[Change], bool]) -> int:
        return sum(1 for change in plan.changes if test(change))

    parts = [
        (count(lambda c: _is(c, Reason.NONE)), "in sync"),
        (count(lambda c: _is(c, Reason.UNOWNED)), "unowned"),
        (count(lambda c: _is(c, Reason.HELD_BACK)), "not targeted"),
        (count(lambda c: _is(c, Reason.BLOCKED)), "with errors"),
        (len(plan.orphans), f"orphan{'' if len(plan.orphans) == 1 else 's'}"),
    ]
    listed = " · ".join(f"{number} {words}" for number, words in parts if number)
    return [f"Not touched: {listed}"] if listed else []


def _diagnostics(plan: Plan, layout: Layout, secrets: Scrubber) -> list[str]:
    lines: list[str] = []
    for severity, words in ((Severity.ERROR, "Errors"), (Severity.WARNING, "Warnings")):
        items = sort_diagnostics(item for item in plan.diagnostics if item.severity is severity)
        if items:
            lines += layout.title(words, len(items))
        for item in items:
            lines += [secrets.text(line) for line in compact_lines(item, layout.width)]
    return lines


def _ending(plan: Plan, layout: Layout) -> list[str]:
    """The dangerous ones by name, the impacts, the last line."""
    lines: list[str] = []
    if plan.errored:
        errors = [item for item in plan.diagnostics if item.severity is Severity.ERROR]
        lines.append(f"This plan is incomplete: {count_line(errors) or 'errors above'}.")
    if plan.hosts_left_out:
        several = "" if len(plan.hosts_left_out) == 1 else "s"
        named = f"host{several} {', '.join(plan.hosts_left_out)}"
        lines += layout.wrap(f"This plan leaves out {named}: what is there is not known.", 0, 2)
    for impact in _NAMED_AT_THE_END:
        hit = [change for change in by_danger(plan.acting) if change.impact is impact]
        if hit:
            named = ", ".join(layout.address(change.address) for change in hit)
            text = layout.wrap(f"{impact}: {named}", 0, 2)
            lines += [layout.style.paint(line, Meaning.DANGER) for line in text]
    if impacts := impact_line(plan):
        lines.append(impacts)
    return [*lines, layout.style.paint(last_line(plan), Meaning.BOLD)]
