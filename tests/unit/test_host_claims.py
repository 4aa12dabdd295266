"""Claims as text: compact, ASCII, versioned; and which shard an entry lives in."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from xml.sax.saxutils import escape

import libvirt
import pytest
from lxml import etree

from kvmplan.apply.port import ClaimsUnreadable, HostError
from kvmplan.host import claims as store
from kvmplan.inventory import Claim, Claims

FULL = Claim(
    address="volume.vms/wéb.qcow2",
    key="/var/lib/x/wéb.qcow2",
    phase="creating",
    born={"format": "qcow2", "backing": None},
    applied={"capacity": 1024},
    protect=True,
    released=(("permissions", "mode"), ("backing",)),
)
PLAIN = Claim(address="domain.a <b> & \"c\" 'd'", key="5f")


def claims(*entries: Claim) -> Claims:
    by_address = {claim.address: claim for claim in entries}
    return Claims("0d9f", "lab", by_address, "git@example.org:lab.git")


def encoded(content: Claims) -> str:
    return store.encode(content, store.Encoder().entries(content))


@pytest.mark.parametrize("content", [claims(FULL, PLAIN), claims(PLAIN), claims()])
def test_claims_survive_a_round_trip(content: Claims) -> None:
    assert store.decode(encoded(content), "u") == content


def test_the_text_is_compact_ascii_json_with_its_format_inside() -> None:
    text = encoded(claims(PLAIN, FULL))
    assert text.isascii()
    assert "\n" not in text
    assert text == json.dumps(json.loads(text), separators=(",", ":"), sort_keys=False)
    assert json.loads(text)["format"] == store.FORMAT


def test_the_same_claims_are_the_same_bytes_in_any_order() -> None:
    assert encoded(claims(PLAIN, FULL)) == encoded(claims(FULL, PLAIN))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "[]",
        "{}",
        '{"format":99}',
        '{"format":1}',
        '{"format":1,"stack":{"name":"a","origin":""},"uid":"u","entries":{"domain.a":{}}}',
        '{"format":1,"stack":{"name":"a","origin":""},"uid":"u","entries":{"nothing":{"key":""}}}',
        '{"format":1,"stack":{"name":"a","origin":""},"uid":"u","entries":[]}',
        '{"format":1,"stack":{"name":"a","origin":""},"uid":"u","entries":{"volume.a":{"key":""}}}',
        '{"format":1,"stack":{"name":"a","origin":""},"uid":7,"entries":{}}',
        '{"format":1,"stack":{"name":["a"],"origin":""},"uid":"u","entries":{}}',
        "[" * 50_000,
        '{"format":' + "[" * 50_000,
        *(
            f'{{"format":1,"stack":{{"name":"a","origin":""}},"uid":"u","entries":{{"domain.a":{it}}}}}'
            for it in (
                "[]",
                '{"key":1}',
                '{"key":"","phase":{}}',
                '{"key":"","born":"x"}',
                '{"key":"","applied":[1]}',
                '{"key":"","applied":' + '{"a":' * 500 + "1" + "}" * 501,
                '{"key":"","hold":["a",1,"b"]}',
                '{"key":"","hold":7}',
                '{"key":"","waiting":{"a":1}}',
            )
        ),
    ],
)
def test_what_cannot_be_read_is_an_error_that_names_the_secret(text: str) -> None:
    with pytest.raises(HostError, match="kvmplan/claims/u"):
        store.decode(text, "kvmplan/claims/u")


def test_the_uuid_depends_on_stack_host_and_shard() -> None:
    uuids = {
        store.secret_uuid(stack, host, shard)
        for stack in ("a", "b")
        for host in ("x", "y")
        for shard in (0, 1, 11)
    }
    assert len(uuids) == 12
    assert store.secret_uuid("a", "x", 0) == store.secret_uuid("a", "x", 0)


def test_a_claim_that_did_not_change_is_not_made_into_text_again() -> None:
    encoder = store.Encoder()
    first = encoder.entries(claims(PLAIN, FULL))
    second = encoder.entries(claims(PLAIN, replace(FULL, phase="done")))
    assert second[PLAIN.address] is first[PLAIN.address]
    assert second[FULL.address].text != first[FULL.address].text


def wanted(*sizes: int) -> dict[str, store.Entry]:
    """Entries ``domain.0`` … that take so many bytes each."""
    return {f"domain.{n}": store.Entry(PLAIN, "x" * size, size) for n, size in enumerate(sizes)}


def places(shards: dict[int, store.Shard]) -> dict[str, int]:
    return {address: number for number, shard in shards.items() for address in shard.entries}


def then(shards: dict[int, store.Shard]) -> dict[int, store.Shard]:
    """What is found of these shards at the next write."""
    return {n: store.Shard(n, frozenset(shard.entries)) for n, shard in shards.items()}


def test_a_shard_is_filled_to_the_last_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "SHARD_BYTES", 100)
    shards: dict[int, store.Shard] = {}
    store.place(shards, wanted(60, 40, 1, 99, 1))
    assert places(shards) == dict(zip(wanted(60, 40, 1, 99, 1), (0, 0, 1, 1, 2), strict=True))


def test_entries_keep_their_shard_and_move_up_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "SHARD_BYTES", 100)
    shards: dict[int, store.Shard] = {}
    store.place(shards, wanted(*[40] * 6))
    before = places(shards)
    assert set(before.values()) == {0, 1, 2}

    shards = then(shards)
    store.place(shards, wanted(80, *[40] * 5, 1))
    after = places(shards)
    assert set(after) == set(wanted(*[1] * 7))
    assert all(after[address] >= before[address] for address in before)
    for shard in shards.values():
        assert sum(entry.size for entry in shard.entries.values()) <= 100


def test_an_entry_bigger_than_a_shard_gets_one_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(store, "SHARD_BYTES", 10)
    shards: dict[int, store.Shard] = {}
    store.place(shards, wanted(50, 50))
    assert sorted(places(shards).values()) == [0, 1]


@pytest.mark.parametrize("claim", [PLAIN, FULL, replace(PLAIN, key="\"&<>'" * 50)])
def test_the_size_of_an_entry_is_what_libvirt_sends_at_most(claim: Claim) -> None:
    (entry,) = store.Encoder().entries(claims(claim)).values()
    sent = escape(entry.text, {'"': "&quot;", "'": "&apos;"})
    assert len(sent) < entry.size


class Secret:
    """One of libvirt's secrets, in memory."""

    def __init__(self, host: SecretsHost, usage: str, text: str) -> None:
        self.host, self.usage, self.description = host, usage, text

    def usageType(self) -> int:
        return int(libvirt.VIR_SECRET_USAGE_TYPE_CEPH)

    def usageID(self) -> str:
        return self.usage

    def UUIDString(self) -> str:
        return self.usage

    def XMLDesc(self, _: int) -> str:
        return f"<secret><description>{escape(self.description)}</description></secret>"

    def value(self, _: int) -> bytes:
        return b"key"

    def undefine(self) -> None:
        self.host.spend()
        del self.host.kept[self.usage]


class SecretsHost:
    """A connection that is cut after so many writes."""

    def __init__(self) -> None:
        self.kept: dict[str, Secret] = {}
        self.left = 10**9

    def spend(self) -> None:
        if not self.left:
            raise ConnectionError
        self.left -= 1

    def listAllSecrets(self, _: int) -> list[Secret]:
        return list(self.kept.values())

    def secretLookupByUUIDString(self, uuid: str) -> Secret:
        return self.kept[uuid]

    def secretDefineXML(self, xml: str, _: int) -> Secret:
        self.spend()
        root = etree.fromstring(xml)
        usage = root.findtext("usage/name") or ""
        self.kept[usage] = Secret(self, usage, root.findtext("description") or "")
        return self.kept[usage]


def book(size: int, count: int, phase: str = "done") -> Claims:
    return claims(*(Claim(f"domain.{n:02}", "x" * size, phase) for n in range(count)))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (book(10, 30), book(80, 30)),  # entries move up, through more than ten shards
        (book(80, 30), book(10, 30)),
        (book(10, 5), book(10, 40)),
        (book(80, 30, "creating"), book(60, 35)),
        (book(10, 30), claims()),
    ],
)
def test_a_write_that_is_cut_anywhere_leaves_a_superset(
    before: Claims, after: Claims, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is in both is there, and everything that is there is as one of the two says."""
    monkeypatch.setattr(store, "SHARD_BYTES", 400)
    for cut in itertools.count():
        host = SecretsHost()
        store.write(host, "host", before, store.Encoder())
        host.left = cut
        try:
            store.write(host, "host", after, store.Encoder())
        except ConnectionError:
            found = store.read(host, "0d9f").own
            assert found is not None
            assert found.entries.keys() >= before.entries.keys() & after.entries.keys()
            for address, claim in found.entries.items():
                assert claim in (before.entries.get(address), after.entries.get(address))
            host.left = 10**9
            store.write(host, "host", after, store.Encoder())
        done = store.read(host, "0d9f").own
        assert (done.entries if done else {}) == after.entries
        if host.left < 10**8:
            assert cut > 1
            return


def test_what_is_newer_wins_in_any_number_of_shards() -> None:
    host = SecretsHost()
    for number, phase in ((2, "creating"), (10, "done")):
        content = claims(Claim("domain.a", "5f", phase))
        usage = store.usage_name("0d9f", number)
        host.kept[usage] = Secret(host, usage, encoded(content))
    found = store.read(host, "0d9f").own
    assert found is not None
    assert found.entries["domain.a"].phase == "done"


def test_damaged_claims_are_named_where_that_is_asked_for_and_overwritten_only_there() -> None:
    host = SecretsHost()
    for suffix in ("", "/1", "/x"):
        usage = f"{store.PREFIX}0d9f{suffix}"
        host.kept[usage] = Secret(host, usage, "torn" if suffix else encoded(claims(PLAIN)))
    with pytest.raises(ClaimsUnreadable):
        store.read(host, "0d9f")
    found = store.read(host, "0d9f", lenient=True)
    assert found.own == claims(PLAIN)
    assert [part.usage for part in found.damaged] == [f"{store.PREFIX}0d9f/{s}" for s in "1x"]
    assert not any(part.newer for part in found.damaged)
    with pytest.raises(ClaimsUnreadable):
        store.write(host, "host", claims(PLAIN, FULL), store.Encoder())
    over = {part.uuid for part in found.damaged}
    store.write(host, "host", claims(PLAIN, FULL), store.Encoder(), over=over)
    assert store.read(host, "0d9f").own == claims(PLAIN, FULL)
    assert list(host.kept) == [f"{store.PREFIX}0d9f"]
