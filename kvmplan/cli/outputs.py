"""``kvmplan output``: what the stack tells, and its guests in the formats of other tools."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from kvmplan.cli import flags
from kvmplan.cli.output import choose
from kvmplan.cli.pointless import refuse
from kvmplan.diagnostics import Diagnostics, ExitCode, fail

if TYPE_CHECKING:
    from kvmplan.cli.session import Session
    from kvmplan.inventory import Inventory
    from kvmplan.plan.livenames import Addresses
    from kvmplan.views.inventories import Guest

FORMATS = ("ansible", "ssh-config", "hosts", "prometheus-sd")
NODE_EXPORTER = 9100


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.option("--raw", is_flag=True, help="The text of one output alone, for scripts.")
@click.option("--format", "form", type=click.Choice(FORMATS), help="The guests, for other tools.")
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=NODE_EXPORTER,
    show_default=True,
    help="The port that prometheus-sd names.",
)
@click.option("--specs", "path", default=None, help="Where the specs are.  [default: specs/]")
@flags.spec_flags
@flags.connect_flags
@flags.color_flags
def output(
    name: str | None,
    as_json: bool,
    raw: bool,
    form: str | None,
    port: int,
    path: str | None,
    **given: Any,
) -> int:
    """Tell the stack's outputs, as they are now; or its guests, in a format of other tools."""
    from kvmplan.cli.plan import close, session_of
    from kvmplan.cli.reach import known_addresses
    from kvmplan.cli.session import read_hosts

    choose(color=given["color"], no_color=given["no_color"], json=False, operation="output")
    if (raw and name is None) or (form and (name or raw or as_json)):
        raise click.UsageError("--raw goes with NAME; --format with neither of them nor --json")
    if raw:
        refuse("beside --raw", "as_json")
    session = session_of(path, given, secrets=False)
    try:
        inventories = read_hosts(session)
        known = known_addresses(session, inventories)
        if form is not None:
            return _guests(session, inventories, known, form, port)
    finally:
        close(session)
    return _outputs(session, inventories, known, name, as_json=as_json, raw=raw)


def _outputs(
    session: Session,
    inventories: Mapping[str, Inventory],
    known: Addresses,
    name: str | None,
    *,
    as_json: bool,
    raw: bool,
) -> int:
    from kvmplan.cli.report import show_all
    from kvmplan.plan.livenames import live_names
    from kvmplan.spec.outputs import evaluate
    from kvmplan.views.inventories import outputs_text
    from kvmplan.views.style import emit

    outputs = session.desired.outputs
    if name is not None and name not in outputs:
        from kvmplan.spec.suggest import did_you_mean

        remedy = did_you_mean(name, outputs, "outputs") or "declare it in `outputs`"
        raise fail("KVP701", f"the stack has no output '{name}'", remedy=remedy)
    asked = {name: outputs[name]} if name is not None else outputs
    found = Diagnostics()
    values = evaluate(asked, live_names(session.desired, inventories, known), found)
    show_all(found)
    if name is not None and name in values:
        value = values[name]
        if raw and not isinstance(value, str | int | float):
            raise fail("KVP702", f"output '{name}' is no text or number", remedy="use --json")
        text = value if isinstance(value, str) and raw else json.dumps(value)
        emit(sys.stdout, text if raw else f"{text}\n")
    elif name is None and as_json:
        told = {
            key: {"value": value, "description": outputs[key].description, "sensitive": False}
            for key, value in values.items()
        }
        emit(sys.stdout, json.dumps(told, indent=2) + "\n")
    elif name is None:
        emit(sys.stdout, outputs_text(values))
    return ExitCode.ERROR if found.has_errors else ExitCode.OK


def _guests(
    session: Session, inventories: Mapping[str, Inventory], known: Addresses, form: str, port: int
) -> int:
    from kvmplan.cli.report import show_all
    from kvmplan.views.inventories import FORMATS as WRITERS
    from kvmplan.views.style import emit

    found = Diagnostics()
    guests = _reachable(session, inventories, known, found)
    show_all(found)
    emit(sys.stdout, WRITERS[form](session.desired.stack.name, guests, port))
    return ExitCode.OK


def _reachable(
    session: Session, inventories: Mapping[str, Inventory], known: Addresses, found: Diagnostics
) -> list[Guest]:
    """The stack's running guests with their addresses; those without one are warned of."""
    from kvmplan.cli.reach import jump_host
    from kvmplan.plan.livenames import best_address
    from kvmplan.views.inventories import Guest

    names = [address.name for address in known]
    guests = []
    for address, addresses in sorted(known.items()):
        ip = best_address(session.desired.resources[address], addresses)
        if ip is None:
            summary = f"{address.short} has no address that is known; left out"
            remedy = "it gets one when it has booted; `wait_for: address` waits for that"
            found.warning("KVP703", summary, None, remedy, address)
            continue
        name = address.name if names.count(address.name) == 1 else f"{address.name}.{address.host}"
        guests.append(Guest(address, name, ip, jump_host(session.uri(address.host))))
    return guests
