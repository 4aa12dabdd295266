"""Ports: what a running domain's document says of its places in networks.

Read from the text: an inventory looks at thousands of documents, and nearly all are in order.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_PORT_ID = re.compile(r"portid=[\"']([^\"']+)")


def port_ids(document: str) -> list[str]:
    """Everything in a document that looks like the id of a port."""
    return _PORT_ID.findall(document)


def ports_of(document: str) -> Iterator[tuple[str, str]]:
    """The networks that a running domain is on, and the port that it has in each."""
    from kvmplan.mapping.document import parse_to_read

    for source in parse_to_read(document).iterfind("devices/interface/source[@portid]"):
        yield source.get("network", ""), source.get("portid", "")
