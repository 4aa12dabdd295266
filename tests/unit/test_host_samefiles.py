"""Files with several paths: what uses one path uses the volume at the other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from kvmplan.address import Address, Kind
from kvmplan.host.samefiles import other_paths
from kvmplan.inventory import HostFacts, Inventory, Record
from kvmplan.plan.users import users_of


def stocked(directory: Path, **documents: str) -> Inventory:
    """A host with volumes vms/a and vms/b below `directory`, and these domains and volumes."""
    pool = directory / "pool & more"
    pool.mkdir()
    (directory / "link").symlink_to(pool)
    for name in ("a", "b"):
        (pool / name).touch()
    (directory / "file").symlink_to(pool / "b")
    records = {}
    for name, text in documents.items():
        kind = Kind.VOLUME if text.startswith("<volume") else Kind.DOMAIN
        address = Address("local", kind, f"vms/{name}" if kind is Kind.VOLUME else name)
        text = text.replace("DIR", str(directory))
        records[address] = Record(address, f"{directory}/{name}", text)
    names = {Kind.VOLUME: {f"vms/{name}": f"{pool}/{name}" for name in ("a", "b")}}
    return Inventory("local", HostFacts("qemu:///system"), records, names)


def disk(path: str) -> str:
    target = "<target dev='vda'/>"
    return f"<domain><devices><disk><source file='{path}'/>{target}</disk></devices></domain>"


def test_paths_through_links_are_the_volumes_they_lead_to(tmp_path: Path) -> None:
    inventory = stocked(tmp_path, one=disk("DIR/link/a"), two=disk("DIR/x/../file"))
    pool = tmp_path / "pool & more"
    found = other_paths(inventory)
    assert found[f"{pool}/a"] == (f"{tmp_path}/link/a",)
    assert found[f"{tmp_path}/link/a"] == (f"{pool}/a",)
    assert f"{pool}/b" in found[f"{tmp_path}/file"]


def test_who_uses_a_file_by_another_path_uses_the_volume(tmp_path: Path) -> None:
    over = (
        "<volume type='file'><target><path>/o</path><format type='qcow2'/></target>"
        "<backingStore><path>DIR/link/b</path></backingStore></volume>"
    )
    inventory = stocked(tmp_path, web=disk("DIR/link/a"), o=over)
    inventory = replace(inventory, other_paths=other_paths(inventory))
    users, pool = users_of(inventory), tmp_path / "pool & more"
    assert [use.domain for use in users.volumes["vms/a"]] == ["web"]
    assert users.overlays[f"{pool}/b"] == {"vms/o"}
    assert users.layers[f"{pool}/b"] == {"/o"}


def test_without_links_there_is_nothing_to_tell(tmp_path: Path) -> None:
    inventory = stocked(tmp_path, web=disk("DIR/pool &amp; more/a"), gone=disk("DIR/gone"))
    assert other_paths(inventory) == {}
