"""Claims and locks on a real host."""

import json
import time
import uuid
from collections.abc import Iterator

import libvirt
import pytest

from kvmplan.apply.port import HostError, LockHeld
from kvmplan.host import claims as store
from kvmplan.host import open_host
from kvmplan.host import secrets as secret_store
from kvmplan.host.live import LibvirtHost
from kvmplan.host.lock import HeldLock
from kvmplan.inventory import Claim, Claims, Wanted
from tests.privatehost import PrivateHost

CEPH = libvirt.VIR_SECRET_USAGE_TYPE_CEPH


@pytest.fixture
def host(private_host: PrivateHost) -> Iterator[LibvirtHost]:
    opened = open_host(uri=private_host.uri)
    yield opened
    opened.close()


@pytest.fixture
def stack(host: LibvirtHost) -> Iterator[str]:
    """A stack uid whose secrets are removed at the end."""
    uid = str(uuid.uuid4())
    yield uid
    for secret in secrets(host, uid):
        secret.undefine()


def secrets(host: LibvirtHost, uid: str) -> list[libvirt.virSecret]:
    return [s for s in host.connection.listAllSecrets(0) if uid in s.usageID()]


def own(host: LibvirtHost, uid: str) -> Claims | None:
    return host.inventory(Wanted(frozenset(), stack_uid=uid)).claims


def many(uid: str, count: int, key: str = "k") -> Claims:
    entries = [Claim(f"domain.{n}", key, born={"a": [1, None, "ü<&>"]}) for n in range(count)]
    return Claims(uid, "lab", {claim.address: claim for claim in entries}, "origin")


def beat_of(host: LibvirtHost, uid: str) -> int:
    return next(lock.beat for lock in host.locks() if lock.stack_uid == uid)


def test_claims_make_the_round_trip(host: LibvirtHost, stack: str) -> None:
    assert own(host, stack) is None
    host.write_claims(many(stack, 3))
    assert own(host, stack) == many(stack, 3)
    (secret,) = secrets(host, stack)
    assert secret.usageID() == f"kvmplan/claims/{stack}"
    assert secret.UUIDString() == store.secret_uuid(stack, host.facts.uuid, 0)
    host.write_claims(many(stack, 0))
    assert own(host, stack) is None
    assert secrets(host, stack) == []


def test_the_key_is_random_and_kept(host: LibvirtHost, stack: str) -> None:
    host.write_claims(many(stack, 1))
    key = secrets(host, stack)[0].value(0)
    assert len(key) == 32
    host.write_claims(many(stack, 2))
    assert secrets(host, stack)[0].value(0) == key


def test_foreign_claims_are_read_on_a_read_only_connection(
    host: LibvirtHost, private_host: PrivateHost, stack: str
) -> None:
    host.write_claims(many(stack, 2))
    reader = open_host(uri=private_host.uri + "-ro", read_only=True)
    try:
        found = reader.inventory(Wanted(frozenset(), stack_uid="another"))
        assert found.claims is None
        assert many(stack, 2) in found.foreign_claims
    finally:
        reader.close()


def test_claims_are_sharded(host: LibvirtHost, stack: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "SHARD_BYTES", 1000)
    host.write_claims(many(stack, 50))
    usages = {secret.usageID() for secret in secrets(host, stack)}
    assert {f"kvmplan/claims/{stack}", f"kvmplan/claims/{stack}/1"} <= usages
    assert own(host, stack) == many(stack, 50)
    host.write_claims(many(stack, 50, key="longer" * 10))
    assert own(host, stack) == many(stack, 50, key="longer" * 10)
    host.write_claims(many(stack, 1))
    assert own(host, stack) == many(stack, 1)
    host.write_claims(many(stack, 0))
    assert secrets(host, stack) == []


@pytest.mark.parametrize("key", ["x" * 100, '"&<' * 33], ids=["plain", "grows in XML"])
def test_twenty_thousand_claims_fit(host: LibvirtHost, stack: str, key: str) -> None:
    host.write_claims(many(stack, 20_000, key=key))
    assert own(host, stack) == many(stack, 20_000, key=key)
    assert len(secrets(host, stack)) >= 2
    host.write_claims(many(stack, 0))


def test_unreadable_claims_are_never_overwritten(host: LibvirtHost, stack: str) -> None:
    text = json.dumps({"format": 99, "future": True})
    xml = f"""<secret ephemeral='no' private='no'><description>{text}</description>
    <usage type='ceph'><name>kvmplan/claims/{stack}</name></usage></secret>"""
    host.connection.secretDefineXML(xml)
    with pytest.raises(HostError, match="format is 99"):
        host.write_claims(many(stack, 1))
    with pytest.raises(HostError, match="format is 99"):
        own(host, stack)
    assert text in secrets(host, stack)[0].XMLDesc(0).replace("&quot;", '"')
    found = host.inventory(Wanted(frozenset(), stack_uid="another"))
    assert any(stack in sentence for sentence in found.unread)


def test_of_two_contenders_one_is_refused(host: LibvirtHost, stack: str) -> None:
    with host.lock(stack, 'apply <1> & "2"', 0) as lock:
        lock.check()
        with pytest.raises(LockHeld) as refused, host.lock(stack, "destroy", 0):
            pytest.fail("two have the lock")
        holder = refused.value.holder
        assert (holder.id, holder.operation) == (lock.info.id, 'apply <1> & "2"')
        assert lock.info in host.locks()
        lock.check()
    assert secrets(host, stack) == []
    with host.lock(stack, "again", 0):
        pass


def test_a_contender_waits_for_its_timeout(host: LibvirtHost, stack: str) -> None:
    with host.lock(stack, "apply", 0):
        start = time.monotonic()
        with pytest.raises(LockHeld), host.lock(stack, "apply", 0.5):
            pytest.fail("two have the lock")
        assert 0.4 < time.monotonic() - start < 5


def test_stacks_do_not_meet(host: LibvirtHost, stack: str) -> None:
    with host.lock(stack, "apply", 0), host.lock(stack + "-longer", "apply", 0):
        assert len(secrets(host, stack)) == 2


def test_the_holder_beats(host: LibvirtHost, stack: str) -> None:
    with HeldLock(host._connections, stack, "apply", 0, beat=0.05) as lock:
        deadline = time.monotonic() + 10
        while beat_of(host, stack) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        lock.check()


def test_a_dead_holders_lock_is_broken_after_a_whole_lease(host: LibvirtHost, stack: str) -> None:
    connect = host._connections
    dead = HeldLock(connect, stack, "apply", 0, beat=1000)
    dead.__enter__()
    start = time.monotonic()
    with HeldLock(connect, stack, "apply", 30, lease=1.5) as lock:
        assert time.monotonic() - start >= 1.5
        lock.check()
        with pytest.raises(HostError, match="lost"):
            dead.check()
        dead.__exit__(None, None, None)
        lock.check()


def test_a_connection_that_ends_in_the_last_call_does_not_keep_the_lock(
    host: LibvirtHost, stack: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = secret_store.undefine
    failed: list[str] = []

    def once(connection: object, uuid: str) -> bool:
        if not failed:
            failed.append(uuid)
            raise libvirt.libvirtError("the connection ended")
        return real(connection, uuid)

    with host.lock(stack, "apply", 0):
        monkeypatch.setattr(secret_store, "undefine", once)
    assert failed
    assert not [lock for lock in host.locks() if lock.stack_uid == stack]


def test_a_living_holder_is_never_broken(host: LibvirtHost, stack: str) -> None:
    connect = host._connections
    with HeldLock(connect, stack, "apply", 0, beat=0.1) as lock:
        with pytest.raises(LockHeld), HeldLock(connect, stack, "apply", 3, lease=1.5):
            pytest.fail("two have the lock")
        lock.check()


def test_a_lost_lock_is_not_taken_back(host: LibvirtHost, stack: str) -> None:
    with HeldLock(host._connections, stack, "apply", 0, beat=0.05) as lock:
        assert not host.force_unlock(str(uuid.uuid4()))
        assert host.force_unlock(lock.info.id)
        time.sleep(0.3)
        assert secrets(host, stack) == []
        with pytest.raises(HostError, match="lost"):
            lock.check()
