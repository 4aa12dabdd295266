"""Interfaces that write no MAC: each gets another one, the same in every run."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from kvmplan.address import Address, parse_address
from kvmplan.diagnostics import Diagnostics
from kvmplan.kinds.macs import derived_mac
from kvmplan.kinds.models import MODELS
from kvmplan.mapping.model import declared
from kvmplan.spec import LoadOptions, load
from kvmplan.spec.desired import Desired
from kvmplan.spec.secrets import Secrets
from kvmplan.spec.stored import dump, restore

UID = "8d0d1a35-8c0c-4f64-9c51-9f0f7a7f2b10"
HEAD = f"""
stack: {{name: lab, uid: {UID}}}
networks:
  lan: {{ips: [{{address: 10.10.0.1/16, dhcp: {{ranges: [10.10.9.1-10.10.9.9]}}}}]}}
"""


def domain(name: str) -> Address:
    return parse_address(f"local:domain.{name}")


@cache
def alike() -> tuple[str, str]:
    """Two names, in order, whose derived MACs are the same: 24 bits do not last long."""
    seen: dict[str, str] = {}
    for number in range(100_000):
        name = f"vm-{number:05}"
        first = seen.setdefault(derived_mac(UID, domain(name), "eth0"), name)
        if first != name:
            return first, name
    raise AssertionError("no two of 100,000 are alike: the addresses are not what they were")


def read(directory: Path, text: str) -> Desired:
    (directory / "lab.yaml").write_text(HEAD + text)
    desired, found = load(directory, LoadOptions())
    assert desired is not None, list(found)
    return desired


def macs(desired: Desired, *names: str) -> list[str]:
    return [desired.new_mac(domain(name), "eth0") for name in names]


def test_the_second_of_two_that_are_alike_gets_another(tmp_path: Path) -> None:
    one, other = alike()
    text = f"domains:\n  {other}: {{interfaces: {{eth0: {{network: lan}}}}}}\n"
    alone = macs(read(tmp_path, text), other)
    text += f"  {one}: {{interfaces: {{eth0: {{network: lan}}}}}}\n"
    first, second = macs(read(tmp_path, text), one, other)
    assert [first] == alone == [derived_mac(UID, domain(one), "eth0")]
    assert second == derived_mac(UID, domain(other), "eth0", 1) != first


def test_a_written_one_is_nobody_elses(tmp_path: Path) -> None:
    written = derived_mac(UID, domain("a"), "eth0")
    nics = f"""
  a: {{interfaces: {{eth0: {{network: lan}}}}}}
  b: {{interfaces: {{eth0: {{network: lan, mac: "{written}"}}}}}}
"""
    desired = read(tmp_path, f"domains:{nics}")
    assert macs(desired, "a") == [derived_mac(UID, domain("a"), "eth0", 1)]


def test_a_lease_is_for_the_one_it_gets(tmp_path: Path) -> None:
    nics = ", ".join(
        f"{name}: {{interfaces: {{eth0: {{network: lan, ip: 10.10.0.{number}}}}}}}"
        for number, name in enumerate(alike(), 10)
    )
    desired = read(tmp_path, f"domains: {{{nics}}}\n")
    network = declared(desired.resources[parse_address("local:network.lan")].model)
    hosts = network["ips"]["10.10.0.1/16"]["dhcp"]["hosts"]
    assert [host["mac"] for host in hosts.values()] == macs(desired, *alike())
    assert len(hosts) == 2


def test_a_plan_file_keeps_them(tmp_path: Path) -> None:
    nics = ", ".join(f"{name}: {{interfaces: {{eth0: {{network: lan}}}}}}" for name in alike())
    desired = read(tmp_path, f"domains: {{{nics}}}\n")
    secrets = Secrets(tmp_path, {}, Diagnostics())
    assert restore(dump(desired), MODELS, secrets).macs == desired.macs != {}


def test_a_forged_plan_file_cannot_bring_other_than_macs(tmp_path: Path) -> None:
    desired = read(tmp_path, "domains: {a: {interfaces: {eth0: {network: lan}}}}\n")
    forged = {**dump(desired), "macs": {str(domain("a")): {"eth0": "' or what"}}}
    with pytest.raises(ValueError, match="the specs inside are not readable"):
        restore(forged, MODELS, Secrets(tmp_path, {}, Diagnostics()))
