"""``kvmplan show``: a saved plan, one live object as a spec would say it, or how it was before."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kvmplan.cli import flags
from kvmplan.cli.output import choose
from kvmplan.cli.pointless import refuse
from kvmplan.diagnostics import fail

if TYPE_CHECKING:
    from kvmplan.address import Address
    from kvmplan.cli.session import Session
    from kvmplan.inventory import Inventory, Record
    from kvmplan.views.style import Style


@click.command()
@click.argument("address", metavar="[PLANFILE|ADDRESS]", required=False)
@click.option(
    "--before",
    metavar="RUN",
    help="As it was before this run of yours; without an address, what the run touched.",
)
@click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option("--xml", is_flag=True, help="Its persistent document as well, secrets left out.")
@click.option("--specs", "path", default=None, help="Where the specs are.  [default: specs/]")
@flags.spec_flags
@flags.connect_flags
@flags.color_flags
def show(
    address: str | None,
    before: str | None,
    form: str,
    as_json: bool,
    xml: bool,
    path: str | None,
    **given: Any,
) -> None:
    """Show a saved plan, one live object as a spec would say it, or how it was before a run."""
    from kvmplan.cli.plan import close, session_of
    from kvmplan.plan.saved import is_plan_file
    from kvmplan.views.show_text import show_text
    from kvmplan.views.style import emit

    form = "json" if as_json else form
    output = choose(color=given["color"], no_color=given["no_color"], json=False, operation="show")
    if before is not None:
        from kvmplan.cli.before import show_before

        refuse("beside --before, which has documents in its JSON", "xml")

        show_before(before, address, form, {**given, "path": path})
        return
    if address is None:
        raise click.UsageError("Missing argument 'PLANFILE|ADDRESS'.")
    if is_plan_file(Path(address)):
        refuse("beside a plan file", "xml")
        _show_plan(Path(address), form, output.style_of(sys.stdout))
        return
    session = session_of(path, given)
    try:
        target = address_of(session, address)
        shown = _look(session, target, xml)
    finally:
        close(session)
    if form == "json":
        click.echo(json.dumps(_json(shown), indent=2, sort_keys=True))
        return
    emit(
        sys.stdout,
        show_text(shown, style=output.style_of(sys.stdout), several_hosts=session.several_hosts),
    )


def _show_plan(file: Path, form: str, style: Style) -> None:
    """A saved plan, as it was shown; needs no connection and no secret."""
    from kvmplan.cli.planfile import load
    from kvmplan.views.plan_text import plan_text
    from kvmplan.views.style import emit

    saved = load(file, secrets=False)
    if form == "json":
        emit(sys.stdout, json.dumps(saved.document) + "\n")
        return
    emit(sys.stdout, plan_text(saved.plan, style=style, git=saved.git))
    click.echo(
        f"Digest of what it does: {saved.document['digest']}\n"
        f"sha256 of the whole file: {saved.file_digest}\n"
        "`apply --expect-digest` takes either. The commit, places in files, warnings and busy"
        " domains are told by whoever wrote the file: only the second is of them, too.",
        err=True,
    )


def address_of(session: Session, text: str) -> Address:
    """The address that a text names. Raises `Failure`: KVP252."""
    from kvmplan.address import parse_address

    try:
        target = parse_address(text, default_host=next(iter(session.hosts)))
    except ValueError as error:
        raise fail("KVP252", str(error)) from error
    if target.host not in session.hosts:
        raise fail(
            "KVP252",
            f"'{text}': the stack has no host '{target.host}'",
            remedy=f"hosts: {', '.join(session.hosts)}",
        )
    return target


def _look(session: Session, target: Address, xml: bool) -> Any:
    from kvmplan.address import Kind
    from kvmplan.cli.session import translated
    from kvmplan.inventory import Wanted
    from kvmplan.views.show_text import Shown

    with translated(session, target.host):
        wanted = Wanted(frozenset({target}), frozenset(), session.desired.stack.uid)
        inventory = session.hosts[target.host].inventory(wanted)
    record = inventory.record(target)
    if record is None:
        from difflib import get_close_matches

        names = [f"{target.kind}.{name}" for name in inventory.names.get(target.kind, {})]
        near = get_close_matches(target.short, names, n=1)
        remedy = f"did you mean '{near[0]}'?" if near else None
        raise fail("KVP253", f"{target.short} is not on host '{target.host}'", remedy=remedy)
    fields, sensitive = _fields(record, inventory)
    state = record.state.value + (f" ({record.reason})" if record.reason else "")
    if target.kind is Kind.VOLUME:
        state = ""
    return Shown(
        target,
        fields,
        state,
        _owner(session, record, inventory),
        sensitive,
        record.document if xml else None,
    )


def _fields(record: Record, inventory: Inventory) -> tuple[dict[str, Any], Any]:
    from kvmplan.kinds.models import MODELS
    from kvmplan.kinds.skeletons import skeletons
    from kvmplan.mapping.model import secret_paths
    from kvmplan.plan.found import whole_tree

    tree = whole_tree(record, inventory, skeletons())
    return tree, secret_paths(MODELS[record.address.kind], tree)


def _owner(session: Session, record: Record, inventory: Inventory) -> str:
    claim = inventory.claim(record.address)
    if claim is not None and claim.key == record.key:
        return f"owned by stack {session.desired.stack.name}"
    other = inventory.other_owner(record.address, record.key)
    return f"owned by stack {other}" if other else "not managed"


def _json(shown: Any) -> dict[str, Any]:
    from kvmplan.kinds.mark import applied_fields
    from kvmplan.kinds.models import MODELS
    from kvmplan.mapping.secrecy import redact_xml

    document = {
        "address": str(shown.address),
        "state": shown.state or None,
        "ownership": shown.ownership,
        "fields": applied_fields(MODELS[shown.address.kind], shown.fields),
    }
    if shown.xml is not None:
        document["xml"] = redact_xml(shown.xml)
    return document
