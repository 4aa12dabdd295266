"""Free ports of a running guest: what is plugged into PCI Express needs one that was there before.

A q35 guest has its root ports from its start, and each takes one device. Where no port is listed at
all, or there are bridges beside them, nothing is said: libvirt itself answers then.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lxml.etree import _Element as Element

from kvmplan.mapping.document import parse_to_read
from kvmplan.mapping.strategy import Situation

PORTS = frozenset({"pcie-root-port", "pcie-switch-downstream-port"})
BRIDGES = frozenset({"pci-bridge", "pcie-to-pci-bridge", "pci-root"})
NO_PORT = "the running guest has no free port for it"


def no_port_left(situation: Situation) -> bool:
    """Whether a new disk, hostdev, NIC or shared directory finds no port in the running guest.

    Those before it in the same plan take theirs first; those that go may leave one.
    """
    if situation.document is None or situation.running is None:
        return False
    free = _free(parse_to_read(situation.document))
    if free is None:
        return False
    there, wanted = set(_users(situation.running)), sorted(set(_users(situation.desired)))
    coming = [path for path in wanted if path not in there]
    going = len(there.difference(wanted))
    return situation.path in coming and coming.index(situation.path) >= free + going


def _free(root: Element) -> int | None:
    """How many ports are free; None where that cannot be told."""
    models = {
        int(node.get("index") or 0): node.get("model")
        for node in root.iterfind("devices/controller[@type='pci']")
    }
    ports = {index for index, model in models.items() if model in PORTS}
    if not ports or BRIDGES.intersection(models.values()):
        return None
    taken = root.iterfind("devices/*/address[@type='pci']")
    return len(ports - {int(node.get("bus") or "0", 0) for node in taken})


def _users(tree: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """The paths of members that need a port."""
    for target, disk in (tree.get("disks") or {}).items():
        if (disk.get("bus") or ("virtio" if target.startswith("vd") else "")) == "virtio":
            yield "disks", target
    for name, device in (tree.get("hostdevs") or {}).items():
        if device.get("pci") is not None:
            yield "hostdevs", name
    for name, interface in (tree.get("interfaces") or {}).items():
        if interface.get("model") != "usb-net":
            yield "interfaces", name
    for tag, shared in (tree.get("filesystems") or {}).items():
        if shared.get("driver") == "virtiofs":
            yield "filesystems", tag
