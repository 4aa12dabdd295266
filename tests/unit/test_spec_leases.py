"""Static leases from interfaces: what networks give out, and what they refuse."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvmplan.address import Kind, parse_address
from kvmplan.diagnostics import Diagnostic
from kvmplan.kinds.macs import derived_mac
from kvmplan.mapping.model import declared
from kvmplan.spec import Desired, LoadOptions, load

UID = "0d9f3c1e-6c1f-4c4f-9a53-0f6a8a3a2b11"
STACK = f"stack: {{name: lab, uid: {UID}}}\n"
LAN = (
    "networks:\n  lan: {ips: [{address: 10.10.0.1/24, dhcp: {ranges: [10.10.0.50-10.10.0.99]}}]}\n"
)


def read(directory: Path, text: str) -> tuple[Desired | None, list[Diagnostic]]:
    (directory / "lab.yaml").write_text(text)
    desired, found = load(directory, LoadOptions())
    return desired, list(found)


def good(directory: Path, text: str) -> Desired:
    desired, found = read(directory, text)
    assert desired is not None, found
    return desired


def mac(name: str, key: str) -> str:
    return derived_mac(UID, parse_address(f"local:domain.{name}"), key)


def test_a_lease_and_a_name_are_written_into_the_network(tmp_path: Path) -> None:
    text = f"""
stack: {{name: lab, uid: {UID}}}
{LAN}
domains:
  "node-{{{{ each.key }}}}":
    for_each: {{a: 11, b: 12}}
    interfaces: {{eth0: {{network: lan, ip: "10.10.0.{{{{ each.value }}}}"}}}}
  db:
    interfaces:
      eth0: {{network: lan, ip: 10.10.0.20, mac: "52:54:00:00:00:20"}}
      eth1: {{network: lan, ip: 10.10.0.21}}
      eth2: {{network: lan}}
"""
    desired = good(tmp_path, text)
    network = declared(desired.resources[parse_address("local:network.lan")].model)
    hosts = network["ips"]["10.10.0.1/24"]["dhcp"]["hosts"]
    assert list(hosts.values()) == [
        {"mac": mac("node-a", "eth0"), "ip": "10.10.0.11", "name": "node-a"},
        {"mac": mac("node-b", "eth0"), "ip": "10.10.0.12", "name": "node-b"},
        {"mac": "52:54:00:00:00:20", "ip": "10.10.0.20", "name": "db"},
        {"mac": mac("db", "eth1"), "ip": "10.10.0.21", "name": "db-eth1"},
    ]
    assert network["dns"]["hosts"]["10.10.0.12"] == {"ip": "10.10.0.12", "names": ("node-b",)}
    assert len(network["dns"]["hosts"]) == 4
    domain = declared(desired.resources[parse_address("local:domain.db")].model)
    assert "ip" not in domain["interfaces"]["eth0"], "it is the network's business"


def test_what_the_network_says_already_stays(tmp_path: Path) -> None:
    network = """
networks:
  lan:
    ips:
      - address: 10.10.0.1/24
        dhcp: {hosts: [{mac: "52:54:00:00:00:20", ip: 10.10.0.20, name: base}]}
    dns: {hosts: [{ip: 10.10.0.20, names: [sql]}, {ip: 10.10.0.9, names: [other]}]}
"""
    nic = '{network: lan, ip: 10.10.0.20, mac: "52:54:00:00:00:20"}'
    desired = good(tmp_path, f"{STACK}{network}domains: {{db: {{interfaces: {{eth0: {nic}}}}}}}")
    found = declared(next(r.model for a, r in desired.resources.items() if a.kind is Kind.NETWORK))
    hosts = found["ips"]["10.10.0.1/24"]["dhcp"]["hosts"]
    assert list(hosts.values()) == [
        {"mac": "52:54:00:00:00:20", "ip": "10.10.0.20", "name": "base"}
    ]
    assert found["dns"]["hosts"]["10.10.0.20"]["names"] == ("sql", "db")


@pytest.mark.parametrize(
    ("network", "nics", "said"),
    [
        (LAN, "{eth0: {network: wan, ip: 10.10.0.20}}", "network.wan is not this stack's"),
        (LAN, "{eth0: {bridge: br0, ip: 10.10.0.20}}", "only a virtual network"),
        (LAN, "{eth0: {network: lan, ip: 10.11.0.20}}", "none of the network's subnets (10.10.0.0"),
        (LAN, "{eth0: {network: lan, ip: 10.10.0.1}}", "the network's own address"),
        (LAN, '{eth0: {network: lan, ip: "fd00::5"}}', "by their DUID"),
        ("networks: {lan: {}}\n", "{eth0: {network: lan, ip: 10.10.0.20}}", "none of the network"),
        (
            LAN,
            "{eth0: {network: lan, ip: 10.10.0.20}, eth1: {network: lan, ip: 10.10.0.20}}",
            "10.10.0.20 is the lease of db already",
        ),
        (
            LAN.replace("}}]}", "}}], dns: {hosts: [{ip: 10.10.0.9, names: [db]}]}}"),
            "{eth0: {network: lan, ip: 10.10.0.20}}",
            "dns.hosts gives the name 'db' to 10.10.0.9",
        ),
    ],
)
def test_what_cannot_be_given_out_is_an_error_at_its_place(
    tmp_path: Path, network: str, nics: str, said: str
) -> None:
    text = f"{STACK}{network}domains:\n  db: {{interfaces: {nics}}}\n"
    _, (problem,) = read(tmp_path, text)
    assert problem.code == "KVP118"
    assert said in problem.summary
    assert problem.place is not None
    assert problem.place.line == text.count("\n")


def test_a_name_that_dns_does_not_take_is_a_warning(tmp_path: Path) -> None:
    nic = "{network: lan, ip: 10.10.0.20}"
    text = f"{STACK}{LAN}domains: {{my_db: {{interfaces: {{eth0: {nic}}}}}}}"
    desired, found = read(tmp_path, text)
    assert desired is not None
    assert [problem.code for problem in found] == ["KVP118"]
    network = declared(desired.resources[parse_address("local:network.lan")].model)
    (host,) = network["ips"]["10.10.0.1/24"]["dhcp"]["hosts"].values()
    assert "name" not in host
    assert "dns" not in network
