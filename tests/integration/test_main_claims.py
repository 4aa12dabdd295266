"""Claims that are lost, torn, copied or stale: what is seen of it, and how all is owned again."""

from __future__ import annotations

import json
import shlex
import shutil
import socket
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import libvirt
import pytest
from lxml import etree

from kvmplan.host import open_host
from kvmplan.kinds.mark import NAMESPACE
from tests.integration.support import (
    NO_CHANGES,
    NOTHING_APPLIED,
    Run,
    Stack,
    document,
    idle_domain,
    kvmplan,
    owned,
    stack,
)
from tests.privatehost import PrivateHost

NOTHING = "Nothing to repair.\n"


@pytest.fixture
def owner(private_host: PrivateHost, tmp_path: Path) -> Iterator[Stack]:
    """A stack with one object of each kind, applied."""
    with stack(tmp_path, private_host) as made:
        made.specs |= owned(made)
        made.apply()
        yield made


def repair(made: Stack, *flags: str) -> Run:
    return made.run("doctor", "--repair", *flags)


def found(made: Stack, code: int) -> dict[str, tuple[str, str]]:
    """What was found: of which address or id -> what and why."""
    done = repair(made, "--json")
    assert done.code == code, str(done)
    rows = json.loads(done.out)["findings"]
    return {row["what"]: (row["trouble"], row["summary"]) for row in rows}


def carry_out(made: Stack) -> list[str]:
    """Run every command that is proposed, as a shell would; all must succeed."""
    proposed: list[str] = json.loads(repair(made, "--json").out)["commands"]
    shown = repair(made).out
    for command in proposed:
        assert f"  {command}\n" in shown
        program, *arguments = shlex.split(command)
        assert program == "kvmplan"
        done = kvmplan(*arguments)
        assert done.code == 0, f"{command}: {done}"
    return [command.split()[1] for command in proposed]


def of_claims(conn: libvirt.virConnect, made: Stack) -> libvirt.virSecret:
    usage = f"kvmplan/claims/{made.uid}"
    (secret,) = (s for s in conn.listAllSecrets() if s.usageID() == usage)
    return secret


def describe(conn: libvirt.virConnect, secret_uuid: str, usage: str, text: str) -> None:
    """Write a secret's description."""
    root = etree.Element("secret", ephemeral="no", private="no")
    etree.SubElement(root, "uuid").text = secret_uuid
    etree.SubElement(root, "description").text = text
    etree.SubElement(etree.SubElement(root, "usage", type="ceph"), "name").text = usage
    conn.secretDefineXML(etree.tostring(root).decode())


def copy_of(conn: libvirt.virConnect, original: Any, name: str) -> Any:
    """What ``virt-clone``, or an edited ``virsh dumpxml | define``, makes: mark and all."""
    is_network = isinstance(original, libvirt.virNetwork)
    root = document(original, libvirt.VIR_NETWORK_XML_INACTIVE if is_network else 2)
    root.find("name").text = name
    for path in ("uuid", "mac", "bridge", "forward", "ip", "devices/disk", "devices/interface/mac"):
        for node in root.findall(path):
            node.getparent().remove(node)
    text = etree.tostring(root).decode()
    return conn.networkDefineXML(text) if is_network else conn.defineXML(text)


def everything(made: Stack) -> set[str]:
    """The addresses of the owner's objects."""
    tag = made.tag
    return {f"network.{tag}", f"pool.{tag}", f"volume.{tag}/disk.qcow2", f"domain.{tag}"}


def test_lost_claims_are_rebuilt_by_the_commands_that_doctor_names(
    owner: Stack, conn: libvirt.virConnect
) -> None:
    assert (repair(owner).code, repair(owner).out) == (0, NOTHING)
    of_claims(conn, owner).undefine()
    lost = found(owner, 1)
    assert {what for what, (trouble, _) in lost.items() if trouble == "unclaimed"} == (
        everything(owner)
    )
    assert "uuid" in lost[f"pool.{owner.tag}"][1]
    assert "Nothing was changed." in repair(owner).out
    assert len(found(owner, 1)) == 4, "it only proposes"

    assert carry_out(owner) == ["adopt"]
    assert repair(owner).out == NOTHING
    assert "Unowned" not in owner.in_sync().out
    entries = json.loads(
        etree.fromstring(of_claims(conn, owner).XMLDesc()).findtext("description") or ""
    )["entries"]
    assert entries[f"volume.{owner.tag}/disk.qcow2"]["born"] == {"format": "qcow2"}

    kvmplan("forget", f"domain.{owner.tag}", "--specs", owner.path, "--connect", uri(owner))
    assert repair(owner).out == NOTHING, "what was given up is not proposed"
    kvmplan("adopt", f"domain.{owner.tag}", "--specs", owner.path, "--connect", uri(owner))
    assert owner.destroy().last == "Apply complete! Resources: 0 added, 0 changed, 4 destroyed."


def uri(made: Stack) -> str:
    assert made.host is not None
    return str(made.host.uri)


def test_who_wants_things_to_go_is_told_of_what_was_lost(
    conn: libvirt.virConnect, owner: Stack
) -> None:
    """ "No changes", and nothing else, would be read as: nothing of this stack is left."""
    of_claims(conn, owner).undefine()
    gone = dict(owner.domains)
    owner.domains.clear()
    adopt: list[str] = []
    for run in (owner.run("destroy", "--auto-approve"), owner.run("plan", "--prune")):
        assert (run.code, run.out.count("warning[KVP226]")) == (0, 1), str(run)
        said = " ".join(run.err.split())
        assert all(f"domain.{name}" in said for name in gone), str(run)
        adopt = said.partition("`kvmplan adopt ")[2].partition("`")[0].split()
    owner.domains.update(gone)
    owner.write()
    assert owner.host is not None
    place = ("--specs", owner.path, "--connect", owner.host.uri)
    assert kvmplan("adopt", *adopt, *place).code == 0
    assert "KVP226" not in owner.run("plan").err


def test_damaged_claims_stop_every_run_until_they_are_rebuilt(
    owner: Stack, conn: libvirt.virConnect
) -> None:
    secret = of_claims(conn, owner)
    usage, key = secret.usageID(), secret.value(0)
    whole = etree.fromstring(secret.XMLDesc()).findtext("description") or ""
    describe(conn, secret.UUIDString(), usage, '{"format":99}')
    newer = f"{owner.run('plan').err}{owner.apply(code=1).err}"
    assert newer.count("KVP515") == 2
    adopting = ("adopt", "--over-damaged", "--specs", owner.path, "--connect", uri(owner))
    assert "KVP515" in kvmplan(*adopting).err
    assert "adopt --over" not in repair(owner).out

    describe(conn, secret.UUIDString(), usage, whole[: len(whole) // 2])
    stopped = owner.plan()
    assert (stopped.code, "doctor --repair" in stopped.err) == (1, True), str(stopped)
    damaged = found(owner, 1)
    assert damaged.pop(usage)[0] == "damaged"
    assert set(damaged) == everything(owner)
    assert carry_out(owner) == ["adopt"]
    assert repair(owner).out == NOTHING
    assert "Unowned" not in owner.in_sync().out
    assert of_claims(conn, owner).value(0) == key, "the stack's key is kept"


@pytest.mark.parametrize("text", ["[" * 50_000, '{"format":1,"entries":' + "[" * 50_000])
def test_what_is_nested_without_end_stops_nobody_else(
    owner: Stack, conn: libvirt.virConnect, text: str
) -> None:
    """As claims of another stack, and as the mark of a stranger's domain."""
    strange = str(uuid.uuid4())
    describe(conn, strange, f"kvmplan/claims/{strange}", text)
    kind, config = libvirt.VIR_DOMAIN_METADATA_ELEMENT, libvirt.VIR_DOMAIN_AFFECT_CONFIG
    domain = conn.defineXML(
        f"<domain type='qemu'><name>{owner.tag}-strange</name><memory>65536</memory>"
        "<os><type>hvm</type></os></domain>"
    )
    domain.setMetadata(kind, f"<object>{text}</object>", "kvmplan", NAMESPACE, config)
    try:
        owner.in_sync()
        owner.domains[owner.tag]["title"] = "edited"
        assert "cannot be read" in owner.settle().err
        assert owner.run("status").code == 0
        assert repair(owner).code == 0
        owner.specs["domains"][f"{owner.tag}-strange"] = idle_domain(title="x")
        assert "KVP220" in owner.plan().err
        del owner.specs["domains"][f"{owner.tag}-strange"]
        owner.apply()
    finally:
        domain.undefine()
        conn.secretLookupByUUIDString(strange).undefine()


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "[" * 50_000,
        lambda text: text.replace('"key":', '"born":"x","key":', 1),
        lambda text: text.replace('"key":', '"applied":[1],"key":', 1),
    ],
)
def test_own_claims_that_nobody_can_read_are_said_to_be_damaged(
    owner: Stack, conn: libvirt.virConnect, damage: Any
) -> None:
    secret = of_claims(conn, owner)
    whole = etree.fromstring(secret.XMLDesc()).findtext("description") or ""
    describe(conn, secret.UUIDString(), secret.usageID(), damage(whole))
    for done in (owner.plan(), owner.apply(code=1), owner.destroy(code=1)):
        assert (done.code, "KVP515" in done.err) == (1, True), str(done)
    assert {row[0] for row in found(owner, 1).values()} >= {"damaged"}
    describe(conn, secret.UUIDString(), secret.usageID(), whole)
    owner.in_sync()


def test_a_damaged_shard_leaves_the_others_as_they_are(
    owner: Stack, conn: libvirt.virConnect
) -> None:
    usage = f"kvmplan/claims/{owner.uid}/1"
    describe(conn, str(uuid.uuid4()), usage, "torn")
    assert {row[0] for row in found(owner, 1).values()} == {"damaged"}
    assert carry_out(owner) == ["adopt"]
    assert usage not in {secret.usageID() for secret in conn.listAllSecrets()}
    owner.in_sync()
    assert repair(owner).out == NOTHING


def test_claims_that_speak_of_nothing_and_dead_locks_are_cleared(
    owner: Stack, conn: libvirt.virConnect
) -> None:
    tag = owner.tag
    for name in ("gone", "taken", "moved"):
        owner.domains[f"{tag}-{name}"] = idle_domain()
    owner.apply()
    for name in ("gone", "taken", "moved"):
        del owner.domains[f"{tag}-{name}"]
    for name in ("gone", "taken"):
        conn.lookupByName(f"{tag}-{name}").undefine()
    renamed = conn.lookupByName(f"{tag}-moved")
    renamed.rename(f"{tag}-new")
    stranger = conn.defineXML(
        f"<domain type='qemu'><name>{tag}-taken</name><memory>65536</memory>"
        "<os><type>hvm</type></os></domain>"
    )
    ended = subprocess.run(["sh", "-c", "echo $$"], capture_output=True, text=True, check=True)
    who = f"root@{socket.gethostname()} pid {ended.stdout.strip()}"
    dead = {"format": 1, "who": who, "operation": "apply", "since": "then", "beat": 3}
    lock = str(uuid.uuid4())
    describe(conn, lock, f"kvmplan/lock/{owner.uid}", json.dumps(dead))

    seen = {what: trouble for what, (trouble, _) in found(owner, 1).items()}
    assert seen == {
        f"domain.{tag}-gone": "gone",
        f"domain.{tag}-taken": "replaced",
        f"domain.{tag}-moved": "renamed",
        lock: "locked",
    }
    assert "its process is gone" in repair(owner).out
    assert carry_out(owner) == ["force-unlock", "adopt", "forget"]
    assert repair(owner).out == NOTHING
    assert owner.run("orphans").out.split() == [f"domain.{tag}-new"]
    pruned = owner.run("apply", "--auto-approve", "--prune")
    assert pruned.last == "Apply complete! Resources: 0 added, 0 changed, 1 destroyed."
    stranger.undefine()

    holder = open_host(uri=uri(owner))
    try:
        with holder.lock(owner.uid, "a test", 0.0):
            assert repair(owner).out == NOTHING, "its holder is alive: this very process"
    finally:
        holder.close()


def test_a_clone_is_not_ours_and_is_called_a_clone(owner: Stack, conn: libvirt.virConnect) -> None:
    tag = owner.tag
    name = f"{tag}-clone"
    clones = [
        copy_of(conn, conn.lookupByName(tag), name),
        copy_of(conn, conn.networkLookupByName(tag), name),
    ]
    before = [clone.XMLDesc() for clone in clones]
    try:
        told = owner.run("status").out
        about = {
            row["address"]: row["about"]
            for row in json.loads(owner.run("status", "--json").out)["unmanaged"]
        }
        for kind in ("domain", "network"):
            words = f"a copy of {kind}.{tag} of this stack"
            assert about[f"local:{kind}.{name}"] == words
            assert f"unmanaged, {words}" in told
        assert {row[0] for row in found(owner, 0).values()} == {"copy"}
        assert owner.run("orphans").out == "No orphans.\n"

        domain = owner.domains.pop(tag)
        used = owner.run("apply", "--auto-approve", "--prune", "--max-delete", "9")
        assert used.last == "Apply complete! Resources: 0 added, 0 changed, 1 destroyed.", str(used)
        assert found(owner, 0).keys() == {f"domain.{name}", f"network.{name}"}
        refused = owner.destroy(code=7)
        assert f"used by domain.{name}" in refused.err
        owner.domains[tag] = domain
        owner.apply()

        owner.domains[name] = {"memory": "96MiB"}
        stopped = owner.plan()
        assert (stopped.code, "KVP220" in stopped.err) == (1, True), str(stopped)
        assert f"a copy of domain.{tag} of this stack" in stopped.err
        owner.domains[name] = {"memory": "64MiB"}
        assert f"it is a copy of domain.{tag} of this stack" in owner.in_sync().out
        del owner.domains[name]

        other = Stack(owner.directory, owner.host, {"domains": {name: {"memory": "96MiB"}}})
        assert f"a copy of domain.{tag} of the stack '{tag}'" in other.plan().err
        assert f"owned by the stack '{tag}'" in other.run("status").out
        assert [clone.XMLDesc() for clone in clones] == before
    finally:
        for clone in clones:
            clone.undefine()


def test_a_volume_made_anew_in_another_format_is_not_ours(
    owner: Stack, conn: libvirt.virConnect
) -> None:
    tag = owner.tag
    pool = conn.storagePoolLookupByName(tag)
    pool.storageVolLookupByName("disk.qcow2").delete()
    theirs = "<volume><name>disk.qcow2</name><capacity>8388608</capacity></volume>"
    pool.createXML(theirs, 0)
    assert "not ours, in sync" in owner.in_sync().out
    owner.volumes.clear()
    owner.domains[tag]["disks"] = {}
    owner.apply("--prune", "--max-delete", "9")
    assert pool.storageVolLookupByName("disk.qcow2").info()[1] == 8388608
    pool.storageVolLookupByName("disk.qcow2").delete()


def repository(made: Stack, folder: Path, remote: str) -> None:
    """Move a stack's specs into a repository."""
    if made.path.exists():
        shutil.move(made.path, folder / made.path.name)
    made.directory = folder
    subprocess.run(["git", "init", "-q", folder], check=True)
    subprocess.run(["git", "-C", folder, "remote", "add", "origin", remote], check=True)


def test_a_copied_repository_deletes_nothing_until_it_says_who_it_is(
    owner: Stack, conn: libvirt.virConnect, tmp_path: Path
) -> None:
    tag = owner.tag
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    repository(owner, tmp_path / "first", "https://me:t0ken@git.example.org/lab.git")
    owner.apply()
    text = of_claims(conn, owner).XMLDesc()
    assert "git.example.org/lab" in text
    assert "t0ken" not in text

    copy = Stack(tmp_path, owner.host, {"networks": owner.specs["networks"]}, uid=owner.uid)
    copy.specs["stack"] = {"name": "copy", "uid": owner.uid}
    repository(copy, tmp_path / "second", "git@git.example.org:copy.git")
    planned = copy.plan()
    assert (planned.code, "KVP223" in planned.err) == (0, True), str(planned)
    assert f"'{tag}' of git.example.org/lab" in planned.err
    copy.apply()
    for command in (("apply", "--prune", "--max-delete", "9"), ("destroy",)):
        refused = copy.run(command[0], "--auto-approve", *command[1:])
        assert (refused.code, "KVP219" in refused.err) == (7, True), str(refused)
    in_sync = owner.in_sync()
    assert "KVP22" not in in_sync.err, str(in_sync)

    owner.specs["stack"]["name"] = "renamed"
    renamed = owner.in_sync()
    assert f"the stack '{tag}'" in renamed.err
    assert "KVP222" in renamed.err
    owner.apply()
    assert owner.in_sync().err == ""
    moved = ("-C", str(owner.directory), "remote", "set-url", "origin", "https://new.example/lab")
    subprocess.run(["git", *moved], check=True)
    assert "KVP223" in owner.in_sync().err
    assert owner.run("plan", "--same-stack").err == ""
    owner.apply("--same-stack")
    assert owner.in_sync().err == ""


def test_without_secrets_nothing_is_owned_and_nothing_is_deleted(tmp_path: Path) -> None:
    uri = "test:///default"
    keeper = libvirt.open(uri)  # the driver's default host lives as long as a connection to it
    made = Stack(tmp_path, None, {"networks": {"fresh": {"forward": "none"}}})
    made.specs["pools"] = {"default-pool": {"path": "/default-pool"}}
    made.write()

    def run(command: str, *flags: str) -> Run:
        return kvmplan(command, made.path, "--connect", uri, *flags)

    try:
        planned = run("plan", "--detailed-exitcode")
        assert (planned.code, "KVP224" in planned.err) == (2, True), str(planned)
        assert run("apply", "--auto-approve").code == 0
        assert keeper.networkLookupByName("fresh").isActive()
        again = run("plan", "--detailed-exitcode")
        assert (again.code, again.last, "KVP224" in again.err) == (0, NO_CHANGES, True), str(again)

        assert run("destroy", "--auto-approve").last == NOTHING_APPLIED
        replaced = run("apply", "--auto-approve", "--replace", "pool.default-pool")
        assert (replaced.code, "KVP225" in replaced.err) == (7, True), str(replaced)
        del made.specs["networks"]
        made.write()
        flags = ("--auto-approve", "--prune", "--max-delete", "9")
        assert run("apply", *flags).last == NOTHING_APPLIED
        assert keeper.networkLookupByName("fresh").isActive()
        assert run("doctor", "--repair").code == 0
        for command in ("status", "orphans", "drift"):
            assert run(command).code == 0
        adopting = kvmplan("adopt", "network.fresh", "--specs", made.path, "--connect", uri)
        assert (adopting.code, "no secrets" in adopting.err) == (1, True), str(adopting)
    finally:
        keeper.close()
