"""Where a kind's field is more than one node, or libvirt's word for a value is not the user's."""

from typing import Any

import pytest

from kvmplan.address import Kind
from kvmplan.kinds import describe
from kvmplan.mapping.document import parse, serialise
from tests.elements import attributes, the
from tests.laws.documents import Lens, lens, text_of


def patched(name: str, **desired: Any) -> Lens:
    there = lens(name, desired)
    there.patch(there.differences())
    assert there.differences() == []
    return there


@pytest.mark.parametrize(
    ("wanted", "same"),
    [("q35", True), ("pc-q35-7.2", True), ("pc", False), ("pc-q35-7.1", False), ("q3", False)],
)
def test_a_machine_alias_is_a_family(wanted: str, same: bool) -> None:
    assert (lens("domain-minimal", {"machine": wanted}).differences() == []) is same


def test_secure_boot_is_the_loaders_word_where_there_is_one() -> None:
    assert lens("domain-uefi-loader", {}).read()["firmware"]["secure_boot"] is True
    there = patched("domain-uefi-loader", firmware={"secure_boot": False})
    assert the(there.root, "os/loader").get("secure") == "no"
    assert there.root.find("os/firmware") is None
    chosen = patched("domain-uefi-auto", firmware={"secure_boot": True})
    assert the(chosen.root, "os/firmware/feature[@name='secure-boot']").get("enabled") == "yes"


def test_bios_takes_loader_and_nvram_out() -> None:
    there = patched("domain-uefi-loader", firmware={"type": "bios"})
    assert [node.tag for node in the(there.root, "os")] == ["type", "boot"]


def test_graphics_by_address_are_no_longer_by_socket() -> None:
    there = patched("domain-vncsocket", graphics={"vnc": {"type": "vnc", "port": 5901}})
    assert attributes(the(there.root, "devices/graphics")) == {
        "type": "vnc",
        "port": "5901",
        "autoport": "no",
    }


def test_a_volume_on_a_disk_is_written_by_its_path() -> None:
    disk = {"target": "vda", "volume": "vms/new"}
    there = patched("domain-run", disks={**lens("domain-run", {}).read()["disks"], "vda": disk})
    node = the(there.root, "devices/disk")
    assert node.get("type") == "file"
    assert the(node, "source").get("file") == "/pools/vms/new"
    assert node.find("address") is not None


def test_a_backing_is_written_once_and_with_its_format() -> None:
    there = Lens(Kind.VOLUME, parse(text_of("volume")), {"backing": {"volume": "vms/base"}})
    for _ in range(2):
        there.patch([(("backing", "volume"), None, "vms/base")])
    store = the(there.root, "backingStore")
    assert "".join(serialise(node) for node in store) == (
        '<path>/pools/vms/base</path><format type="qcow2"/>'
    )


def test_secrets_are_read_from_secure_documents_and_never_described() -> None:
    seen = lens("domain-graphics", {}).read()["graphics"]["vnc"]["password"]
    assert seen.reveal() == "s3cret"
    path = ("graphics", "vnc", "password")
    assert describe(Kind.DOMAIN, path, seen) == "(sensitive)"
    assert describe(Kind.DOMAIN, ("memory", "current"), 2 << 30) == "2GiB"
