"""The generated schema and pages are current, and the schema says what the language says."""

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from kvmplan.address import Kind
from kvmplan.kinds import MODELS
from kvmplan.mapping.docs import field_doc
from kvmplan.mapping.model import bindings
from kvmplan.mapping.reference import json_schema, reference_page

ROOT = Path(__file__).parent.parent.parent
SCHEMA = json_schema({kind.plural: MODELS[kind] for kind in Kind})
EXAMPLE = """
stack:
  name: lab
  uid: 0d9f3c1e-6c1f-4c4f-9a53-0f6a8a3a2b11
  hosts: {kvm1: {uri: "qemu+ssh://root@kvm1/system"}}
  prune: false
  max_delete: {count: 10, percent: 25}
variables:
  memory: {type: size, default: 2GiB, description: memory of a web server}
profiles:
  small: {vcpus: 2, memory: "{{ var.memory }}"}
networks:
  lan:
    forward: nat
    bridge: virbr-lan
    domain: {name: lan.example, local_only: true}
    ips:
      - address: 10.10.0.1/24
        dhcp:
          ranges: [10.10.0.50-10.10.0.199]
          hosts: [{mac: "52:54:00:aa:00:01", ip: 10.10.0.10, name: web}]
          bootp: {file: pxelinux.0, server: 10.10.0.1}
      - fd00:10::1/64
    dns:
      forwarders: [{address: 9.9.9.9}, {domain: corp.example, address: 10.0.0.53}]
      hosts: [{ip: 10.10.0.10, names: [web, www]}]
    autostart: true
pools:
  vms: {path: /var/lib/libvirt/images/lab}
volumes:
  vms/web.qcow2: {capacity: 20GiB, lifecycle: {prevent_destroy: true}}
  "vms/{{ each.key }}.qcow2": {for_each: [a, b], backing: vms/base.qcow2, depends_on: [pool.vms]}
domains:
  web:
    profile: [small]
    host: kvm1
    state: running
    cpu: EPYC
    agent: null
    vcpus: {current: 2, maximum: "{{ var.cpus }}", pinning: {"0": "0-3"}}
    disks: {vda: {volume: vms/web.qcow2}, vdb: vms/data.qcow2}
    interfaces: {eth0: {network: lan}, eth1: lan}
    graphics: [{type: vnc, port: auto, password: {env: VNC_PASSWORD}}, spice]
"""


def problems(value: Any, schema: Any, at: str = "$") -> list[str]:
    """What a value has against a schema, for the few words that ours uses."""
    if "$ref" in schema:
        schema = {**SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]]}
    found: list[str] = []
    if "anyOf" in schema:
        options = [problems(value, option, at) for option in schema["anyOf"]]
        found += min(options, key=lambda o: min(len(p) for p in o) if o else 0, default=[])
    kinds: dict[str, Any] = {
        "object": dict, "array": list, "string": str, "integer": int, "number": float,
        "boolean": bool, "null": type(None),
    }  # fmt: skip
    wanted = schema.get("type")
    wrong = wanted is not None and not isinstance(value, kinds[wanted])
    if wrong or (wanted == "integer" and isinstance(value, bool)):
        return [*found, f"{at}: no {wanted}"]
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{at}: not one of {schema['enum']}")
    if "const" in schema and value != schema["const"]:
        found.append(f"{at}: not {schema['const']}")
    if isinstance(value, str) and "pattern" in schema and not re.search(schema["pattern"], value):
        found.append(f"{at}: not like {schema['pattern']}")
    if isinstance(value, list) and "items" in schema:
        found += [
            p for i, item in enumerate(value) for p in problems(item, schema["items"], f"{at}[{i}]")
        ]
    if isinstance(value, dict):
        own, rest = schema.get("properties", {}), schema.get("additionalProperties", True)
        found += [f"{at}: lacks {name}" for name in schema.get("required", ()) if name not in value]
        for name, inner in value.items():
            if name in own:
                found += problems(inner, own[name], f"{at}.{name}")
            elif rest is False:
                found.append(f"{at}: unknown {name}")
            elif isinstance(rest, dict):
                found += problems(inner, rest, f"{at}.{name}")
    return found


def test_the_example_fits_the_schema() -> None:
    assert problems(yaml.safe_load(EXAMPLE), SCHEMA) == []


@pytest.mark.parametrize(
    "wrong",
    [
        "{domain: {}}",
        "{domains: {web: {vcpu: 8}}}",
        "{domains: {web: {vcpus: {current: many}}}}",
        "{domains: {web: {memory: 2G}}}",
        "{domains: {web: {graphics: [{typ: vnc}]}}}",
        "{domains: {web: {interfaces: [lan]}}}",
        "{networks: {lan: {forward: nta}}}",
        "{networks: {lan: {profile: x}}}",
        "{stack: {name: x}}",
    ],
)
def test_mistakes_do_not(wrong: str) -> None:
    assert problems(yaml.safe_load(wrong), SCHEMA)


def test_every_field_is_described() -> None:
    for kind in Kind:
        shown = SCHEMA["properties"][kind.plural]["additionalProperties"]["anyOf"][0]
        for name in bindings(MODELS[kind]):
            assert shown["properties"][name]["description"] == field_doc(MODELS[kind], name)
            assert f"| `{name}` |" in reference_page(kind, MODELS[kind])


def test_generated_files_are_current() -> None:
    spec = importlib.util.spec_from_file_location("docs", ROOT / "scripts" / "docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    stale = [p for p, text in module.pages().items() if (ROOT / p).read_text() != text]
    assert not stale, "run `make docs`"


def test_pages_say_how_changes_arrive() -> None:
    page = reference_page("domain", MODELS[Kind.DOMAIN])
    assert "live, else next-boot; or next-boot (above the running maximum)" in page
    assert "born with it" in reference_page("pool", MODELS[Kind.POOL])
    assert "data-loss" in reference_page("volume", MODELS[Kind.VOLUME])
