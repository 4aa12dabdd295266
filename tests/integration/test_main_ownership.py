"""Whose an object is: what kvmplan takes over, leaves alone, refuses; and who may write."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import libvirt
import pytest
from lxml import etree

from kvmplan.host import open_host
from tests.elements import the
from tests.integration.support import (
    NOTHING_APPLIED,
    Stack,
    kvmplan,
    owned,
    stack,
)
from tests.privatehost import PrivateHost

FOREIGN_DOMAIN = """<domain type='qemu'><name>{name}</name><memory unit='MiB'>64</memory>
<vcpu>1</vcpu><os><type arch='x86_64' machine='q35'>hvm</type></os><devices>{devices}</devices>
</domain>"""
FOREIGN_NETWORK = "<network><name>{name}</name></network>"


@pytest.fixture
def owner(private_host: PrivateHost, tmp_path: Path) -> Iterator[Stack]:
    """A stack with a network, a pool, a volume and a stopped domain."""
    with stack(tmp_path, private_host) as made:
        made.specs |= owned(made)
        yield made


def beside(made: Stack, **specs: object) -> Stack:
    """Another stack on the same host that names the same objects."""
    other = Stack(made.directory, made.host, dict(specs))
    other.specs["stack"]["name"] = "other"
    return other


def claims(conn: libvirt.virConnect, uid: str) -> dict[str, object]:
    """What a stack has claimed, by address."""
    for secret in conn.listAllSecrets():
        if secret.usageID() == f"kvmplan/claims/{uid}":
            text = secret.XMLDesc().partition("<description>")[2].partition("</description>")[0]
            found: dict[str, object] = json.loads(text.replace("&quot;", '"'))
            return found
    return {}


def test_a_strangers_equal_object_is_left_alone(
    private_host: PrivateHost, conn: libvirt.virConnect, tmp_path: Path
) -> None:
    with stack(tmp_path, private_host) as made:
        stranger = conn.networkDefineXML(FOREIGN_NETWORK.format(name=made.tag))
        stranger.create()
        stranger.setAutostart(True)
        made.specs["networks"] = {made.tag: {"forward": "none"}}
        try:
            planned = made.in_sync()
            assert "Unowned" in planned.out
            assert made.apply().last == NOTHING_APPLIED
            assert claims(conn, made.uid) == {}
            assert made.destroy().last == NOTHING_APPLIED
            assert stranger.isActive()
        finally:
            stranger.destroy()
            stranger.undefine()


def test_a_strangers_different_object_needs_adopt(
    private_host: PrivateHost, conn: libvirt.virConnect, tmp_path: Path
) -> None:
    with stack(tmp_path, private_host) as made:
        xml = FOREIGN_DOMAIN.format(name=made.tag, devices="")
        stranger = conn.defineXML(xml.replace("<memory", "<title>theirs</title><memory"))
        made.specs["domains"] = {made.tag: {"title": "ours"}}
        refused = made.plan()
        assert refused.code == 1
        assert "KVP220" in refused.err
        assert "--adopt" in refused.err
        assert made.apply(code=1).code == 1
        assert "theirs" in stranger.XMLDesc()

        adopted = made.plan("--adopt")
        assert adopted.last == "Plan: 0 to add, 1 to change, 0 to destroy.", str(adopted)
        made.apply("--adopt")
        made.in_sync()
        mine = conn.lookupByName(made.tag)
        assert mine.UUIDString() == stranger.UUIDString()
        assert "<title>ours</title>" in mine.XMLDesc()


def test_an_equal_object_is_adopted_when_asked(
    private_host: PrivateHost, conn: libvirt.virConnect, tmp_path: Path
) -> None:
    with stack(tmp_path, private_host) as made:
        conn.defineXML(FOREIGN_DOMAIN.format(name=made.tag, devices=""))
        made.specs["domains"] = {made.tag: {"memory": "64MiB"}}
        assert "Unowned" in made.in_sync().out
        made.apply("--adopt")
        assert "Unowned" not in made.in_sync().out
        assert f"domain.{made.tag}" in json.dumps(claims(conn, made.uid))


def test_a_running_guest_is_adopted_as_it_is(
    private_host: PrivateHost, conn: libvirt.virConnect, tmp_path: Path
) -> None:
    with stack(tmp_path, private_host) as made:
        mac = "52:54:00:ad:0b:70"
        nic = f"<interface type='user'><mac address='{mac}'/><model type='e1000e'/></interface>"
        stranger = conn.defineXML(FOREIGN_DOMAIN.format(name=made.tag, devices=nic))
        stranger.create()
        running = stranger.ID()
        made.specs["domains"] = {
            made.tag: {
                "title": "adopted",
                "interfaces": {"out": {"user": True}},
                "shutdown_timeout": "1s",
            }
        }
        planned = made.plan("--adopt")
        assert planned.last == "Plan: 0 to add, 1 to change, 0 to destroy.", str(planned)
        made.apply("--adopt")
        settled = made.in_sync()
        assert "Pending restart" not in settled.out
        assert "Unlisted" not in settled.out
        mine = conn.lookupByName(made.tag)
        assert mine.ID() == running
        assert mac in mine.XMLDesc()
        assert "e1000e" in mine.XMLDesc()
        made.domains[made.tag]["interfaces"] = {"renamed": {"user": True}}
        made.apply()
        assert mac in conn.lookupByName(made.tag).XMLDesc()
        made.in_sync()


def test_another_stacks_object_is_never_taken(owner: Stack, conn: libvirt.virConnect) -> None:
    owner.apply()
    other = beside(owner, domains={owner.tag: {"title": "mine now"}})
    for flags in ((), ("--adopt",)):
        refused = other.plan(*flags)
        assert refused.code == 1, str(refused)
        assert "KVP221" in refused.err
        assert owner.tag in refused.err
    assert other.run("destroy", "--auto-approve").last == NOTHING_APPLIED
    owner.in_sync()
    assert claims(conn, other.uid) == {}


def test_what_was_forgotten_is_free_for_another_stack(
    owner: Stack, conn: libvirt.virConnect
) -> None:
    owner.apply()
    assert owner.host is not None
    other = beside(owner, domains=owner.specs["domains"])
    other.write()
    name, connect = f"domain.{owner.tag}", ("--connect", owner.host.uri)
    theirs, ours = (("--specs", str(it.path), *connect) for it in (owner, other))
    assert "KVP221" in kvmplan("adopt", name, *ours).err
    assert kvmplan("forget", name, *theirs).code == 0
    (line,) = (it for it in other.run("status").out.splitlines() if name in it)
    assert "owned by" not in line
    taken = kvmplan("adopt", name, *ours)
    assert taken.code == 0, str(taken)
    other.domains[owner.tag]["title"] = "theirs now"
    other.apply()
    assert "<title>theirs now</title>" in conn.lookupByName(owner.tag).XMLDesc()
    other.in_sync()
    owner.domains[owner.tag]["title"] = "no more"
    assert "KVP221" in owner.plan().err
    del owner.specs["domains"]
    owner.apply()
    assert "<title>theirs now</title>" in conn.lookupByName(owner.tag).XMLDesc()
    assert other.destroy().code == 0


@pytest.mark.parametrize("torn", [False, True])
def test_what_another_stack_owns_is_not_destroyed_by_old_claims(
    owner: Stack, conn: libvirt.virConnect, torn: bool
) -> None:
    """`torn`: the old claim is that of a run that was cut, and names no key."""
    owner.apply()
    assert owner.host is not None
    volume, connect = f"volume.{owner.tag}/disk.qcow2", ("--connect", owner.host.uri)
    secret = next(s for s in conn.listAllSecrets() if s.usageID().endswith(f"claims/{owner.uid}"))
    old = secret.XMLDesc()
    other = beside(owner, volumes=owner.specs["volumes"])
    other.write()
    theirs, ours = (("--specs", str(it.path), *connect) for it in (owner, other))
    everything = (volume, f"pool.{owner.tag}", f"network.{owner.tag}", f"domain.{owner.tag}")
    assert kvmplan("forget", *everything, *theirs).code == 0
    assert kvmplan("adopt", *everything, *ours).code == 0
    if torn:
        root = etree.fromstring(old)
        entries = json.loads(root.findtext("description") or "")
        entries["entries"][volume] = {"key": "", "phase": "creating"}
        the(root, "description").text = json.dumps(entries)
        old = etree.tostring(root, encoding="unicode")
    conn.secretDefineXML(old)
    assert owner.plan().err.count("KVP221") >= 4
    owner.specs["stack"]["prune"] = True
    del owner.specs["networks"], owner.specs["domains"]
    pruned = owner.run("plan", "--allow-data-loss", "volume.*")
    assert "will be deleted" not in pruned.out
    assert "- network" not in pruned.out
    left = owner.destroy()
    assert left.last == NOTHING_APPLIED
    assert left.err.count("KVP221") == 4, str(left)
    for kind, lookup in (("domain", conn.lookupByName), ("network", conn.networkLookupByName)):
        assert lookup(owner.tag).name() == owner.tag, kind
    assert (owner.directory / "pool" / "disk.qcow2").exists()
    assert kvmplan("forget", *everything, *theirs).code == 0
    assert other.run("destroy", "--auto-approve", "--allow-data-loss", "volume.*").code == 0
    assert not (owner.directory / "pool" / "disk.qcow2").exists()


def test_lost_claims_make_objects_unowned(owner: Stack, conn: libvirt.virConnect) -> None:
    owner.apply()
    lost = next(s for s in conn.listAllSecrets() if s.usageID() == f"kvmplan/claims/{owner.uid}")
    lost.undefine()
    planned = owner.in_sync()
    assert "Unowned" in planned.out
    assert owner.destroy().last == NOTHING_APPLIED
    assert conn.lookupByName(owner.tag).isActive() == 0
    owner.domains[owner.tag]["title"] = "edited"
    refused = owner.plan()
    assert (refused.code, "KVP220" in refused.err) == (1, True), str(refused)
    owner.apply("--adopt")
    owner.in_sync()
    assert "Unowned" not in owner.plan().out


def test_what_strangers_use_is_not_destroyed(owner: Stack, conn: libvirt.virConnect) -> None:
    owner.apply()
    nic = f"<interface type='network'><source network='{owner.tag}'/></interface>"
    name = f"{owner.tag}-stranger"
    stranger = conn.defineXML(FOREIGN_DOMAIN.format(name=name, devices=nic))
    refused = owner.destroy(code=7)
    assert "KVP212" in refused.err
    assert f"domain.{name}" in refused.err
    assert "Nothing was done." in refused.err
    owner.in_sync()

    path = owner.directory / "pool" / "disk.qcow2"
    disk = (
        "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>"
        f"<source file='{path}'/><target dev='vda' bus='virtio'/></disk>"
    )
    stranger = conn.defineXML(
        FOREIGN_DOMAIN.format(name=name, devices=disk).replace(
            "<memory", f"<uuid>{stranger.UUIDString()}</uuid><memory", 1
        )
    )
    stranger.create()
    refused = owner.destroy(code=7)
    assert f"volume.{owner.tag}/disk.qcow2" in refused.err
    assert f"domain.{name}" in refused.err
    stranger.destroy()
    stranger.undefine()
    owner.in_sync()


def test_a_held_lock_stops_apply_until_it_is_removed(
    owner: Stack, private_host: PrivateHost
) -> None:
    holder = open_host(uri=private_host.uri)
    try:
        with holder.lock(owner.uid, "a test", 0.0) as held:
            assert owner.plan().code == 2  # a plan takes none
            refused = owner.apply(code=4)
            assert "KVP401" in refused.err
            assert held.info.id in refused.err
            for more, words in (((), "err"), (("--json",), "out")):
                waited = owner.apply("--lock-timeout", "2s", *more, code=4)
                said = getattr(waited, words)
                assert said.count("waiting for it, 2 s at most") == (2 if more else 1), str(waited)
                assert f"is locked by {held.info.who} since {held.info.since}" in said
            warned = [event["diagnostic"] for event in waited.events if "diagnostic" in event]
            assert [(it["severity"], it["code"]) for it in warned] == [
                ("warning", "KVP401"),
                ("error", "KVP401"),
            ]
            flags = ("--specs", str(owner.path), "--connect", private_host.uri)
            (row,) = [
                row
                for row in json.loads(kvmplan("lock", "--json", *flags).out)
                if row["stack_uid"] == owner.uid
            ]
            assert (row["id"], row["operation"]) == (held.info.id, "a test")
            assert held.info.id in kvmplan("lock", *flags).out
            assert kvmplan("force-unlock", held.info.id, *flags).code == 0
            unknown = kvmplan("force-unlock", held.info.id, *flags)
            assert (unknown.code, "KVP403" in unknown.err) == (1, True), str(unknown)
            owner.apply()
    finally:
        holder.close()
    owner.in_sync()
    assert owner.uid not in kvmplan("lock", "--json", *flags).out


REMEDIES = (
    ("adopt domain.TAGx", "did you mean 'domain.TAG'?"),
    ("forget network.TAGx", "did you mean 'network.TAG'?"),
    ("forget network.nothing-like-it", "there are: domain.TAG, network.TAG"),
    ("hold domain.STRANGER", "`kvmplan adopt domain.STRANGER` first"),
    ("start domain.TAGx", "did you mean 'domain.TAG'?"),
    ("start network.TAG", "`active:` in the specs starts and stops networks"),
    ("start domain.STRANGER", "`kvmplan adopt domain.STRANGER` first"),
    ("restart domain.TAG", "there is nothing to restart; start it"),
    ("ssh domain.TAG", "kvmplan start domain.TAG"),
    ("ssh domain.TAGx", "did you mean 'domain.TAG'?"),
)
"""What is typed, and what helps."""


def test_remedies_are_what_helps(owner: Stack, conn: libvirt.virConnect) -> None:
    owner.apply()
    assert owner.host is not None
    name = f"strange-{owner.tag}"
    stranger = conn.defineXML(FOREIGN_DOMAIN.format(name=name, devices=""))
    place = ("--specs", owner.path, "--connect", owner.host.uri)
    try:
        for typed, remedy in REMEDIES:
            words, wanted = (
                it.replace("TAG", owner.tag).replace("STRANGER", name) for it in (typed, remedy)
            )
            refused = kvmplan(*words.split(), *place)
            assert refused.code in (1, 5), str(refused)
            assert wanted in " ".join(refused.err.split()), f"{typed}: {refused}"
    finally:
        stranger.undefine()
