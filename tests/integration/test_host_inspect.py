"""The inventory of real hosts, and of libvirt's test driver."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import libvirt
import pytest

from kvmplan.address import Address, Kind
from kvmplan.apply.port import HostError
from kvmplan.host import open_host, open_hosts
from kvmplan.host.live import LibvirtHost
from kvmplan.inventory import Claim, Claims, Inventory, State, Wanted
from kvmplan.kinds.verbs import Verb
from tests.privatehost import PrivateHost

NETWORK = """<network><name>{name}</name><forward mode='nat'/>
<ip address='10.{n}.0.1' prefix='24'/></network>"""
DOMAIN = """<domain type='qemu'><name>{name}</name><memory unit='MiB'>32</memory>
<os><type arch='x86_64' machine='q35'>hvm</type></os><devices>
<graphics type='vnc' port='-1' autoport='yes' passwd='sesame'/></devices></domain>"""
POOL = "<pool type='dir'><name>{name}</name><target><path>{path}</path></target></pool>"
VOLUME = """<volume><name>{name}</name><capacity unit='MiB'>1</capacity><allocation>0</allocation>
<target><format type='raw'/></target></volume>"""
NOTHING = Wanted(frozenset())


def address(kind: Kind, name: str) -> Address:
    return Address("local", kind, name)


class Stage:
    """Objects of one test, by names nobody else has, removed at its end."""

    def __init__(self, uri: str, directory: Path) -> None:
        self.connection = libvirt.open(uri)
        self.tag = uuid.uuid4().hex[:8]
        self.directory = directory / self.tag
        self.undo: list[object] = []

    def domain(self, name: str) -> libvirt.virDomain:
        return self._keep(self.connection.defineXML(DOMAIN.format(name=f"{self.tag}-{name}")))

    def network(self, name: str) -> libvirt.virNetwork:
        n = int(self.tag[:2], 16) % 200 + 20
        xml = NETWORK.format(name=f"{self.tag}-{name}", n=n)
        return self._keep(self.connection.networkDefineXML(xml))

    def pool(self, name: str) -> libvirt.virStoragePool:
        path = self.directory / name
        path.mkdir(parents=True)
        xml = POOL.format(name=f"{self.tag}-{name}", path=path)
        return self._keep(self.connection.storagePoolDefineXML(xml))

    def _keep(self, handle: object) -> object:
        self.undo.append(handle)
        return handle

    def close(self) -> None:
        for handle in reversed(self.undo):
            for step in ("destroy", "undefine"):
                try:
                    getattr(handle, step)()
                except libvirt.libvirtError:
                    continue
        self.connection.close()


@pytest.fixture
def host(private_host: PrivateHost) -> Iterator[LibvirtHost]:
    opened = open_host(uri=private_host.uri)
    yield opened
    opened.close()


@pytest.fixture
def stage(private_host: PrivateHost) -> Iterator[Stage]:
    made = Stage(private_host.uri, private_host.directory)
    yield made
    made.close()


def look(host: LibvirtHost, *addresses: Address, secure: bool = False) -> Inventory:
    wanted = frozenset(addresses)
    return host.inventory(Wanted(wanted, secure=wanted if secure else frozenset()))


def test_facts_say_what_the_host_is(host: LibvirtHost) -> None:
    facts = host.facts
    assert uuid.UUID(facts.uuid)
    assert facts.hypervisor == "QEMU"
    assert facts.libvirt_version.count(".") == 2
    guest = facts.guests["x86_64"]
    assert "qemu" in guest.types
    assert guest.machines["q35"].startswith("pc-q35-")
    assert guest.machines[guest.machines["q35"]] == guest.machines["q35"]
    assert guest.emulator
    # `sse2` is never listed by itself: the CPU's model stands for it.
    assert "sse2" in facts.cpu_features
    assert facts.has_secrets
    assert not facts.read_only


def test_everything_is_named_and_only_what_is_wanted_is_read(
    host: LibvirtHost, stage: Stage
) -> None:
    one, two = stage.domain("one"), stage.domain("two")
    wanted = address(Kind.DOMAIN, one.name())
    found = look(host, wanted, address(Kind.DOMAIN, "nobody"))
    assert found.names[Kind.DOMAIN][two.name()] == two.UUIDString()
    assert found.record(address(Kind.DOMAIN, two.name())) is None
    record = found.record(wanted)
    assert record is not None
    assert (record.key, record.state, record.running) == (one.UUIDString(), State.STOPPED, None)
    assert "sesame" not in record.document
    assert not found.exists(address(Kind.DOMAIN, "nobody"))
    assert not found.complete


def test_completing_reads_the_other_domains(host: LibvirtHost, stage: Stage) -> None:
    one, two = stage.domain("one"), stage.domain("two")
    wanted = address(Kind.DOMAIN, one.name())
    first = look(host, wanted, secure=True)
    found = host.complete(first)
    assert found.complete
    assert found.record(wanted) is first.record(wanted)
    assert found.record(address(Kind.DOMAIN, two.name())) is not None


def test_secrets_are_read_where_asked_for(host: LibvirtHost, stage: Stage) -> None:
    wanted = address(Kind.DOMAIN, stage.domain("vnc").name())
    record = look(host, wanted, secure=True).record(wanted)
    assert record is not None
    assert record.secure
    assert "sesame" in record.document


def test_a_read_only_connection_gives_no_secrets(private_host: PrivateHost, stage: Stage) -> None:
    wanted = address(Kind.DOMAIN, stage.domain("vnc").name())
    reader = open_host(uri=private_host.uri + "-ro", read_only=True)
    try:
        found = look(reader, wanted, secure=True)
        record = found.record(wanted)
        assert found.facts.read_only
        assert record is not None
        assert not record.secure
        with pytest.raises(HostError) as refused:
            reader.perform(Verb.START, wanted, {})
        assert refused.value.name == "VIR_ERR_OPERATION_DENIED"
    finally:
        reader.close()


def test_states_autostart_and_saved_images_come_from_lists(host: LibvirtHost, stage: Stage) -> None:
    names = ("off", "paused", "running", "saved")
    domains = {name: stage.domain(name) for name in names}
    for name in ("paused", "running", "saved"):
        domains[name].create()
    domains["paused"].suspend()
    domains["saved"].managedSave()
    domains["off"].setAutostart(1)
    addresses = {name: address(Kind.DOMAIN, domains[name].name()) for name in names}
    found = look(host, *addresses.values())
    try:
        records = {name: found.records[where] for name, where in addresses.items()}
        assert {name: record.state for name, record in records.items()} == {
            "off": State.STOPPED,
            "paused": State.PAUSED,
            "running": State.RUNNING,
            "saved": State.STOPPED,
        }
        assert records["paused"].reason == "user"
        assert [n for n in names if records[n].autostart] == ["off"]
        assert [n for n in names if records[n].managed_save] == ["saved"]
        assert [n for n in names if records[n].running] == ["paused", "running"]
        for where in addresses.values():
            assert host.record(where) == found.records[where]
    finally:
        domains["saved"].managedSaveRemove()


def test_a_transient_domain_is_not_persistent(host: LibvirtHost, stage: Stage) -> None:
    name = f"{stage.tag}-transient"
    domain = stage.connection.createXML(DOMAIN.format(name=name), 0)
    try:
        where = address(Kind.DOMAIN, name)
        assert not look(host, where).records[where].persistent
        assert host.record(where) == look(host, where).records[where]
    finally:
        domain.destroy()


def test_networks_pools_and_volumes(host: LibvirtHost, stage: Stage) -> None:
    network, pool, stopped = stage.network("net"), stage.pool("on"), stage.pool("off")
    network.create()
    pool.create(0)
    volume = pool.createXML(VOLUME.format(name="a.img"), 0)
    wanted = address(Kind.VOLUME, f"{pool.name()}/a.img")
    hidden = address(Kind.VOLUME, f"{stopped.name()}/b.img")
    found = look(host, wanted, hidden)
    lan = found.records[address(Kind.NETWORK, network.name())]
    assert lan.running is not None
    assert (lan.state, lan.persistent, lan.autostart) == (State.RUNNING, True, False)
    assert found.records[address(Kind.POOL, pool.name())].state is State.RUNNING
    assert found.records[address(Kind.POOL, stopped.name())].state is State.STOPPED
    assert found.names[Kind.VOLUME][wanted.name] == volume.key()
    assert found.volume_by_path[volume.path()] == wanted.name
    assert found.records[wanted].key == volume.key()
    assert hidden not in found.records
    for where in (lan.address, wanted, address(Kind.POOL, pool.name())):
        assert host.record(where) == found.records[where]
    for missing in (hidden, address(Kind.NETWORK, "nobody"), address(Kind.VOLUME, "no/body")):
        assert host.record(missing) is None
    volume.delete(0)


def test_what_is_claimed_is_read_without_being_asked_for(host: LibvirtHost, stage: Stage) -> None:
    domain = stage.domain("claimed")
    where = address(Kind.DOMAIN, domain.name())
    stack = str(uuid.uuid4())
    claim = Claim(where.short, domain.UUIDString())
    host.write_claims(Claims(stack, "lab", {where.short: claim}))
    try:
        found = host.inventory(Wanted(frozenset(), stack_uid=stack))
        assert where in found.records
        assert found.claim(where) == claim
        assert host.inventory(NOTHING).other_owner(where, domain.UUIDString()) == "lab"
    finally:
        host.write_claims(Claims(stack, "lab"))


def test_a_few_hundred_domains_are_read_over_all_connections(
    host: LibvirtHost, stage: Stage
) -> None:
    names = [stage.domain(f"{n:03d}").name() for n in range(230)]
    wanted = [address(Kind.DOMAIN, name) for name in names]
    found = look(host, *wanted)
    read = [a for a in found.records if a.kind is Kind.DOMAIN]
    assert read == sorted(wanted)
    assert all(name in found.records[a].document for name, a in zip(names, wanted, strict=True))


def test_the_test_driver_can_be_read() -> None:
    host = open_host(uri="test:///default")
    try:
        domain = address(Kind.DOMAIN, "test")
        found = look(host, domain)
        assert not found.facts.has_secrets
        assert found.claims is None
        assert found.records[domain].state is State.RUNNING
        assert found.records[address(Kind.NETWORK, "default")].active
        assert found.records[address(Kind.POOL, "default-pool")].active
        assert host.record(domain) == found.records[domain]
        assert host.locks() == ()
        with pytest.raises(HostError, match="secrets"):
            host.write_claims(Claims("uid", "lab"))
        with pytest.raises(HostError, match="secrets"):
            host.lock("uid", "apply", 0)
    finally:
        host.close()


def test_a_file_of_the_test_driver_is_one_connection(tmp_path: Path) -> None:
    path = tmp_path / "node.xml"
    domains = "".join(
        f"<domain type='test'><name>d{n}</name><memory>1024</memory>"
        "<os><type>hvm</type></os></domain>"
        for n in range(250)
    )
    path.write_text(f"<node>{domains}</node>")
    host = open_host(uri=f"test://{path}")
    try:
        wanted = [address(Kind.DOMAIN, f"d{n}") for n in range(250)]
        assert set(wanted) <= set(look(host, *wanted).records)
    finally:
        host.close()


def test_hosts_are_opened_side_by_side_and_failures_are_told_apart(
    private_host: PrivateHost,
) -> None:
    uris = {
        "b": "qemu+unix:///system?socket=/nowhere",
        "a": private_host.uri,
        "t": "test:///default",
    }
    hosts, errors = open_hosts(uris)
    try:
        assert list(hosts) == ["a", "t"]
        assert list(errors) == ["b"]
        assert hosts["a"].facts.uuid
    finally:
        for host in hosts.values():
            host.close()


def test_the_doctor_knows_a_running_host(private_host: PrivateHost) -> None:
    from kvmplan.host import examine

    found = examine(private_host.uri)
    assert {finding.layer for finding in found} == {"KVM", "QEMU", "libvirt"}
    text = "\n".join(finding.summary for finding in found)
    for word in ("x86_64", "libvirt-python", "network, storage, secret", "dir"):
        assert word in text
