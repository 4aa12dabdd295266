"""Every field of networks, changed, drifted, released and given back, up and down."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kvmplan.address import Kind
from tests.integration.fields import SILENT, Bench, Edit, Group, Life, account, field_stack
from tests.integration.support import connection, network, stack, subnet
from tests.privatehost import PrivateHost

IP, IP6 = "ips $net.1/24", "ips $net6:1/64"
DHCP = f"{IP} dhcp"
UUID, OTHER = (f"0d9f3c1e-6c1f-4c4f-9a53-0f6a8a3a2b1{n}" for n in (1, 2))
HOSTS, RANGES = f"{DHCP} hosts", f"{DHCP} ranges"
SRV = {"service": "sip", "protocol": "tcp", "target": "one"}
SRV_RECORDS = {
    "service": SRV,
    "protocol": {**SRV, "protocol": "udp"},
    "target": {**SRV, "target": "two"},
    "domain": {**SRV, "service": "xmpp", "domain": "b.example"},
}
"""Records by what makes each another one: several of a service live side by side."""
SERVED: dict[str, Any] = {"ips": {"$net.1/24": {"dhcp": {}}}}


def net(
    name: str, *edits: Edit, active: bool = True, idle: bool = True, why: str = "", **spec: Any
) -> Group:
    return Group(name, spec, edits, active, idle, why)


def lease(number: int) -> dict[str, Any]:
    return {"mac": f"$mac:{number:02}", "ip": f"$net.{number}", "name": f"n{number}"}


def member(path: str, key: str, covers: str, impact: str, value: Any) -> Edit:
    """A member that comes: its key field is tried with it."""
    return Edit(f"{path} {key}", None, value, impact, default=False, covers=covers)


GROUPS = (
    net("mode", Edit("forward mode", "nat", "route"), **SERVED),
    net("apart", Edit("forward mode", "route", "none", default=False), **SERVED),
    net("policy", Edit("on_change", "next-boot", None, SILENT, default=False), **SERVED),
    net("open", Edit("forward mode", "nat", "open"), **SERVED),
    net(
        "own-lines",
        Edit("dnsmasq_options", ["log-dhcp"], ["log-dhcp", "dhcp-option=3,192.0.2.1"]),
        **SERVED,
    ),
    net(
        "switch",
        Edit("virtualport type", "openvswitch", "802.1Qbh", default=False),
        forward={"mode": "bridge"},
        bridge="kfhb1",
        virtualport={"profileid": "p"},
    ),
    net(
        "port",
        Edit("virtualport profileid", "p", "q", default=False),
        Edit("virtualport interfaceid", UUID, OTHER, default=False),
        forward={"mode": "bridge"},
        bridge="kfhb1",
        virtualport={"type": "openvswitch"},
    ),
    net(
        "vepa",
        Edit("virtualport managerid", 11, 12, default=False, released=False),
        Edit("virtualport typeid", 1193047, 1193048, default=False, released=False),
        Edit("virtualport typeidversion", 1, 2, default=False, released=False),
        Edit("virtualport instanceid", UUID, OTHER, default=False, released=False),
        forward={"mode": "bridge"},
        bridge="kfhb1",
        virtualport={"type": "802.1Qbg"},
    ),
    net(
        "rates",
        *(
            Edit(f"bandwidth {way} {name}", before, after, default=False)
            for way in ("inbound", "outbound")
            for name, before, after in (("average", 100, 200), ("peak", 300, 400), ("burst", 5, 6))
        ),
        active=False,
        why="its host would need the kernel's htb and sfq queues",
        bandwidth={"inbound": {"average": 10}, "outbound": {"average": 10}},
        **SERVED,
    ),
    net(
        "nat",
        Edit("forward nat addresses", "192.0.2.10-192.0.2.12", "192.0.2.20-192.0.2.22"),
        Edit("forward nat ports", "1024-2000", "3000-4000"),
        forward={"mode": "nat"},
        **SERVED,
    ),
    net("way", Edit("forward dev", "kfe1", "kfe2"), forward={"mode": "nat"}, **SERVED),
    net(
        "host",
        Edit("bridge name", "kfhb1", "kfhb2", default=False),
        forward={"mode": "bridge"},
    ),
    net(
        "cards",
        Edit("forward interfaces", ["kfe1"], ["kfe2", "kfe1"], default=False),
        forward={"mode": "private"},
        active=False,
    ),
    net(
        "tags",
        Edit("vlan", [42], [42, 43], default=False),
        forward={"mode": "passthrough", "interfaces": ["kfe1"]},
        active=False,
    ),
    net(
        "bridge",
        Edit("bridge name", "$br-a", "$br-b", default=False),
        Edit("bridge stp", True, False),
        Edit("bridge delay", 0, 2),
        Edit("mac", "$mac:aa", "$mac:ab", default=False),
        Edit("mtu", 1500, 1400),
        Edit("port_isolated", False, True),
        Edit("domain name", "one.example", "two.example", default=False),
        Edit("domain local_only", True, False),
        Edit("autostart", False, True, "live", "live"),
        **SERVED,
    ),
    net("zone", Edit("bridge zone", "public", "trusted"), active=False, **SERVED),
    net("silent", Edit("dns enable", True, False), **SERVED),
    net(
        "dns",
        Edit(
            "dns forwarders 9.9.9.9",
            None,
            {"address": "9.9.9.9"},
            default=False,
            covers="dns forwarders * address",
        ),
        Edit("dns forwarders a.example address", "192.0.2.1", "192.0.2.2"),
        member(
            "dns forwarders",
            "b.example",
            "dns forwarders * domain",
            "next-boot",
            {"domain": "b.example", "address": "192.0.2.3"},
        ),
        Edit("dns txt a value", "one", "two", "live", default=False),
        member("dns txt", "b", "dns txt * name", "live", {"name": "b", "value": "c"}),
        Edit("dns srv ldap/tcp/one port", 389, 390, "live"),
        Edit("dns srv ldap/tcp/one priority", 1, 2, "live"),
        Edit("dns srv ldap/tcp/one weight", 3, 4, "live"),
        *(
            member("dns srv", "/".join(it.values()), f"dns srv * {field}", "live", it)
            for field, it in SRV_RECORDS.items()
        ),
        Edit("dns hosts $net.20 names", ["a"], ["a", "b"], "live", default=False, released=False),
        member("dns hosts", "$net.21", "dns hosts * ip", "live", {"ip": "$net.21", "names": ["c"]}),
        dns={
            "forwarders": {"a.example": {"domain": "a.example"}},
            "srv": {"ldap/tcp/one": {**SRV, "service": "ldap"}},
        },
        **SERVED,
    ),
    net(
        "dhcp",
        member(
            RANGES,
            "$net.100-$net.120",
            "ips * dhcp ranges * range",
            "live",
            {"range": "$net.100-$net.120"},
        ),
        Edit(
            f"{RANGES} $net.130-$net.140",
            {"range": "$net.130-$net.140"},
            None,
            "live",
            default=False,
        ),
        Edit(f"{HOSTS} $mac:10 ip", "$net.10", "$net.11", "live", default=False),
        Edit(f"{HOSTS} $mac:10 name", "one", "two", "live", default=False),
        member(HOSTS, "$mac:12", "ips * dhcp hosts * mac", "live", lease(12)),
        Edit(f"{HOSTS} $mac:13", lease(13), None, "live", default=False),
        Edit(f"{DHCP} bootp file", "one.0", "two.0", default=False),
        Edit(f"{DHCP} bootp server", "192.0.2.1", "192.0.2.2"),
        Edit(f"{IP} tftp", "/usr/share", "/usr/lib"),
        ips={"$net.1/24": {"dhcp": {"hosts": {"$mac:10": {"mac": "$mac:10"}}}}},
    ),
    net(
        "ips",
        member("ips", "$net6:1/64", "ips * address", "next-boot", {"address": "$net6:1/64"}),
        Edit("routes 10.99.0.0/16 via", "$net.2", "$net.3", default=False),
        Edit("routes 10.99.0.0/16 metric", 2, 3),
        member(
            "routes",
            "10.98.0.0/16",
            "routes * to",
            "next-boot",
            {"to": "10.98.0.0/16", "via": "$net.2"},
        ),
        **SERVED,
    ),
    net(
        "ipv6",
        Edit(
            f"{IP6} dhcp ranges $net6:100-$net6:200",
            None,
            {"range": "$net6:100-$net6:200"},
            "live",
            default=False,
        ),
        ips={"$net6:1/64": {}},
    ),
    net(
        "portgroups",
        Edit("portgroups gold default", True, False, "live", default=False),
        member("portgroups", "iron", "portgroups * name", "live", {"name": "iron"}),
        **SERVED,
    ),
    net(
        "lanes",
        Edit("portgroups gold vlan", [42], [42, 43], "live", default=False),
        forward={"mode": "passthrough", "interfaces": ["kfe1"]},
        active=False,
    ),
)
BRIDGES = ("kfhb1", "kfhb2", "kfe1", "kfe2")
CANNOT_HERE = {"active": "tried in test_main_drift: what was stopped is started again"}


@contextlib.contextmanager
def surroundings(host: PrivateHost) -> Iterator[None]:
    """The host's interfaces that the networks of the table are on."""
    for bridge in BRIDGES:
        host.run(["ip", "link", "add", bridge, "type", "bridge"])
        host.run(["ip", "link", "set", bridge, "up"])
    try:
        yield
    finally:
        for bridge in BRIDGES:
            host.run(["ip", "link", "del", bridge])


@pytest.fixture(scope="module")
def bench(private_host: PrivateHost, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    directory = tmp_path_factory.mktemp("fields")
    with (
        surroundings(private_host),
        field_stack(directory, private_host) as made,
        connection(private_host) as conn,
    ):
        bench = Bench(made, conn, Kind.NETWORK, GROUPS)
        bench.turn("before")
        made.apply()
        yield bench


def test_every_field_has_a_line(summaries: Path) -> None:
    account(Kind.NETWORK, GROUPS, CANNOT_HERE, summaries)


class TestEveryField(Life):
    """Of networks."""


def test_dns_goes_off_with_all_that_it_served(private_host: PrivateHost, tmp_path: Path) -> None:
    with stack(tmp_path, private_host) as made:
        lan = subnet()
        served: dict[str, list[Any]] = {
            "forwarders": ["9.9.9.9"],
            "hosts": [{"ip": f"{lan}.10", "names": ["web"]}],
            "txt": [{"name": "a", "value": "b"}],
            "srv": [{"service": "ldap", "protocol": "tcp", "target": "web", "port": 389}],
        }
        lans = made.specs["networks"] = {made.tag: network(lan, dns=served)}
        made.apply()
        for dns in ({"enable": False, **{name: [] for name in served}}, {"enable": True, **served}):
            lans[made.tag]["dns"] = dns
            made.settle()
