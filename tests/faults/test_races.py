"""Several runs at once, and foreign hands: one works, nothing is lost, all converges."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import libvirt
import pytest

from kvmplan.apply import applier, documents
from tests.conftest import Tally
from tests.faults.world import World, world
from tests.faults.zygote import ROOT
from tests.integration.support import (
    NOTHING_APPLIED,
    Stack,
    connection,
    idle_domain,
    network,
    stack,
    subnet,
)
from tests.privatehost import PrivateHost

FOREIGN = "urn:foreign"
APPLIERS, HOLDERS, HANDS = "appliers at once", "frozen lock holders", "foreign hands"


def start(made: Stack, *flags: str) -> subprocess.Popen[str]:
    """Start an apply in a process of its own."""
    assert made.host is not None
    made.write()
    connect = ("--connect", made.host.uri, "--auto-approve")
    return subprocess.Popen(
        [sys.executable, "-m", "kvmplan", "apply", str(made.path), *connect, *flags],
        cwd=ROOT,
        env={**os.environ, "KVMPLAN_TRACEBACK": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def many(made: Stack, directory: Path, count: int) -> None:
    """A pool and many volumes and domains."""
    tag = made.tag
    made.specs |= {
        "pools": {tag: {"path": str(directory / f"pool-{tag}")}},
        "volumes": {f"{tag}/v{n}.qcow2": {"capacity": "1MiB"} for n in range(count)},
        "domains": {
            f"{tag}-{n}": idle_domain(disks={"vda": f"{tag}/v{n}.qcow2"}) for n in range(count)
        },
    }


def seen(made: Stack) -> World:
    """What there is of a stack."""
    assert made.host is not None
    with connection(made.host) as conn:
        return world(conn, made.tag, made.uid)


def ended(processes: list[subprocess.Popen[str]]) -> list[tuple[int, str, str]]:
    """How they ended: exit code, stdout, stderr."""
    return [(*_said(process),) for process in processes]


def _said(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=180)
    assert "Traceback" not in err, err
    return process.returncode, out.rstrip().rpartition("\n")[2], err


@pytest.mark.parametrize("count", [2, 8])
def test_of_several_at_once_one_works(
    fault_host: PrivateHost, tmp_path: Path, count: int, tally: Tally
) -> None:
    tally("races", APPLIERS, count)
    with stack(tmp_path, fault_host) as made:
        many(made, tmp_path, 40)
        done = ended([start(made, "--parallelism", "1") for _ in range(count)])
        worked = [last for code, last, _ in done if code == 0 and last != NOTHING_APPLIED]
        refused = [err for code, _, err in done if code == 4]
        assert worked == ["Apply complete! Resources: 81 added, 0 changed, 0 destroyed."], done
        assert refused, done
        assert all("KVP401" in err for err in refused)
        assert {code for code, _, _ in done} == {0, 4}
        made.in_sync()


def test_eight_that_wait_work_in_turn(
    fault_host: PrivateHost, tmp_path: Path, tally: Tally
) -> None:
    tally("races", APPLIERS, 8)
    with stack(tmp_path, fault_host) as made:
        many(made, tmp_path, 10)
        done = ended([start(made, "--lock-timeout", "60s") for _ in range(8)])
        lasts = sorted(last for _, last, _ in done)
        added = "Apply complete! Resources: 21 added, 0 changed, 0 destroyed."
        assert [code for code, _, _ in done] == [0] * 8, done
        assert lasts == [NOTHING_APPLIED] * 7 + [added]
        made.in_sync()


@pytest.mark.parametrize("volumes", [1, 4, 8])
def test_a_holder_that_slept_too_long_writes_nothing_more(
    fault_host: PrivateHost, tmp_path: Path, volumes: int, tally: Tally
) -> None:
    tally("races", HOLDERS, 1)
    with stack(tmp_path, fault_host) as made:
        many(made, tmp_path, 12)
        pool = tmp_path / f"pool-{made.tag}"
        holder = start(made, "--parallelism", "1")
        while not (pool.is_dir() and len(list(pool.iterdir())) >= volumes):
            assert holder.poll() is None, holder.communicate()
            time.sleep(0.002)
        holder.send_signal(signal.SIGSTOP)
        time.sleep(0.5)  # what libvirtd was asked for ends
        with connection(fault_host) as conn:
            (lock,) = [s for s in conn.listAllSecrets() if f"lock/{made.uid}" in s.usageID()]
            lock.undefine()
        made.apply()
        before = seen(made)
        holder.send_signal(signal.SIGCONT)
        out, err = holder.communicate(timeout=60)
        assert holder.returncode in (1, 5), out + err
        assert "KVP402" in out + err
        assert seen(made) == before
        made.in_sync()


def test_two_stacks_on_one_host_do_not_meet(
    fault_host: PrivateHost, tmp_path: Path, tally: Tally
) -> None:
    tally("races", APPLIERS, 2)
    with stack(tmp_path, fault_host) as one, stack(tmp_path, fault_host) as two:
        for made in (one, two):
            many(made, tmp_path, 10)
        done = ended([start(one), start(two)])
        assert [code for code, _, _ in done] == [0, 0], done
        one.in_sync()
        kept = seen(two)
        one.destroy()
        assert seen(two) == kept
        two.in_sync()


# ------------------------------------------------------------------ foreign hands


def meddled(made: Stack, hand: Callable[[], None], *flags: str) -> str:
    """Apply; between its plan and its first step a foreign hand does something."""
    real = applier.apply

    def late(*given: Any, **named: Any) -> Any:
        hand()
        return real(*given, **named)

    with mock.patch.object(applier, "apply", late):
        done = made.run("apply", "--auto-approve", *flags)
    assert done.code == 5, str(done)
    return done.out + done.err


def test_what_moved_between_plan_and_apply_is_stale(
    fault_host: PrivateHost, tmp_path: Path, tally: Tally
) -> None:
    tally("races", HANDS, 3)
    with stack(tmp_path, fault_host) as made, connection(fault_host) as conn:
        name = made.tag
        made.specs["domains"] = {name: idle_domain(vcpus={"current": 1, "maximum": 4})}

        def foreign() -> None:
            conn.defineXML(
                f"<domain type='qemu'><name>{name}</name><memory>65536</memory>"
                "<os><type>hvm</type></os></domain>"
            )

        said = meddled(made, foreign)
        assert "it exists now" in said
        theirs = conn.lookupByName(name)
        assert made.plan().code == 1, "a stranger is in the way"
        theirs.undefine()
        made.apply()
        made.domains[name]["vcpus"]["current"] = 2
        said = meddled(made, lambda: conn.lookupByName(name).setVcpusFlags(3, 2))
        assert "changed since it was planned: vcpus.current" in said
        made.settle()
        made.domains[name]["vcpus"]["current"] = 4
        said = meddled(made, lambda: conn.lookupByName(name).undefine())
        assert "it is gone" in said
        made.settle()
        del made.specs["domains"]
        made.specs["stack"]["prune"] = False


def test_a_name_taken_while_a_document_is_made_is_left_alone(
    fault_host: PrivateHost, tmp_path: Path, tally: Tally
) -> None:
    tally("races", HANDS, 1)
    with stack(tmp_path, fault_host) as made, connection(fault_host) as conn:
        names = [f"{made.tag}-{letter}" for letter in "abc"]
        made.specs["domains"] = {name: idle_domain() for name in names}
        real = documents.new_text
        document = (
            f"<domain type='qemu'><name>{names[1]}</name><memory>65536</memory>"
            "<os><type>hvm</type></os></domain>"
        )

        def slow(site: Any, intent: Any) -> Any:
            if intent.address.name == names[1]:
                conn.defineXML(document)
            return real(site, intent)

        with mock.patch.object(documents, "new_text", slow):
            done = made.apply(code=5)
        assert "it exists now" in done.out + done.err
        assert "2 added, 0 changed, 0 destroyed" in done.last
        theirs = conn.lookupByName(names[1])
        assert theirs.maxMemory() == 65536, "it was not overwritten"
        theirs.undefine()
        made.settle()


def test_an_edit_while_a_document_is_made_is_not_lost(
    fault_host: PrivateHost, tmp_path: Path, tally: Tally
) -> None:
    tally("races", HANDS, 2)
    with stack(tmp_path, fault_host) as made, connection(fault_host) as conn:
        name, prefix = made.tag, subnet()
        made.specs["domains"] = {name: idle_domain()}
        made.specs["networks"] = {name: network(prefix)}
        made.apply()
        made.domains[name]["cpu"] = "qemu64"
        made.specs["networks"][name]["domain"] = "x.example"
        host = f"<host ip='{prefix}.9'><hostname>theirs</hostname></host>"
        real = documents.patched

        def slow(site: Any, intent: Any, *rest: Any) -> Any:
            made_of = real(site, intent, *rest)
            if intent.address.kind == "domain":
                note(conn, name, "theirs")
            else:
                conn.networkLookupByName(name).update(3, 10, -1, host, 3)
            return made_of

        with mock.patch.object(documents, "patched", slow):
            done = made.apply(code=5)
        assert done.out.count("changed by somebody else") >= 2, str(done)
        made.settle()
        assert "theirs" in noted(conn, name)
        assert "theirs" in conn.networkLookupByName(name).XMLDesc()


def note(conn: libvirt.virConnect, name: str, text: str) -> None:
    """Leave a foreign note in a domain."""
    kind, flag = libvirt.VIR_DOMAIN_METADATA_ELEMENT, libvirt.VIR_DOMAIN_AFFECT_CONFIG
    conn.lookupByName(name).setMetadata(kind, f"<n>{text}</n>", "f", FOREIGN, flag)


def noted(conn: libvirt.virConnect, name: str) -> str:
    """The foreign note in a domain."""
    kind, flag = libvirt.VIR_DOMAIN_METADATA_ELEMENT, libvirt.VIR_DOMAIN_AFFECT_CONFIG
    text: str = conn.lookupByName(name).metadata(kind, FOREIGN, flag)
    return text


def test_a_restless_hand_only_delays(fault_host: PrivateHost, tmp_path: Path, tally: Tally) -> None:
    with stack(tmp_path, fault_host) as made, connection(fault_host) as conn:
        many(made, tmp_path, 10)
        made.apply()
        names = [f"{made.tag}-{n}" for n in range(10)]
        quiet = threading.Event()
        dice = random.Random(7)

        def meddle() -> None:
            while not quiet.wait(0.003):
                tally("races", HANDS, 1)
                domain = conn.lookupByName(dice.choice(names))
                dice.choice(
                    (
                        lambda domain: domain.setVcpusFlags(1, 2),
                        lambda domain: domain.setAutostart(1 - domain.autostart()),
                        lambda domain: domain.setMemoryFlags(32768, 2),
                    )
                )(domain)

        for round_ in range(2):
            for name in names:
                made.domains[name] |= {"autostart": bool(round_), "description": f"r{round_}"}
            quiet.clear()
            hand = threading.Thread(target=meddle)
            hand.start()
            try:
                done = made.run("apply", "--auto-approve")
            finally:
                quiet.set()
                hand.join()
            assert done.code in (0, 5), str(done)
            made.apply()
            made.in_sync()
