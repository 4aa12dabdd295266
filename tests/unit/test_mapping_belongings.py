"""What libvirt notes of a disk's source goes with the source, whatever takes that away."""

from typing import Any

import pytest

from kvmplan.address import Kind
from kvmplan.kinds.disk import Disk
from kvmplan.mapping.document import parse, serialise
from kvmplan.mapping.lens import patch
from tests.laws.documents import context

OLD = (
    "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>"
    "<source file='/pools/vms/a.s1' index='2' startupPolicy='optional'/>"
    "<backingStore type='file' index='1'><format type='qcow2'/><source file='/pools/vms/a'/>"
    "<backingStore/></backingStore><mirror type='file' job='copy'><source file='/copy'/></mirror>"
    "<target dev='vda' bus='virtio'/></disk>"
)
CHAIN = ("backingStore", "mirror")


def tags(node: Any) -> list[str]:
    return [str(child.tag) for child in node]


@pytest.mark.parametrize(
    "edits",
    [
        {"volume": "vms/b"},
        {"volume": None},
        {"file": "/srv/b"},
        {"block": "/dev/b"},
        {"network": "nbd:b"},
        {"volume": None, "file": "/srv/b"},
    ],
)
def test_another_source_takes_it_along(edits: dict[str, Any]) -> None:
    disk = parse(OLD)
    wanted = {"target": "vda", **{name: it for name, it in edits.items() if it is not None}}
    pairs = [((name,), value) for name, value in edits.items()]
    patch(Disk, disk, pairs, context(Kind.DOMAIN, {}), wanted)
    assert not set(CHAIN) & set(tags(disk)), serialise(disk)
    assert disk.find("source[@index]") is None
    assert disk.find("target") is not None


def test_a_disk_that_stays_keeps_it() -> None:
    disk = parse(OLD)
    edits = [(("cache",), "none"), (("readonly",), True), (("serial",), "s")]
    patch(Disk, disk, edits, context(Kind.DOMAIN, {}), {"target": "vda"})
    assert set(CHAIN) <= set(tags(disk))
    assert disk.find("source[@index='2']") is not None


def domain(fragment: str) -> Any:
    root = parse(
        f"<domain><devices>{OLD}{OLD.replace('vda', 'vdb').replace('a.s1', 'c')}</devices></domain>"
    )
    text = f"<domain><devices><disk><target dev='vda'/>{fragment}</disk></devices></domain>"
    from kvmplan.kinds.domain import Domain

    patch(Domain, root, [(("xml",), text)], context(Kind.DOMAIN, {}), {"xml": text})
    return root.findall("devices/disk")


def test_a_fragment_of_xml_that_names_another_source_takes_it_along() -> None:
    mine, other = domain("<source file='/srv/b'/>")
    assert not set(CHAIN) & set(tags(mine))
    assert set(CHAIN) <= set(tags(other))
    mine, _ = domain("<source file='/pools/vms/a.s1'/><serial>s</serial>")
    assert set(CHAIN) <= set(tags(mine))


def test_what_a_fragment_says_of_its_own_source_stays() -> None:
    mine, _ = domain("<source file='/srv/b'/><backingStore/>")
    assert serialise(mine.find("backingStore")) == "<backingStore/>"
