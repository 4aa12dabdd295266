"""Every verb on a real host: it does what it says, and again is as good."""

import contextlib
import json
import uuid
from collections.abc import Iterator
from typing import Any

import libvirt
import libvirt_qemu
import pytest

from kvmplan.address import Address, Kind
from kvmplan.apply.port import HostError, NotLive, TimedOut, Vanished
from kvmplan.host import actuators_device, open_host
from kvmplan.host.live import LibvirtHost
from kvmplan.inventory import Record, State
from kvmplan.kinds.verbs import Verb
from tests.privatehost import PrivateHost

DOMAIN = """<domain type='qemu'><name>{name}</name><memory unit='MiB'>64</memory>
<vcpu current='1'>2</vcpu><os><type arch='x86_64' machine='q35'>hvm</type></os>
<devices><controller type='usb' model='qemu-xhci'/></devices></domain>"""
NETWORK = """<network><name>{name}</name><ip address='10.{n}.1.1' prefix='24'>
<dhcp><range start='10.{n}.1.9' end='10.{n}.1.99'/></dhcp></ip></network>"""
POOL = "<pool type='dir'><name>{name}</name><target><path>{path}</path></target></pool>"
VOLUME = """<volume><name>{name}</name><capacity unit='MiB'>1</capacity>
<target><format type='qcow2'/></target></volume>"""
DISK = """<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{path}'/>
<target dev='{target}' bus='{bus}'/></disk>"""
MEDIUM = "<volume><name>b.raw</name><capacity unit='MiB'>1</capacity></volume>"
TITLE = "<note xmlns='https://example.org/ns'>ours</note>"


class Actor:
    """One host, objects by names nobody else has."""

    def __init__(self, host: LibvirtHost, directory: str) -> None:
        self.host, self.tag = host, uuid.uuid4().hex[:8]
        self.directory = f"{directory}/{self.tag}"
        self.octet = int(self.tag[:2], 16) % 200 + 20
        self.domain = self.at(Kind.DOMAIN, "dom")
        self.network = self.at(Kind.NETWORK, "net")
        self.pool = self.at(Kind.POOL, "pool")

    def at(self, kind: Kind, name: str) -> Address:
        return Address("local", kind, f"{self.tag}-{name}")

    def volume(self, name: str) -> Address:
        return Address("local", Kind.VOLUME, f"{self.pool.name}/{name}")

    def do(self, verb: Verb, address: Address, **arguments: Any) -> None:
        self.host.perform(verb, address, arguments)

    def see(self, address: Address) -> Record:
        record = self.host.record(address)
        assert record is not None
        return record

    def define(self, address: Address, xml: str) -> None:
        text = xml.format(name=address.name, n=self.octet, path=self.directory)
        self.do(Verb.DEFINE, address, xml=text)

    def close(self) -> None:
        self.do(Verb.STOP, self.domain)
        self.do(Verb.UNDEFINE, self.domain, keep_state=False)
        for address in (self.network, self.pool):
            self.do(Verb.STOP, address)
            self.do(Verb.UNDEFINE, address, keep_state=True)
        self.host.close()


@pytest.fixture
def actor(private_host: PrivateHost) -> Iterator[Actor]:
    made = Actor(open_host(uri=private_host.uri), str(private_host.directory))
    yield made
    made.close()


def with_pool(actor: Actor) -> Address:
    """A running pool with one qcow2 volume."""
    actor.define(actor.pool, POOL)
    actor.do(Verb.BUILD, actor.pool)
    actor.do(Verb.BUILD, actor.pool)
    actor.do(Verb.START, actor.pool)
    volume = actor.volume("a.qcow2")
    actor.do(Verb.CREATE_VOLUME, volume, xml=VOLUME.format(name="a.qcow2"))
    return volume


def with_domain(actor: Actor) -> Address:
    actor.define(actor.domain, DOMAIN)
    actor.do(Verb.START, actor.domain)
    return actor.domain


@pytest.mark.parametrize("kind", [Kind.DOMAIN, Kind.NETWORK])
def test_a_life_from_define_to_undefine_each_step_twice(actor: Actor, kind: Kind) -> None:
    address = actor.domain if kind is Kind.DOMAIN else actor.network
    actor.define(address, DOMAIN if kind is Kind.DOMAIN else NETWORK)
    for verb, arguments, active in (
        (Verb.SET_AUTOSTART, {"on": True}, False),
        (Verb.START, {}, True),
        (Verb.STOP, {}, False),
    ):
        for _ in range(2):
            actor.do(verb, address, **arguments)
        assert actor.see(address).active is active
    assert actor.see(address).autostart
    for _ in range(2):
        actor.do(Verb.UNDEFINE, address, keep_state=True)
    assert actor.host.record(address) is None
    with pytest.raises(Vanished):
        actor.do(Verb.START, address)


@pytest.mark.parametrize(
    ("path", "failures", "starts"),
    [
        ("/sys/fs/cgroup/cpuset/machine/qemu-3-a/cpuset.memory_migrate", 1, True),
        ("/sys/fs/cgroup/cpuset/machine/qemu-3-a/cpuset.memory_migrate", 2, False),
        ("/var/run/libvirt/qemu/a.xml", 1, False),
    ],
)
def test_a_start_that_loses_its_control_groups_is_made_once_more(
    actor: Actor, monkeypatch: pytest.MonkeyPatch, path: str, failures: int, starts: bool
) -> None:
    actor.define(actor.domain, DOMAIN)
    errors = [_unwritable(path) for _ in range(failures)]
    create = libvirt.virDomain.create

    def failing(domain: libvirt.virDomain) -> Any:
        if errors:
            raise errors.pop()
        return create(domain)

    monkeypatch.setattr(libvirt.virDomain, "create", failing)
    with contextlib.nullcontext() if starts else pytest.raises(HostError, match=path):
        actor.do(Verb.START, actor.domain)
    assert actor.see(actor.domain).active is starts


def _unwritable(path: str) -> libvirt.libvirtError:
    message = f"Unable to write to '{path}': No such file or directory"
    raised: Any = libvirt.libvirtError(message)
    raised.err = (
        libvirt.VIR_ERR_SYSTEM_ERROR,
        libvirt.VIR_FROM_CGROUP,
        message,
        2,
        "",
        "",
        "",
        0,
        0,
    )
    assert isinstance(raised, libvirt.libvirtError)
    return raised


def test_resume_is_for_paused_guests_and_for_running_ones_nothing(actor: Actor) -> None:
    where = with_domain(actor)
    actor.host.connection.lookupByName(where.name).suspend()
    assert actor.see(where).state is State.PAUSED
    for _ in range(2):
        actor.do(Verb.RESUME, where)
    assert actor.see(where).state is State.RUNNING


def test_a_deaf_guest_times_out_and_is_powered_off_only_by_force(actor: Actor) -> None:
    where = with_domain(actor)
    with pytest.raises(TimedOut, match="1 s"):
        actor.do(Verb.SHUTDOWN, where, timeout=1, force=False)
    assert actor.see(where).active
    for _ in range(2):
        actor.do(Verb.SHUTDOWN, where, timeout=1, force=True)
    assert not actor.see(where).active


def test_sizes_and_metadata_reach_both_definitions(actor: Actor) -> None:
    where = with_domain(actor)
    note = {"namespace": "https://example.org/ns", "prefix": "n", "scope": "both"}
    actor.do(Verb.SET_MEMORY, where, bytes=32 * 1024**2 - 1, scope="config")
    actor.do(Verb.SET_VCPUS, where, count=2, scope="config")
    actor.do(Verb.SET_TITLE, where, text="a title", scope="both")
    actor.do(Verb.SET_DESCRIPTION, where, text="a text", scope="both")
    actor.do(Verb.SET_METADATA, where, xml=TITLE, **note)
    record = actor.see(where)
    assert "<currentMemory unit='KiB'>32768<" in record.document
    assert "current='1'" not in record.document
    for document in (record.document, record.running or ""):
        for word in ("<title>a title<", "<description>a text<", ">ours<"):
            assert word in document
    for _ in range(2):
        actor.do(Verb.SET_TITLE, where, text=None, scope="both")
        actor.do(Verb.SET_DESCRIPTION, where, text=None, scope="both")
        actor.do(Verb.SET_METADATA, where, xml=None, **note)
    record = actor.see(where)
    for document in (record.document, record.running or ""):
        for word in ("<title>", "<description>", ">ours<"):
            assert word not in document


def test_both_means_persistent_while_it_is_off(actor: Actor) -> None:
    actor.define(actor.domain, DOMAIN)
    actor.do(Verb.SET_VCPUS, actor.domain, count=2, scope="both")
    assert "current='1'" not in actor.see(actor.domain).document


def test_detach_returns_when_the_device_has_gone(actor: Actor) -> None:
    path = actor.see(with_pool(actor)).key
    where = with_domain(actor)
    disk = DISK.format(path=path, target="sda", bus="usb")
    gone = {"xml": disk, "scope": "both", "find": "./devices/disk/target", "key": {"dev": "sda"}}
    actor.do(Verb.ATTACH, where, xml=disk, scope="both")
    record = actor.see(where)
    assert path in record.document
    assert path in (record.running or "")
    for _ in range(2):
        actor.do(Verb.DETACH, where, **gone)
        record = actor.see(where)
        assert path not in record.document
        assert path not in (record.running or "")


def test_detach_waits_for_the_guest_and_says_so(
    actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actuators_device, "DETACH_SECONDS", 1.5)
    monkeypatch.setattr(actuators_device, "_ASK_AGAIN_SECONDS", 0.5)
    path = actor.see(with_pool(actor)).key
    where = with_domain(actor)
    disk = DISK.format(path=path, target="vda", bus="virtio")
    gone = {"xml": disk, "scope": "both", "find": "./devices/disk/target", "key": {"dev": "vda"}}
    actor.do(Verb.ATTACH, where, xml=disk, scope="both")
    with pytest.raises(TimedOut, match="dev=vda"):
        actor.do(Verb.DETACH, where, **gone)
    assert path in (actor.see(where).running or "")


def test_what_cannot_be_plugged_is_not_live_and_nothing_is_half_done(actor: Actor) -> None:
    path = actor.see(with_pool(actor)).key
    where = with_domain(actor)
    disk = DISK.format(path=path, target="sda", bus="sata")
    with pytest.raises(NotLive):
        actor.do(Verb.ATTACH, where, xml=disk, scope="both")
    assert path not in actor.see(where).document
    actor.do(Verb.ATTACH, where, xml=disk, scope="config")
    assert path in actor.see(where).document
    with pytest.raises(HostError) as again:
        actor.do(Verb.ATTACH, where, xml=disk, scope="config")
    assert not isinstance(again.value, NotLive)


def test_a_disk_and_a_medium_get_past_nodes_that_a_killed_daemon_has_left(actor: Actor) -> None:
    path, drive = actor.see(with_pool(actor)).key, "<target dev='sda' bus='sata'/><readonly/>"
    empty = f"<disk type='file' device='cdrom'>{drive}</disk>"
    actor.do(Verb.CREATE_VOLUME, actor.volume("b.raw"), xml=MEDIUM)
    medium = actor.see(actor.volume("b.raw")).key
    full = f"<disk type='file' device='cdrom'><source file='{medium}'/>{drive}</disk>"
    with_drive = DOMAIN.replace("</devices>", f"{empty}</devices>")
    actor.define(actor.domain, with_drive)
    actor.do(Verb.START, actor.domain)
    for number in range(1, 4):
        leave_node(actor, f"libvirt-{number}-storage")
    disk = DISK.format(path=path, target="sdb", bus="usb")
    actor.do(Verb.ATTACH, actor.domain, xml=disk, scope="both")
    for number in range(5, 9):
        leave_node(actor, f"libvirt-{number}-storage")
    actor.do(Verb.UPDATE_DEVICE, actor.domain, xml=full, scope="live")
    running = actor.see(actor.domain).running
    assert running is not None
    assert (path in running, medium in running) == (True, True)


def leave_node(actor: Actor, name: str) -> None:
    """A block node that QEMU has and libvirt does not know of."""
    domain = actor.host.connection.lookupByName(actor.domain.name)
    node = {"driver": "null-co", "node-name": name}
    command = json.dumps({"execute": "blockdev-add", "arguments": node})
    assert json.loads(libvirt_qemu.qemuMonitorCommand(domain, command, 0))["return"] == {}


def test_a_disk_grows_under_a_running_guest(actor: Actor) -> None:
    path = actor.see(with_pool(actor)).key
    where = with_domain(actor)
    actor.do(
        Verb.ATTACH, where, xml=DISK.format(path=path, target="vda", bus="virtio"), scope="both"
    )
    actor.do(Verb.RESIZE_DISK, where, target="vda", bytes=4 * 1024**2)
    actor.do(Verb.REFRESH, actor.pool)
    assert "<capacity unit='bytes'>4194304<" in actor.see(actor.volume("a.qcow2")).document


def test_volumes_are_cloned_resized_and_deleted(actor: Actor) -> None:
    source, copy = with_pool(actor), actor.volume("b.qcow2")
    xml = VOLUME.format(name="b.qcow2")
    actor.do(Verb.CLONE_VOLUME, copy, xml=xml, source=source.name)
    actor.do(Verb.RESIZE_VOLUME, copy, bytes=8 * 1024**2, shrink=False)
    assert "<capacity unit='bytes'>8388608<" in actor.see(copy).document
    with pytest.raises(HostError):
        actor.do(Verb.RESIZE_VOLUME, copy, bytes=1024**2, shrink=False)
    actor.do(Verb.RESIZE_VOLUME, copy, bytes=1024**2, shrink=True)
    with pytest.raises(HostError) as exists:
        actor.do(Verb.CREATE_VOLUME, copy, xml=xml)
    assert exists.value.name == "VIR_ERR_STORAGE_VOL_EXIST"
    for volume in (source, copy, copy):
        actor.do(Verb.DELETE_VOLUME, volume)
        assert actor.host.record(volume) is None


def test_a_network_takes_a_host_in_both_definitions(actor: Actor) -> None:
    where = actor.network
    actor.define(where, NETWORK)
    actor.do(Verb.START, where)
    entry = f"<host mac='52:54:00:00:00:0a' ip='10.{actor.octet}.1.10'/>"
    change = {"section": "ip-dhcp-host", "parent": 0, "xml": entry}
    # The running one has it already: the persistent one gets it all the same.
    actor.do(Verb.UPDATE_NETWORK, where, command="add-last", scope="live", **change)
    actor.do(Verb.UPDATE_NETWORK, where, command="add-last", scope="both", **change)
    record = actor.see(where)
    assert "52:54:00:00:00:0a" in record.document
    assert "52:54:00:00:00:0a" in (record.running or "")
    with pytest.raises(HostError):
        actor.do(Verb.UPDATE_NETWORK, where, command="add-last", scope="both", **change)
    actor.do(Verb.UPDATE_NETWORK, where, command="delete", scope="both", **change)
    record = actor.see(where)
    assert "52:54:00:00:00:0a" not in record.document + (record.running or "")


def test_the_test_driver_takes_what_it_knows() -> None:
    host = open_host(uri="test:///default")
    where = Address("local", Kind.DOMAIN, f"t-{uuid.uuid4().hex[:8]}")
    xml = f"<domain type='test'><name>{where.name}</name><memory>1024</memory>"
    host.perform(Verb.DEFINE, where, {"xml": f"{xml}<os><type>hvm</type></os></domain>"})
    host.perform(Verb.START, where, {})
    host.perform(Verb.SHUTDOWN, where, {"timeout": 5, "force": False})
    host.perform(Verb.UNDEFINE, where, {"keep_state": True})
    assert host.record(where) is None
    host.close()
