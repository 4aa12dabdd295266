"""Short disks: what they stand for, and what is wrong with them at its place."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kvmplan.address import parse_address
from kvmplan.diagnostics import Diagnostics
from kvmplan.spec import Desired, LoadOptions, load

STACK = "stack: {name: lab, uid: 0d9f3c1e-6c1f-4c4f-9a53-0f6a8a3a2b11}\n"
DISKS = """
pools: {vms: {path: /srv/vms}, vg: {type: logical, source: {name: vg}}}
profiles:
  big: {disks: {vdb: {size: 40GiB, pool: vms, cache: none}}}
domains:
  "web-{{ each.key }}":
    for_each: [a]
    profile: big
    lifecycle: {prevent_destroy: true}
    disks:
      vda: {size: 20GiB, pool: vms, source: "https://example.org/i.qcow2", bus: virtio}
      vdc: {size: 1GiB, pool: vg}
      vdd: {pool: vms, backing: vms/base.qcow2, format: qcow2}
      vde: {pool: elsewhere, clone: vms/base.qcow2}
      vdf: {file: /srv/x.img, format: raw}
"""


def loaded(folder: Path, text: str) -> tuple[Desired | None, Diagnostics]:
    (folder / "specs").mkdir()
    (folder / "specs" / "lab.yaml").write_text(text)
    return load(folder / "specs", LoadOptions())


def test_volumes_and_disks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    desired, found = loaded(tmp_path, STACK + DISKS)
    assert desired is not None, list(found)
    volumes = {
        address.name: resource.model.model_dump(exclude_unset=True)
        for address, resource in desired.resources.items()
        if address.kind == "volume"
    }
    size = 2**30
    assert volumes == {
        "vms/web-a-vdb.qcow2": {"capacity": 40 * size, "format": "qcow2"},
        "vms/web-a-vda.qcow2": {
            "source": {"url": "https://example.org/i.qcow2"},
            "capacity": 20 * size,
            "format": "qcow2",
        },
        "vg/web-a-vdc.raw": {"capacity": size, "format": "raw"},
        "vms/web-a-vdd.qcow2": {"backing": {"volume": "vms/base.qcow2"}, "format": "qcow2"},
        "elsewhere/web-a-vde.qcow2": {"clone": "vms/base.qcow2", "format": "qcow2"},
    }
    web = desired.resources[parse_address("domain.web-a")]
    disks = web.model.model_dump(exclude_unset=True)["disks"]
    assert disks["vdb"] == {"target": "vdb", "volume": "vms/web-a-vdb.qcow2", "cache": "none"}
    assert disks["vda"] == {"target": "vda", "volume": "vms/web-a-vda.qcow2", "bus": "virtio"}
    assert disks["vdf"] == {"target": "vdf", "file": "/srv/x.img", "format": "raw"}
    made = desired.resources[parse_address("volume.vms/web-a-vda.qcow2")]
    assert made.lifecycle.prevent_destroy
    assert str(made.place) == "specs/lab.yaml:12:7"
    assert str(made.places[("capacity",)]) == "specs/lab.yaml:12:19"
    assert [str(r.target) for r in made.references] == ["local:pool.vms"]
    assert "local:volume.vms/web-a-vda.qcow2" in [str(r.target) for r in web.references]


@pytest.mark.parametrize(
    ("disk", "said"),
    [
        ("{size: 1GiB}", "it needs the pool that its volume is made in"),
        ("{pool: vms}", "it needs its size"),
        ("{size: 1GiB, pool: vms, volume: vms/x}", "'volume' says where it is already"),
        ("{size: 1G, pool: vms}", "write 1GiB"),
        ("{size: 1GiB, pool: 7}", "'pool' is no text"),
        ("{size: 1GiB, pool: vms, source: 'ftp://x'}", "is no address such as"),
        ("{size: 1GiB, pool: vms, clone: vms/x, backing: vms/y}", "exclude each other"),
    ],
)
def test_mistakes_are_told_at_the_disk(tmp_path: Path, disk: str, said: str) -> None:
    text = f"{STACK}domains:\n  web:\n    disks:\n      vda: {disk}\n"
    _, found = loaded(tmp_path, text)
    line = len(text.splitlines())
    assert any(said in item.summary for item in found), [item.summary for item in found]
    assert {item.place.line for item in found if item.place is not None} == {line}


def test_collision(tmp_path: Path) -> None:
    text = STACK + (
        "volumes:\n  vms/web-vda.qcow2: {capacity: 1GiB}\n"
        "domains:\n  web: {disks: {vda: {size: 1GiB, pool: vms}}}\n"
    )
    (error,) = loaded(tmp_path, text)[1]
    assert error.summary == "volume.vms/web-vda.qcow2 is declared twice"
    assert error.place is not None
    assert error.place.line == len(text.splitlines())


def test_the_page_of_images_is_right(tmp_path: Path) -> None:
    page = (Path(__file__).parent.parent.parent / "docs" / "images.md").read_text()
    blocks = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 2
    desired, found = loaded(tmp_path, STACK + "\n".join(blocks))
    assert desired is not None, list(found)
    assert len(desired.resources) == 8
