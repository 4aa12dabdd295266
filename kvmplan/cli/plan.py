"""``kvmplan plan``: show what apply would do. Never writes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kvmplan.cli import flags
from kvmplan.cli.output import choose, current
from kvmplan.cli.pointless import check_plan
from kvmplan.diagnostics import ExitCode, Severity

if TYPE_CHECKING:
    from kvmplan.cli.glance import Glance
    from kvmplan.cli.session import Session
    from kvmplan.plan.change import Plan
    from kvmplan.plan.planner import Planned


@click.command()
@flags.path_argument
@click.option("--detailed-exitcode", is_flag=True, help="Exit 2 when there are changes.")
@click.option("--destroy", is_flag=True, help="Plan the removal of what the stack owns.")
@click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True
)
@click.option("--json", "as_json", is_flag=True, help="Stream events as JSON lines.")
@click.option("--out", metavar="FILE", help="Save the plan, for apply FILE.")
@click.option("--xml", is_flag=True, help="The documents before and after as well.")
@flags.plan_flags
@flags.spec_flags
@flags.connect_flags
@flags.color_flags
def plan(
    path: str | None, detailed_exitcode: bool, destroy: bool, form: str, as_json: bool, **given: Any
) -> int:
    """Show what apply would do, and whom it disturbs. Exits 0, or 2 with --detailed-exitcode."""
    from kvmplan.cli.glance import glance
    from kvmplan.cli.session import make_plan

    if given["out"] == "":
        raise click.UsageError("--out: the file has no name")
    check_plan(destroy=destroy, events=as_json, form=form)
    choose(color=given["color"], no_color=given["no_color"], json=as_json, operation="plan")
    if given["out"] is not None:
        from kvmplan.cli.planfile import check_place

        check_place(Path(given["out"]))
    options = options_of(given, destroy=destroy)
    brief = form == "text" and not (as_json or given["xml"]) and given["out"] is None
    glanced = glance(path, options, given) if brief else None
    if glanced is not None and glanced.plan is not None:
        return _unchanged(path, glanced, summary=given["summary"])
    session = session_of(path, given, glanced)
    try:
        planned = make_plan(session, options, brief=brief)
        made = planned.plan
        if given["xml"]:
            from kvmplan.cli.xml import show_documents

            show_documents(session, planned)
    finally:
        close(session)
    if form == "json":
        show_json(session, planned)
    else:
        show_plan(session.path, made, summary=given["summary"])
    if made.errored:
        return ExitCode.ERROR
    if given["out"] is not None:
        from kvmplan.cli.planfile import save

        save(session, planned, Path(given["out"]))
        click.echo(
            f"Saved the plan. To carry out exactly this: kvmplan apply {given['out']}", err=True
        )
    return ExitCode.CHANGES if detailed_exitcode and made.acting else ExitCode.OK


def _unchanged(path: str | None, glanced: Glance, *, summary: bool) -> int:
    """All is as it was when there was nothing to do."""
    from kvmplan.cli.session import spec_path

    assert glanced.plan is not None
    for host in glanced.hosts.values():
        host.close()
    show_plan(spec_path(path), glanced.plan, summary=summary)
    return ExitCode.OK


def session_of(
    path: str | None,
    given: dict[str, Any],
    glanced: Glance | None = None,
    *,
    secrets: bool = True,
) -> Session:
    """Specs read and hosts opened, from a command's flags; `glanced` is what was seen of them."""
    from kvmplan.cli.session import open_session

    return open_session(
        path,
        given["variables"],
        given["var_files"],
        connect=given["connect"],
        read_only=given["read_only"],
        on_unreachable=given["on_unreachable"],
        glance=glanced,
        secrets=secrets,
    )


def close(session: Session) -> None:
    """Give all connections back."""
    session.close()


def options_of(given: dict[str, Any], *, destroy: bool) -> Any:
    """What the flags ask of a plan."""
    from kvmplan.plan.options import PlanOptions

    return PlanOptions(
        destroy=destroy,
        targets=given["targets"],
        excludes=given["excludes"],
        replace=given["replace"],
        adopt=given["adopt"],
        prune=given["prune"],
        max_delete=given["max_delete"],
        allow_empty=given["allow_empty"],
        drift=given["drift"],
        same_stack=given["same_stack"],
        allow_data_loss=given["allow_data_loss"],
        allow_restart=given["allow_restart"],
        max_restarts=given["max_restarts"],
    )


def show_json(session: Session, planned: Planned) -> None:
    """Print a plan as one JSON object, and its diagnostics to stderr."""
    from kvmplan.cli.git import git_state
    from kvmplan.cli.inputs import inputs_json
    from kvmplan.cli.report import show_all
    from kvmplan.views.plan_json import plan_json_text
    from kvmplan.views.style import emit

    show_all(planned.plan.diagnostics)
    inputs = inputs_json(session, planned.options)
    emit(sys.stdout, plan_json_text(planned.plan, git_state(session.path), inputs))


def show_plan(path: Path, made: Plan, *, summary: bool) -> None:
    """Print the plan of the specs at a path: to stdout, as text or as events; diagnostics, too.

    A text has its warnings in it: where both streams go to a terminal, that says them once.
    """
    from kvmplan.cli.git import git_state
    from kvmplan.cli.report import show_all
    from kvmplan.views.plan_text import plan_text
    from kvmplan.views.style import emit

    output = current()
    once = output.stream is None and sys.stdout.isatty() and sys.stderr.isatty()
    show_all(it for it in made.diagnostics if not once or it.severity is Severity.ERROR)
    if output.stream is not None:
        output.stream.plan(made)
        return
    style = output.style_of(sys.stdout)
    emit(sys.stdout, plan_text(made, style=style, git=git_state(path), summary=summary))
