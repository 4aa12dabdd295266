"""Networks that are a bridge or an interface of the host: what runs on them says so in its own way.

libvirt writes ``<interface type='bridge'>`` for a running interface of such a network, and
``type='direct'`` on one that goes through macvtap. Neither waits for a restart.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.support import (
    Stack,
    connection,
    document,
    idle_domain,
    network,
    stack,
    subnet,
)
from tests.privatehost import PrivateHost


@pytest.fixture
def made(private_host: PrivateHost, tmp_path: Path) -> Iterator[Stack]:
    """A running guest on three networks: a bridge of the host's, one end of a cable, and a LAN."""
    with stack(tmp_path, private_host) as made:
        tag = made.tag
        bridge, cable = f"{tag}b", f"{tag}c"
        private_host.run(["ip", "link", "add", bridge, "type", "bridge"])
        private_host.run(["ip", "link", "add", cable, "type", "veth", "peer", "name", f"{tag}d"])
        private_host.run(["ip", "link", "set", cable, "up"])
        made.specs |= {
            "networks": {
                f"{tag}-up": {"forward": "bridge", "bridge": bridge},
                f"{tag}-tap": {"forward": {"mode": "bridge", "dev": cable}},
                f"{tag}-lan": network(subnet(), forward="none"),
            },
            "domains": {
                tag: idle_domain(
                    state="running",
                    force=True,
                    shutdown_timeout="1s",
                    interfaces={
                        name: {"network": f"{tag}-{name}"} for name in ("up", "tap", "lan")
                    },
                )
            },
        }
        made.apply()
        yield made
    for name in (bridge, cable):
        private_host.run(["ip", "link", "delete", name])


def plugged(made: Stack) -> list[tuple[str | None, str | None]]:
    """Type and network of each running interface."""
    assert made.host is not None
    with connection(made.host) as conn:
        root = document(conn.lookupByName(made.tag), 0)
    nics = root.findall("devices/interface")
    sources = [nic.find("source") for nic in nics]
    names = [None if source is None else source.get("network") for source in sources]
    return [(nic.get("type"), name) for nic, name in zip(nics, names, strict=True)]


def test_what_was_just_born_waits_for_nothing(made: Stack) -> None:
    types = [type_ for type_, _ in plugged(made)]
    assert types == ["bridge", "direct", "network"]
    assert "Pending" not in made.in_sync().out


def test_it_is_edited_and_moved_while_it_runs(made: Stack) -> None:
    tag = made.tag
    nics = made.domains[tag]["interfaces"]
    nics["up"]["link"] = "down"
    nics["lan"]["network"] = f"{tag}-up"
    made.settle()
    assert [name for _, name in plugged(made)] == [f"{tag}-up", f"{tag}-tap", f"{tag}-up"]
    nics["up"] = {"network": f"{tag}-lan", "link": "up"}
    made.settle()
    assert plugged(made)[0] == ("network", f"{tag}-lan")
    assert "Pending" not in made.in_sync().out


def test_its_network_goes_to_another_bridge_and_takes_it_along(made: Stack) -> None:
    """A neighbour that is on the host's bridge itself is neither cut off nor in the way."""
    assert made.host is not None
    tag = made.tag
    other = f"{tag}e"
    made.host.run(["ip", "link", "add", other, "type", "bridge"])
    up = made.specs["networks"][f"{tag}-up"]
    neighbour = dict(made.domains[tag], interfaces={"eth0": {"bridge": up["bridge"]}})
    with stack(made.directory, made.host, domains={f"{tag}-n": neighbour}) as beside:
        beside.apply()
        up |= {"bridge": other, "on_change": "restart"}
        planned = made.plan("--allow-restart", f"network.{tag}-up")
        assert f"cuts off domain.{tag}, until" in planned.out, str(planned)
        made.apply("--allow-restart", f"network.{tag}-up")
        made.in_sync()
        with connection(made.host) as conn:
            (source, *_) = document(conn.lookupByName(tag), 0).findall("devices/interface/source")
            (past,) = document(conn.lookupByName(f"{tag}-n"), 0).findall("devices/interface/source")
        assert (source.get("network"), source.get("bridge")) == (f"{tag}-up", other)
        assert past.get("bridge") == f"{tag}b"
    made.destroy()
    made.host.run(["ip", "link", "delete", other])


def test_macvtap_stays_where_it_is_until_its_guest_starts_anew(made: Stack) -> None:
    assert made.host is not None
    tag = made.tag
    other = f"{tag}e"
    made.host.run(["ip", "link", "add", other, "type", "veth", "peer", "name", f"{tag}f"])
    tap = made.specs["networks"][f"{tag}-tap"]
    tap |= {"forward": {"mode": "bridge", "dev": other}, "on_change": "restart"}
    planned = made.plan()
    told = f"domain.{tag}: not cut off, each keeps what it has of the host until its next start"
    assert told in " ".join(planned.out.split()), str(planned)
    assert "cuts off" not in planned.out
    made.apply("--allow-restart", f"network.{tag}-tap")
    made.in_sync()
    with connection(made.host) as conn:
        sources = document(conn.lookupByName(tag), 0).findall("devices/interface/source")
    assert sources[1].get("dev") == f"{tag}c"
    made.destroy()
    made.host.run(["ip", "link", "delete", other])
