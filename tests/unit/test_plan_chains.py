"""What counts as a chain of overlays, and what is known to be written over what."""

from __future__ import annotations

from kvmplan.address import LOCAL, Address, Kind
from kvmplan.inventory import HostFacts, Inventory, Record, State
from kvmplan.plan.chains import chains, known_bases
from kvmplan.plan.users import users_of

WEB = Address(LOCAL, Kind.DOMAIN, "web")


def domain(*layers: str) -> str:
    below = ""
    for path in reversed(layers[1:]):
        below = f"<backingStore type='file'><source file='{path}'/>{below}</backingStore>"
    disk = f"<disk><source file='{layers[0]}'/>{below}<target dev='vda'/></disk>"
    return f"<domain><devices>{disk}</devices></domain>"


def volume(path: str, base: str = "", type_: str = "file", format_: str = "qcow2") -> str:
    below = f"<backingStore><path>{base}</path></backingStore>" if base else ""
    target = f"<target><path>{path}</path><format type='{format_}'/></target>"
    return f"<volume type='{type_}'>{target}{below}</volume>"


def seen(document: str, running: str | None, *volumes: str) -> list[list[str]]:
    """The chains of a domain beside these volumes."""
    texts = {text.partition("<path>")[2].partition("<")[0]: text for text in volumes}
    bases = known_bases(document, running, texts.get)
    state = State.STOPPED if running is None else State.RUNNING
    record = Record(WEB, "u", document, running, state, bases=bases)
    return [chain for _, chain in chains(record)]


A, S1, S2 = "/p/a", "/p/a.s1", "/p/a.s2"


def test_a_chain_holds_as_far_as_no_volume_says_otherwise() -> None:
    whole = domain(S2, S1, A)
    assert seen(whole, None) == [[S2, S1, A]]
    volumes = volume(S2, S1), volume(S1, A), volume(A)
    assert seen(whole, None, *volumes) == [[S2, S1, A]]
    assert seen(whole, None, volume(S2, S1), volume(S1)) == [[S2, S1]]
    assert seen(domain("/p/b", A), None, volume("/p/b"), volume(A)) == []
    assert seen(domain("/p/b", A), None, volume("/p/b", "/p/c"), volume("/p/c")) == []


def test_what_the_storage_does_not_know_speaks_against_nothing() -> None:
    """It looks into no block device; a base that it spells otherwise is in no pool of its."""
    assert seen(domain("/dev/b", A), None, volume("/dev/b", type_="block")) == [["/dev/b", A]]
    assert seen(domain(S1, A), None, volume(S1, "/link/a")) == [[S1, A]]
    assert seen(domain(S1, A), None, volume(S1, "/p//a"), volume("/p//a")) == [[S1, A]]


def test_what_runs_is_believed() -> None:
    assert seen(domain(S1, A), domain(S1, A), volume(S1)) == [[S1, A], [S1, A]]
    assert seen(domain("/p/b", A), domain(S1, A), volume("/p/b")) == [[S1, A]]


def layers(*records: Record, snapshots: tuple[str, ...] = ()) -> dict[str, set[str]]:
    known = {record.address: record for record in records}
    there = Inventory(LOCAL, HostFacts("u"), known, snapshots={"web": snapshots})
    return users_of(there).layers


def test_overlays_are_known_from_volumes_guests_and_snapshots() -> None:
    at = Address(LOCAL, Kind.VOLUME, "vms/x")
    web = Record(WEB, "u", domain("/p/b"))
    assert layers(web, Record(at, S1, volume(S1, A))) == {A: {S1}}
    assert layers(Record(WEB, "u", domain(S2, S1, A))) == {A: {S1}, S1: {S2}}
    taken = domain(A).replace("<domain>", "<domain type='qemu'>")
    for how, found in (("external", {A: {S1}}), ("internal", {})):
        disks = f"<disks><disk name='vda' snapshot='{how}'><source file='{S1}'/></disk></disks>"
        text = f"<domainsnapshot><name>s1</name>{disks}{taken}</domainsnapshot>"
        assert layers(web, snapshots=(text,)) == found


def test_a_snapshot_of_lvm_leaves_its_origin_free_to_be_written() -> None:
    at = Address(LOCAL, Kind.VOLUME, "vg/snap")
    record = Record(at, "k", volume("/dev/vg/snap", "/dev/vg/a", "block", "raw"))
    assert layers(record) == {}
