"""The full circle: nothing, plan, apply, an empty plan whatever happens, destroy, nothing."""

from pathlib import Path

import libvirt
import pytest

from tests.integration.support import (
    Stack,
    connection,
    console_of,
    idle_domain,
    network,
    stack,
    subnet,
    tiny_domain,
)
from tests.privatehost import PrivateHost, TinyGuest

MIB = 1024**2


def everything(made: Stack, guest: TinyGuest, directory: Path) -> Path:
    """Give a stack something of all kinds; the pool's directory."""
    tag, pool = made.tag, directory / "pool"
    made.specs |= {
        "networks": {
            f"{tag}-nat": network(subnet(), forward="nat", domain="circle.example"),
            f"{tag}-iso": {"forward": "none", "ips": [{"address": f"{subnet()}.1/24"}]},
        },
        "pools": {tag: {"path": str(pool)}},
        "volumes": {
            f"{tag}/base.qcow2": {"capacity": "64MiB"},
            f"{tag}/plain.img": {"capacity": "32MiB", "format": "raw"},
            f"{tag}/overlay.qcow2": {"capacity": "128MiB", "backing": f"{tag}/base.qcow2"},
            f"{tag}/clone.qcow2": {"capacity": "96MiB", "clone": f"{tag}/base.qcow2"},
        },
        "domains": {
            f"{tag}-off": idle_domain(
                disks={
                    "vda": {"volume": f"{tag}/overlay.qcow2", "cache": "none"},
                    "vdb": {"volume": f"{tag}/plain.img"},
                    "sda": {"device": "cdrom", "bus": "sata"},
                },
                interfaces={"lan": f"{tag}-nat", "back": f"{tag}-iso"},
                graphics=[{"type": "vnc", "listen": "127.0.0.1", "port": "auto"}],
                video="vga",
                shutdown_timeout="2s",
            ),
            f"{tag}-on": tiny_domain(
                guest,
                f"{tag}-on",
                directory / f"{tag}-on.console",
                disks={"vda": f"{tag}/clone.qcow2"},
                interfaces={"lan": f"{tag}-nat"},
                autostart=True,
            ),
        },
    }
    return pool


def leftovers(conn: libvirt.virConnect) -> list[str]:
    """The names of everything on a host but its stock filters."""
    named = [*conn.listAllDomains(), *conn.listAllNetworks(), *conn.listAllStoragePools()]
    secrets = [secret.usageID() for secret in conn.listAllSecrets()]
    return [item.name() for item in named] + secrets


@pytest.mark.guest
def test_a_stack_comes_stays_in_sync_and_goes(
    own_host: PrivateHost, tiny_guest: TinyGuest, tmp_path: Path
) -> None:
    with stack(tmp_path, own_host) as made, connection(own_host) as conn:
        pool = everything(made, tiny_guest, tmp_path)
        before = made.plan()
        assert before.code == 2
        assert before.last == "Plan: 9 to add, 0 to change, 0 to destroy.", str(before)
        assert leftovers(conn) == []  # a plan writes nothing

        done = made.apply()
        assert done.last == "Apply complete! Resources: 9 added, 0 changed, 0 destroyed."
        made.in_sync()
        ready = console_of(tmp_path, f"{made.tag}-on")
        ready.wait_ready()
        state = ready.wait_state(lambda seen: bool(seen.disks))
        assert state.disks == {"vda": 96 * MIB}
        assert all(address is not None for address in state.nics.values())
        made.in_sync()

        del made.domains[f"{made.tag}-off"]["state"]  # nobody's business any more
        conn.lookupByName(f"{made.tag}-off").create()
        own_host.restart()
        made.in_sync()  # with both guests running, read by a daemon that has just started
    _gone(own_host, pool)


def _gone(host: PrivateHost, pool: Path) -> None:
    with connection(host) as conn:
        assert leftovers(conn) == []
    assert list(pool.iterdir()) == []


def test_destroy_leaves_what_it_does_not_own(
    private_host: PrivateHost, tiny_guest: TinyGuest, tmp_path: Path
) -> None:
    with stack(tmp_path, private_host) as made:
        pool = everything(made, tiny_guest, tmp_path)
        made.domains.pop(f"{made.tag}-on")
        made.apply()
        made.in_sync()
        (pool / "notes.txt").write_text("not kvmplan's")
        refused = made.run("destroy", "--auto-approve")
        assert refused.code == 7
        assert "KVP211" in refused.err
        made.in_sync()
        last = made.destroy().last
        assert last == "Apply complete! Resources: 0 added, 0 changed, 8 destroyed."
        assert [path.name for path in pool.iterdir()] == ["notes.txt"]
        with connection(private_host) as conn:
            assert not [name for name in leftovers(conn) if made.tag in name or made.uid in name]
