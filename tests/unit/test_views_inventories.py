"""Guests in other tools' formats, read as those tools read them."""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
from pathlib import Path

import yaml

from kvmplan.address import parse_address
from kvmplan.views.inventories import Guest, ansible, hosts_file, prometheus_sd, ssh_config

GUESTS = (
    Guest(parse_address("kvm1:domain.web"), "web.kvm1", "10.10.0.10", "root@kvm1:2222"),
    Guest(parse_address("kvm2:domain.web"), "web.kvm2", "10.20.0.10"),
    Guest(parse_address("kvm2:domain.db 1"), "db 1", "fd00::10"),
)


def test_ansible() -> None:
    text = ansible("my-lab", GUESTS, 0)
    groups = yaml.safe_load(text)["all"]["children"]
    assert set(groups) == {"my_lab", "host_kvm1", "host_kvm2"}
    assert groups["my_lab"]["hosts"]["web.kvm1"] == {
        "ansible_host": "10.10.0.10",
        "kvmplan_address": "kvm1:domain.web",
        "ansible_ssh_common_args": "-o ProxyJump=root@kvm1:2222",
    }
    assert groups["host_kvm2"]["hosts"] == {"web.kvm2": {}, "db 1": {}}


def test_ansible_reads_its_inventory(tmp_path: Path) -> None:
    file = tmp_path / "inventory.yaml"
    file.write_text(ansible("my-lab", GUESTS, 0))
    program = Path(sysconfig.get_path("scripts"), "ansible-inventory")
    # Nothing of this machine's own settings, nor into its home.
    given = {"PATH": os.defpath, "HOME": str(tmp_path), "LC_ALL": "C.UTF-8"}
    command = [str(program), "-i", str(file), "--list"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env=given, cwd=tmp_path
    )
    assert "WARNING" not in done.stderr
    said = json.loads(done.stdout)
    assert set(said["my_lab"]["hosts"]) == {"web.kvm1", "web.kvm2", "db 1"}
    variables = said["_meta"]["hostvars"]
    assert variables["web.kvm1"] == {
        "ansible_host": "10.10.0.10",
        "ansible_ssh_common_args": "-o ProxyJump=root@kvm1:2222",
        "kvmplan_address": "kvm1:domain.web",
    }
    assert variables["db 1"]["ansible_host"] == "fd00::10"


def test_ssh_reads_its_configuration(tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text(ssh_config("lab", GUESTS[:2], 0))
    command = ["ssh", "-G", "-F", str(file), "web.kvm1"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert "hostname 10.10.0.10" in said
    assert "proxyjump root@kvm1:2222" in said


def test_hosts_and_prometheus() -> None:
    assert hosts_file("lab", GUESTS[:1], 0) == "10.10.0.10\tweb.kvm1\n"
    groups = json.loads(prometheus_sd("lab", GUESTS, 9100))
    assert [group["targets"] for group in groups] == [
        ["10.10.0.10:9100"],
        ["10.20.0.10:9100"],
        ["[fd00::10]:9100"],
    ]
    labels = {"kvmplan_stack": "lab", "kvmplan_host": "kvm1", "kvmplan_domain": "web"}
    assert groups[0]["labels"] == labels
