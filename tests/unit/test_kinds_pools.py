"""Every type of pools: what libvirt's own schema says of its document, and what stands against it.

Types that no host here can run are checked by their definition only.
"""

from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from kvmplan.address import Kind
from kvmplan.kinds import MODELS
from kvmplan.kinds.checks import contradictions
from kvmplan.kinds.pool import Pool
from kvmplan.kinds.pooltypes import POOL_TYPES, Build
from kvmplan.kinds.storage import at_birth, in_pool, lacking, resized
from kvmplan.kinds.volume import Volume
from kvmplan.mapping.document import parse, serialise
from kvmplan.mapping.model import declared
from tests.laws.documents import Lens

SCHEMAS = Path("/usr/share/libvirt/schemas")
CHAP = {"type": "chap", "username": "u", "secret": "iscsi/secret"}
CEPH = {"type": "ceph", "username": "u", "secret": "2b1d8f52-6a43-4c58-9a3a-0d6d3b0d3a01"}
WHOLE: dict[str, dict[str, Any]] = {
    "dir": {"path": "/p"},
    "fs": {"path": "/p", "source": {"devices": ["/dev/sdx1"], "format": "ext4"}},
    "netfs": {"path": "/p", "source": {"hosts": ["h"], "dir": "/export", "format": "nfs"}},
    "logical": {
        "path": "/dev/vg",
        "source": {"name": "vg", "devices": ["/dev/sdy", "/dev/sdz"], "format": "lvm2"},
    },
    "disk": {"path": "/dev", "source": {"devices": ["/dev/sdx"], "format": "gpt"}},
    "iscsi": {
        "path": "/dev/disk/by-path",
        "source": {
            "hosts": ["san:3261"],
            "devices": ["iqn.2026-01.org.example:t"],
            "initiator": "iqn.2026-01.org.example:i",
            "auth": CHAP,
        },
    },
    "iscsi-direct": {
        "source": {
            "hosts": ["[fd00::1]:3260"],
            "devices": ["iqn.2026-01.org.example:t"],
            "initiator": "iqn.2026-01.org.example:i",
            "auth": CHAP,
        },
    },
    "scsi": {"path": "/dev/disk/by-path", "source": {"adapter": {"name": "scsi_host3"}}},
    "mpath": {"path": "/dev/mapper"},
    "rbd": {"source": {"hosts": ["a:6789", "b:6789"], "name": "rbd", "auth": CEPH}},
    "gluster": {"source": {"hosts": ["g"], "name": "vol", "dir": "/images"}},
    "zfs": {"source": {"name": "tank", "devices": ["/dev/sdx"]}},
}
FC = {"type": "fc_host", "parent": "scsi_host3", "wwnn": "20000000c9831b4b", "wwpn": "1" * 16}


def document(kind: Kind, tree: dict[str, Any], born: str) -> str:
    model = MODELS[kind].model_validate(tree, context={"live": True})
    there = Lens(kind, parse(born), declared(model))
    there.patch(there.differences())
    assert there.read(there.desired) == there.desired
    return serialise(there.root)


def valid(name: str, text: str) -> None:
    rules = etree.RelaxNG(etree.parse(str(SCHEMAS / name)))
    assert rules.validate(etree.fromstring(text)), f"{text}\n{rules.error_log}"


def test_the_table_holds_every_type_of_the_language() -> None:
    literal = Pool.model_json_schema()["properties"]["type"]["anyOf"][0]["enum"]
    assert list(POOL_TYPES) == literal
    assert set(WHOLE) == set(literal)


@pytest.mark.parametrize("type_", POOL_TYPES)
def test_a_whole_pool_of_each_type(type_: str) -> None:
    tree = {"type": type_, **WHOLE[type_]}
    assert not list(contradictions(Pool.model_validate(tree), "p"))
    assert not lacking(tree)
    assert set(lacking({"type": type_})) == set(POOL_TYPES[type_].needs)
    born = f"<pool type='{type_}'><name>p</name></pool>"
    valid("storagepool.rng", document(Kind.POOL, tree, born))


def test_a_pool_of_a_fibre_channel_adapter() -> None:
    tree = {"type": "scsi", "path": "/dev/disk/by-path", "source": {"adapter": FC}}
    valid("storagepool.rng", document(Kind.POOL, tree, "<pool type='scsi'><name>p</name></pool>"))


@pytest.mark.parametrize("type_", POOL_TYPES)
def test_what_cannot_be_is_said_before_it_is_tried(type_: str) -> None:
    kind = POOL_TYPES[type_]
    copy = Volume.model_validate({"clone": "a/b"})
    over = Volume.model_validate({"backing": {"volume": "a/b"}})
    plain = Volume.model_validate({"capacity": "1GiB"})
    built = Pool.model_validate({"type": type_, "build": True})
    assert bool(list(in_pool(copy, type_))) is not kind.clones
    assert bool(list(in_pool(over, type_))) is (kind.formats[0] not in kind.overlays)
    assert not list(in_pool(plain, type_))
    assert bool(list(at_birth(plain, type_))) is not bool(kind.makes)
    assert bool(list(resized(type_))) is not kind.resizes
    assert bool(list(contradictions(built, "p"))) is (kind.build is Build.NOTHING)


def test_an_encrypted_volume() -> None:
    born = "<volume><name>v</name><capacity>1024</capacity><target/></volume>"
    made = document(Kind.VOLUME, {"encryption": {"secret": "vms/key"}, "format": "raw"}, born)
    assert '<encryption format="luks"><secret' in made.replace("\n", "").replace("  ", "")
    assert 'usage="vms/key"' in made
    valid("storagevol.rng", made)
