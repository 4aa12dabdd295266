"""Claims as text: compact, ASCII, versioned; and which shard an entry lives in."""

import json

import pytest

from kvmplan.apply.port import HostError
from kvmplan.host import claims as store
from kvmplan.inventory import Claim, Claims

FULL = Claim(
    address="volume.vms/wéb.qcow2",
    key="/var/lib/x/wéb.qcow2",
    phase="creating",
    born={"format": "qcow2", "backing": None},
    applied={"capacity": 1024},
    protect=True,
)
PLAIN = Claim(address="domain.a <b> & \"c\" 'd'", key="5f")


def claims(*entries: Claim) -> Claims:
    by_address = {claim.address: claim for claim in entries}
    return Claims("0d9f", "lab", by_address, "git@example.org:lab.git")


def encoded(content: Claims) -> str:
    entries = {address: store.encode_entry(claim) for address, claim in content.entries.items()}
    return store.encode(content, entries)


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


def places(shards: dict[int, store.Shard]) -> dict[str, int]:
    return {address: number for number, shard in shards.items() for address in shard.entries}


def test_entries_keep_their_shard_and_move_up_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "SHARD_BYTES", 100)
    shards: dict[int, store.Shard] = {}
    wanted = {f"domain.{n}": "x" * 20 for n in range(6)}
    store.place(shards, wanted)
    before = places(shards)
    assert set(before) == set(wanted)
    assert set(before.values()) == {0, 1, 2}

    grown = {**wanted, "domain.0": "x" * 80, "domain.6": "x"}
    store.place(shards, grown)
    after = places(shards)
    assert set(after) == set(grown)
    assert all(after[address] >= before[address] for address in before)
    assert all(sum(map(len, shard.entries.values())) <= 100 for shard in shards.values())


def test_an_entry_bigger_than_a_shard_gets_one_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(store, "SHARD_BYTES", 10)
    shards: dict[int, store.Shard] = {}
    store.place(shards, {"domain.a": "x" * 50, "domain.b": "x" * 50})
    assert sorted(places(shards).values()) == [0, 1]
