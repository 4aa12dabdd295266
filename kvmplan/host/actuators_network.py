"""The verb of networks: change one section of a definition, running and persistent."""

from __future__ import annotations

from typing import Any

import libvirt

from kvmplan.host.verb import Target, code_of, flags, verb
from kvmplan.kinds.verbs import Verb

_COMMANDS = {
    "add-last": libvirt.VIR_NETWORK_UPDATE_COMMAND_ADD_LAST,
    "modify": libvirt.VIR_NETWORK_UPDATE_COMMAND_MODIFY,
    "delete": libvirt.VIR_NETWORK_UPDATE_COMMAND_DELETE,
}
_SECTIONS = {
    "ip-dhcp-host": libvirt.VIR_NETWORK_SECTION_IP_DHCP_HOST,
    "ip-dhcp-range": libvirt.VIR_NETWORK_SECTION_IP_DHCP_RANGE,
    "portgroup": libvirt.VIR_NETWORK_SECTION_PORTGROUP,
    "dns-host": libvirt.VIR_NETWORK_SECTION_DNS_HOST,
    "dns-txt": libvirt.VIR_NETWORK_SECTION_DNS_TXT,
    "dns-srv": libvirt.VIR_NETWORK_SECTION_DNS_SRV,
}


@verb(Verb.UPDATE_NETWORK)
def update_network(
    target: Target, *, command: str, section: str, xml: str, scope: str, parent: int = -1
) -> None:
    """Add, change or remove one member of a section.

    Where the running and the persistent definition already differ, the one that has what is asked
    for refuses (55), and the other still gets it.
    """
    network = target.find()
    what = (_COMMANDS[command], _SECTIONS[section], parent, xml)
    where = flags(network, scope)
    try:
        network.update(*what, where)
    except libvirt.libvirtError as error:
        both = libvirt.VIR_NETWORK_UPDATE_AFFECT_LIVE | libvirt.VIR_NETWORK_UPDATE_AFFECT_CONFIG
        if code_of(error) != libvirt.VIR_ERR_OPERATION_INVALID or where != both:
            raise
        if not _one_by_one(network, what):
            raise


def _one_by_one(network: Any, what: tuple[int, int, int, str]) -> bool:
    """Whether either of the two definitions took it."""
    taken = False
    for where in (
        libvirt.VIR_NETWORK_UPDATE_AFFECT_LIVE,
        libvirt.VIR_NETWORK_UPDATE_AFFECT_CONFIG,
    ):
        try:
            network.update(*what, where)
            taken = True
        except libvirt.libvirtError as error:
            if code_of(error) != libvirt.VIR_ERR_OPERATION_INVALID:
                raise
    return taken
