"""A stack's guests in the formats of other tools: Ansible, ssh, hosts files, Prometheus."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from kvmplan.address import Address

Tree = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Guest:
    """A guest that can be reached.

    Attributes:
        name: what it is called in the formats; with its host where two have the same.
        ip: its address.
        jump: the machine to reach it through, as ssh takes it; ``""``: from here.
    """

    address: Address
    name: str
    ip: str
    jump: str = ""


def ansible(stack: str, guests: Sequence[Guest], port: int) -> str:
    """A YAML inventory: a group of the stack's name, and one for each of several hosts.

    https://docs.ansible.com/ansible/latest/collections/ansible/builtin/yaml_inventory.html
    """
    hosts: Tree = {}
    for guest in guests:
        facts = {"ansible_host": guest.ip, "kvmplan_address": str(guest.address)}
        if guest.jump:
            facts["ansible_ssh_common_args"] = f"-o ProxyJump={guest.jump}"
        hosts[guest.name] = facts
    children: Tree = {_group(stack): {"hosts": hosts}}
    by_host: Tree = {}
    for guest in guests:
        by_host.setdefault(guest.address.host, {})[guest.name] = {}
    if len(by_host) > 1:
        children |= {_group(f"host_{host}"): {"hosts": own} for host, own in by_host.items()}
    return _yaml({"all": {"children": children}})


def _group(text: str) -> str:
    """A name that Ansible takes for a group: https://docs.ansible.com/ansible/latest/dev_guide."""
    name = re.sub(r"\W", "_", text, flags=re.ASCII)
    return f"_{name}" if name[:1].isdigit() else name


def _yaml(tree: Tree, depth: int = 0) -> str:
    """A tree of mappings and texts as YAML; texts as JSON, which YAML reads."""
    lines = []
    for key, value in tree.items():
        name = key if re.fullmatch(r"[A-Za-z_][\w.-]*", key) else json.dumps(key)
        if isinstance(value, dict) and value:
            lines.append(f"{'  ' * depth}{name}:\n{_yaml(value, depth + 1)}")
        else:
            lines.append(f"{'  ' * depth}{name}: {json.dumps(value)}\n")
    return "".join(lines)


def ssh_config(stack: str, guests: Sequence[Guest], port: int) -> str:
    """A configuration for ``ssh -F``, or for an ``Include``: https://man.openbsd.org/ssh_config."""
    blocks = []
    for guest in guests:
        lines = [f"Host {guest.name}", f"  HostName {guest.ip}"]
        lines += [f"  ProxyJump {guest.jump}"] if guest.jump else []
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


def hosts_file(stack: str, guests: Sequence[Guest], port: int) -> str:
    """Lines for ``/etc/hosts``."""
    return "".join(f"{guest.ip}\t{guest.name}\n" for guest in guests)


def prometheus_sd(stack: str, guests: Sequence[Guest], port: int) -> str:
    """Targets for ``file_sd_configs``.

    https://prometheus.io/docs/prometheus/latest/configuration/configuration/#file_sd_config
    """
    groups = [
        {
            "targets": [f"[{guest.ip}]:{port}" if ":" in guest.ip else f"{guest.ip}:{port}"],
            "labels": {
                "kvmplan_stack": stack,
                "kvmplan_host": guest.address.host,
                "kvmplan_domain": guest.address.name,
            },
        }
        for guest in guests
    ]
    return json.dumps(groups, indent=2) + "\n"


FORMATS: dict[str, Callable[[str, Sequence[Guest], int], str]] = {
    "ansible": ansible,
    "ssh-config": ssh_config,
    "hosts": hosts_file,
    "prometheus-sd": prometheus_sd,
}
"""Format -> what writes it."""


def outputs_text(values: Tree) -> str:
    """``name = value`` lines, values as JSON."""
    return "".join(f"{name} = {json.dumps(value, indent=2)}\n" for name, value in values.items())
