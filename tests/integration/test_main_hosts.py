"""One stack on two hosts."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.support import Stack, connection, idle_domain, network, stack, subnet
from tests.privatehost import PrivateHost


@pytest.fixture
def second_host() -> Iterator[PrivateHost]:
    """One more private host."""
    host = PrivateHost(f"pytest-{os.getpid()}-second")
    host.up()
    yield host
    host.down()


def fill(made: Stack, uris: dict[str, str], directory: Path) -> None:
    tag = made.tag
    made.specs["stack"]["hosts"] = {name: {"uri": uri} for name, uri in uris.items()}
    made.specs |= {
        "networks": {tag: network(subnet(), host="*")},
        "pools": {tag: {"path": str(directory / "pool-{{ host }}"), "host": ["kvm1", "kvm2"]}},
        "volumes": {f"{tag}/disk.qcow2": {"capacity": "8MiB", "host": "kvm2"}},
        "domains": {
            f"{tag}-one": idle_domain(host="kvm1", interfaces={"lan": tag}),
            f"{tag}-two": idle_domain(
                host="kvm2", interfaces={"lan": tag}, disks={"vda": f"{tag}/disk.qcow2"}
            ),
        },
    }


def test_two_hosts_are_one_stack(
    own_host: PrivateHost, second_host: PrivateHost, tmp_path: Path
) -> None:
    with stack(tmp_path, None) as made:
        tag = made.tag
        fill(made, {"kvm1": own_host.uri, "kvm2": second_host.uri}, tmp_path)
        planned = made.plan()
        assert planned.last == "Plan: 7 to add, 0 to change, 0 to destroy.", str(planned)
        for address in (
            f"kvm1:network.{tag}",
            f"kvm2:network.{tag}",
            f"kvm1:domain.{tag}-one",
            f"kvm2:domain.{tag}-two",
            f"kvm2:volume.{tag}/disk.qcow2",
        ):
            assert address in planned.out
        assert "2 hosts read" in planned.out
        whole = json.loads(made.plan("--format", "json").out)
        assert sorted(whole["hosts"]) == ["kvm1", "kvm2"]

        made.apply()
        made.in_sync()
        found = {}
        for name, host in (("kvm1", own_host), ("kvm2", second_host)):
            with connection(host) as conn:
                found[name] = [domain.name() for domain in conn.listAllDomains()]
                assert [net.name() for net in conn.listAllNetworks()] == [tag]
        assert found == {"kvm1": [f"{tag}-one"], "kvm2": [f"{tag}-two"]}
        assert (tmp_path / "pool-kvm2" / "disk.qcow2").exists()

        made.domains[f"{tag}-two"]["title"] = "on the second"
        edited = made.settle()
        assert edited.last == "Plan: 0 to add, 1 to change, 0 to destroy."
        made.domains[f"{tag}-one"]["title"] = "not targeted"
        held = made.plan("--target", f"kvm2:domain.{tag}-two")
        assert held.code == 0
        made.domains[f"{tag}-one"].pop("title")

        one_gone = own_host.uri
        own_host.kill()
        unreachable = made.plan()
        assert unreachable.code == 1
        assert "kvm1" in unreachable.err
        skipped = made.plan("--on-unreachable", "skip")
        assert skipped.code == 0, str(skipped)
        assert "kvm1" in skipped.err
        left = made.domains.pop(f"{tag}-two")
        pruned = made.run("apply", "--auto-approve", "--prune", "--on-unreachable", "skip")
        assert pruned.code == 7, str(pruned)
        assert "KVP214" in pruned.err
        assert "nothing is pruned while a host does not answer" in pruned.err
        made.domains[f"{tag}-two"] = left
        own_host.restart()
        assert own_host.uri == one_gone
        made.in_sync()
        made.destroy()
        for host in (own_host, second_host):
            with connection(host) as conn:
                assert conn.listAllSecrets() == []
                assert conn.listAllDomains() == []
                assert conn.listAllNetworks() == []


def test_two_names_of_one_host_are_an_error(private_host: PrivateHost, tmp_path: Path) -> None:
    made = Stack(tmp_path, None)
    uris = {"kvm1": private_host.uri, "kvm2": private_host.uri + "&command=x"}
    fill(made, uris, tmp_path)
    refused = made.plan()
    assert (refused.code, "KVP510" in refused.err) == (1, True), str(refused)


def test_connect_beside_hosts_is_an_error(private_host: PrivateHost, tmp_path: Path) -> None:
    made = Stack(tmp_path, private_host)
    fill(made, {"kvm1": private_host.uri, "kvm2": "test:///default"}, tmp_path)
    refused = made.plan()
    assert (refused.code, "KVP511" in refused.err) == (1, True), str(refused)
