"""``plan --xml``: what each change would send to libvirt, beside what is there."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from kvmplan.cli.output import current

if TYPE_CHECKING:
    from kvmplan.apply.site import Site
    from kvmplan.cli.session import Session
    from kvmplan.plan.change import Change
    from kvmplan.plan.intent import Intent
    from kvmplan.plan.planner import Planned


def show_documents(session: Session, planned: Planned) -> None:
    """Print the documents of all changes as diffs, in the order of their addresses."""
    from kvmplan.address import Kind
    from kvmplan.apply.site import Site
    from kvmplan.plan.change import Action
    from kvmplan.views.style import emit

    sites = {
        host: Site(session.hosts[host], inventory, planned.births, session.desired.stack.uid)
        for host, inventory in planned.inventories.items()
    }
    shown = [
        (change, planned.intents[change.address])
        for change in planned.plan.acting
        if change.address in planned.intents and change.action is not Action.DELETE
    ]
    for change, intent in shown:
        made = change.action in (Action.CREATE, Action.REPLACE)
        if made and change.address.kind is Kind.VOLUME:
            _expect(sites[change.address.host], change, intent)
    for change, intent in shown:
        emit(sys.stdout, _one(sites[change.address.host], change, intent))


def _expect(site: Site, change: Change, intent: Intent) -> None:
    """Let disks on a volume that is to be made be shown as they will be."""
    from kvmplan.apply.preview import expected
    from kvmplan.kinds.skeletons import TemplateError

    with suppress(TemplateError):  # the volume's own document tells of it
        facts = expected(site, change.address, intent.tree)
        if facts is not None:
            site.expect(change.address.name, facts)


def _one(site: Site, change: Change, intent: Intent) -> str:
    from kvmplan.apply.port import HostError
    from kvmplan.apply.preview import preview
    from kvmplan.apply.problems import Invalid
    from kvmplan.kinds.skeletons import TemplateError
    from kvmplan.views.xml_text import xml_diff_text

    try:
        before, after = preview(site, change, intent)
    except (LookupError, Invalid, TemplateError, HostError) as error:
        return f"{change.address.short}: its document cannot be shown yet: {error}\n"
    return xml_diff_text(change.address.short, before, after, current().style_of(sys.stdout))
