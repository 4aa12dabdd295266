"""``plan --xml``: what each change would send to libvirt, beside what is there."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from kvmplan.cli.output import current

if TYPE_CHECKING:
    from kvmplan.cli.session import Session
    from kvmplan.plan.planner import Planned


def show_documents(session: Session, planned: Planned) -> None:
    """Print the documents of all changes as diffs, in the order of their addresses."""
    from kvmplan.apply.site import Site
    from kvmplan.plan.change import Action
    from kvmplan.views.style import emit

    stack = session.desired.stack.uid
    sites: dict[str, Site] = {}
    for change in planned.plan.acting:
        intent, host = planned.intents.get(change.address), change.address.host
        if intent is None or change.action is Action.DELETE:
            continue
        if host not in sites:
            inventory = planned.inventories[host]
            sites[host] = Site(session.hosts[host], inventory, planned.births, stack)
        emit(sys.stdout, _one(sites[host], change, intent))


def _one(site: Any, change: Any, intent: Any) -> str:
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
