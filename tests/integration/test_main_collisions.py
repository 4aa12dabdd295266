"""What a host has of its own is seen in the plan, before libvirt fails at the next start."""

from __future__ import annotations

from pathlib import Path

import libvirt

from kvmplan.host.interfaces import _by_device_driver, read_interfaces
from tests.integration.support import connection, idle_domain, network, stack, subnet
from tests.privatehost import PrivateHost


def test_bridges_of_the_host(private_host: PrivateHost, tmp_path: Path) -> None:
    with stack(tmp_path, private_host) as made, connection(private_host) as conn:
        tag, bridge = made.tag, f"{made.tag}-br"
        private_host.run(["ip", "link", "add", bridge, "type", "bridge"])
        private_host.run(["ip", "link", "set", bridge, "address", "52:54:00:99:11:22"])
        found = read_interfaces(conn)
        assert found is not None
        assert found[bridge].mac == "52:54:00:99:11:22"
        made.specs |= {
            "networks": {tag: network(subnet(), bridge=bridge)},
            "domains": {
                f"{tag}-a": idle_domain(interfaces={"eth0": {"bridge": bridge}}),
                f"{tag}-b": idle_domain(interfaces={"eth0": {"bridge": f"{bridge}9"}}),
            },
        }
        refused = made.apply(code=1).err
        assert f"wants the bridge {bridge}, which is an interface of the host" in refused
        assert f"there is no bridge {bridge}9 on the host" in refused
        assert f"did you mean '{bridge}'?" in refused
        made.specs["networks"][tag]["bridge"] = f"{tag}-own"
        made.domains[f"{tag}-b"]["interfaces"] = {"eth0": {"bridge": f"{tag}-own"}}
        made.settle()
        private_host.run(["ip", "link", "del", bridge])


def test_a_driver_that_knows_addresses_and_one_that_knows_devices() -> None:
    conn = libvirt.open("test:///default")
    found = read_interfaces(conn)
    assert found is not None
    assert found["eth1"].addresses == ("192.168.0.5/24",)
    assert all(interface.mac for interface in _by_device_driver(conn).values())
    conn.close()
