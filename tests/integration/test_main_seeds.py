"""Seeds in a running guest: read, unplugged when they are done, edited; and a guest made anew."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import libvirt
import pytest

from tests.integration.support import (
    Stack,
    connection,
    console_of,
    document,
    stack,
    tiny_domain,
    wait_until,
)
from tests.integration.test_main_waiting import ask, write_inside
from tests.privatehost import PrivateHost, TinyGuest

pytestmark = [pytest.mark.guest, pytest.mark.xdist_group("guest")]
RESULT = "/run/cloud-init/result.json"
CONFIG = "/sys/firmware/qemu_fw_cfg/by_name/opt/com.coreos/config/raw"


@contextlib.contextmanager
def cloud_init_finishes(host: PrivateHost, name: str) -> Iterator[None]:
    """The tiny guest has no cloud-init: say in its place that it has finished."""
    stopped = threading.Event()

    def say() -> None:
        with connection(host) as conn:
            while not stopped.wait(0.5):
                with contextlib.suppress(libvirt.libvirtError):
                    write_inside(conn.lookupByName(name), RESULT, '{"v1": {"errors": []}}')
                    return

    thread = threading.Thread(target=say)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def disks_of(domain: libvirt.virDomain, flags: int) -> set[str]:
    targets = document(domain, flags).iterfind("devices/disk/target")
    return {target.get("dev") for target in targets}


def has_seed(domain: libvirt.virDomain) -> tuple[bool, bool]:
    """Whether the definition has the seed's disk, and the running guest."""
    inactive = libvirt.VIR_DOMAIN_XML_INACTIVE
    return "vdz" in disks_of(domain, inactive), "vdz" in disks_of(domain, 0)


def test_what_a_first_boot_reads(
    private_host: PrivateHost, tiny_guest: TinyGuest, tmp_path: Path
) -> None:
    with stack(tmp_path, private_host) as made, connection(private_host) as conn:
        tag, pool = made.tag, tmp_path / "pool"
        config = {"ignition": {"version": "3.4.0"}, "note": "first"}
        console = tmp_path / f"{tag}.console"
        made.specs |= {
            "pools": {tag: {"path": str(pool)}},
            "volumes": {f"{tag}/base.qcow2": {"capacity": "32MiB"}},
            "domains": {
                tag: tiny_domain(
                    tiny_guest,
                    tag,
                    console,
                    disks={"vda": {"size": "64MiB", "pool": tag, "backing": f"{tag}/base.qcow2"}},
                    ignition=config,
                    cloud_init={"user_data": {"hostname": "first"}, "eject_after": "done"},
                    wait_for={"cloud_init": "8m"},
                )
            },
        }
        with cloud_init_finishes(private_host, tag):
            made.settle()
        domain = conn.lookupByName(tag)
        assert has_seed(domain) == (False, False)
        console_of(tmp_path, tag).wait_state(lambda state: list(state.disks) == ["vda"], 60)
        ask(domain, "guest-exec", path="/bin/sh", arg=["-c", f"cat {CONFIG} >/dev/console"])
        said = re.compile(r'\{\s*"ignition".*?"note": "first"\s*\}', re.DOTALL)
        wait_until(lambda: bool(said.search(console_of(tmp_path, tag).text())), "it says it", 60)
        found = said.search(console_of(tmp_path, tag).text())
        assert found is not None
        assert json.loads(found[0]) == config

        _edited(made, domain, pool)
        _made_anew(made, private_host, conn, pool)


def _edited(made: Stack, domain: libvirt.virDomain, pool: Path) -> None:
    """Both are written anew; the running guest gets its seed back, and nothing restarts."""
    tag, running = made.tag, domain.ID()
    made.domains[tag]["ignition"]["note"] = "second"
    made.domains[tag]["cloud_init"]["user_data"] = {"hostname": "second"}
    planned = made.settle()
    assert f"~ volume.{tag}/{tag}.ign" in planned.out
    assert "restart" not in planned.out
    assert json.loads((pool / f"{tag}.ign").read_bytes())["note"] == "second"
    assert b'"hostname": "second"' in (pool / f"{tag}-seed.iso").read_bytes()
    assert (domain.ID(), has_seed(domain)) == (running, (True, True))


def _made_anew(made: Stack, host: PrivateHost, conn: libvirt.virConnect, pool: Path) -> None:
    """Another seed, another guest: with its word for the disk, and not without."""
    tag, disk = made.tag, f"volume.{made.tag}/{made.tag}-vda.qcow2"
    seed = made.domains[tag]["cloud_init"]
    seed["on_change"] = "replace"
    made.in_sync()
    seed["user_data"] = {"hostname": "third"}
    refused = made.apply(code=7)
    assert "KVP211" in refused.err + refused.out
    assert disk in refused.err
    running = conn.lookupByName(tag).ID()
    with (pool / f"{tag}-vda.qcow2").open("rb") as old, cloud_init_finishes(host, tag):
        planned = made.settle("--allow-data-loss", disk)
        assert os.fstat(old.fileno()).st_nlink == 0, "the disk is another"
    assert f"± domain.{tag}" in planned.out
    domain = conn.lookupByName(tag)
    assert domain.ID() != running
    assert has_seed(domain) == (False, False)
    info: Any = json.loads(
        subprocess.run(
            ["qemu-img", "info", "-U", "--output=json", str(pool / f"{tag}-vda.qcow2")],
            check=True,
            capture_output=True,
        ).stdout
    )
    assert info["backing-filename"] == str(pool / "base.qcow2")
