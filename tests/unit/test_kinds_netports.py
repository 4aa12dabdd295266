"""Running interfaces in the form of their definitions."""

from __future__ import annotations

import pytest

from kvmplan.kinds.netports import as_defined
from kvmplan.mapping.document import parse, serialise

PORT = "<source network='up' portgroup='p' portid='1'"
DEFINED = '<interface type="network"><source network="up" portgroup="p" portid="1"/></interface>'
ADDRESS = "<address type='pci' domain='0x0000' bus='0x03' slot='0x10' function='0x1'/>"


@pytest.mark.parametrize(
    "interface",
    [
        f"<interface type='bridge'>{PORT} bridge='br0'/></interface>",
        f"<interface type='direct'>{PORT} dev='eth9' mode='bridge'/></interface>",
        f"<interface type='hostdev' managed='yes'>{PORT}>{ADDRESS}</source></interface>",
    ],
)
def test_what_a_network_made_of_an_interface_is_undone(interface: str) -> None:
    running = parse(f"<domain><devices>{interface}</devices></domain>")
    assert serialise(as_defined(running)) == f"<domain><devices>{DEFINED}</devices></domain>"


@pytest.mark.parametrize(
    "interface",
    [
        '<interface type="bridge"><source bridge="br0"/></interface>',
        '<interface type="direct"><source dev="eth9" mode="vepa"/></interface>',
        '<interface type="network"><source network="a" portid="1" bridge="virbr0"/></interface>',
    ],
)
def test_what_is_in_no_network_or_runs_as_defined_is_left_alone(interface: str) -> None:
    text = f"<domain><devices>{interface}</devices></domain>"
    assert serialise(as_defined(parse(text))) == text
