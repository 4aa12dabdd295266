"""Outputs: how they are written, what their expressions see, and what they say when they cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvmplan.address import parse_address
from kvmplan.diagnostics import Diagnostics
from kvmplan.inventory import GuestAddress, HostFacts, Inventory, Record, State
from kvmplan.plan.livenames import live_names
from kvmplan.spec import Desired, LoadOptions, load
from kvmplan.spec.outputs import evaluate

WEB, OFF = parse_address("local:domain.web"), parse_address("local:domain.off")
STACK = "stack: {name: lab, uid: 0d9f3c1e-6c1f-4c4f-9a53-0f6a8a3a2b11}\n"
SPECS = STACK + "variables: {port: {default: 80}}\ndomains: {web: {}, off: {}, none: {}}\n"
XML = """<domain><devices>
  <interface type='network'><mac address='52:54:00:00:00:01'/><source network='lan'/></interface>
  <disk><source file='/pool/web.qcow2'/><target dev='vda'/></disk>
  <graphics type='vnc' port='5901' listen='0.0.0.0'/>
</devices></domain>"""


def specs(directory: Path, outputs: str) -> tuple[Desired | None, Diagnostics]:
    (directory / "x.yaml").write_text(SPECS + "outputs:\n" + outputs)
    return load(directory, LoadOptions())


def told(directory: Path, outputs: str) -> tuple[dict[str, object], list[str]]:
    desired, found = specs(directory, outputs)
    assert desired is not None, list(found)
    records = {
        WEB: Record(WEB, "uuid-web", XML, XML, State.RUNNING),
        OFF: Record(OFF, "uuid-off", XML),
    }
    inventory = Inventory("local", HostFacts("test:///"), records)
    addresses = {WEB: (GuestAddress("52:54:00:00:00:01", "10.10.0.10", "lease", 1),)}
    problems = Diagnostics()
    names = live_names(desired, {"local": inventory}, addresses)
    values = evaluate(desired.outputs, names, problems)
    return values, [problem.summary for problem in problems]


def test_what_expressions_see(tmp_path: Path) -> None:
    values, problems = told(
        tmp_path,
        """
  url: "http://{{ domain.web.address }}:{{ var.port }}/"
  port: "{{ domain.web.graphics.vnc.port }}"
  facts: {value: ["{{ domain['web'].macs }}", "{{ hosts.local.domain.web.disks.vda.path }}"]}
  states: "{{ domain.off.state }} {{ domain.off.address | default('nowhere') }}"
""",
    )
    assert problems == []
    assert values == {
        "url": "http://10.10.0.10:80/",
        "port": 5901,
        "facts": [{"52:54:00:00:00:01": "52:54:00:00:00:01"}, "/pool/web.qcow2"],
        "states": "stopped nowhere",
    }


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("domain.off.address", "domain.off has no address that is known: it is not running"),
        ("domain.none.uuid", "domain.none is not on its host"),
        ("domain.wbe.uuid", "undefined name 'domain.wbe'"),
        ("domain.web.graphics.spice.port", "undefined name 'domain.web.graphics.spice'"),
        ("each.key", "'each' is undefined"),
    ],
)
def test_what_is_not_known_says_so_and_leaves_the_others(
    tmp_path: Path, expression: str, said: str
) -> None:
    values, problems = told(tmp_path, f'  good: yes\n  bad: "{{{{ {expression} }}}}"\n')
    assert values == {"good": "yes"}
    assert problems == [said]


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ("  a: !secret {env: HOME}", "KVP113"),
        ("  a: {value: [1, !default ]}", "KVP105"),
        ('  a: "{{ 1 + }}"', "KVP103"),
        ("  a: {description: d}", "KVP105"),
        ("  a: {value: 1, sensitive: true}", "KVP104"),
        ("  a b: 1", "KVP107"),
    ],
)
def test_what_is_written_wrong_is_told_offline(tmp_path: Path, written: str, code: str) -> None:
    _, found = specs(tmp_path, written)
    assert [problem.code for problem in found] == [code]


def test_what_is_live_is_not_known_in_resources(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(STACK + 'domains: {a: {title: "{{ domain.b.address }}"}}\n')
    _, (problem,) = load(tmp_path, LoadOptions())
    assert problem.remedy == "what is live is known in `outputs` only"
