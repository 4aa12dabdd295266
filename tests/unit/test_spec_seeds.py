"""Seeds from `cloud_init`: the volume and the disk, what guests read, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kvmplan.address import parse_address
from kvmplan.diagnostics import Diagnostic, Severity
from kvmplan.kinds.domain import Domain
from kvmplan.kinds.volume import Volume
from kvmplan.mapping.types import SecretText
from kvmplan.spec import Desired, LoadOptions, load

STACK = "stack: {name: lab, uid: 0d9f3c1e-6c1f-4c4f-9a53-0f6a8a3a2b11}\npools: {vms: {path: /x}}\n"
DISKS = "disks: {vda: {size: 1GiB, pool: vms}}"


def read(
    directory: Path, cloud_init: str, more: str = DISKS
) -> tuple[Desired | None, list[Diagnostic]]:
    text = f"{STACK}domains:\n  web:\n    {more}\n    cloud_init:\n{cloud_init}"
    (directory / "specs").mkdir(exist_ok=True)
    (directory / "specs" / "lab.yaml").write_text(text)
    desired, found = load(directory / "specs", LoadOptions(environ={"TOKEN": "hunter2hunter2"}))
    return desired, list(found)


def seed_of(directory: Path, cloud_init: str, more: str = DISKS) -> tuple[Any, dict[str, str]]:
    desired, found = read(directory, cloud_init, more)
    assert desired is not None, found
    volume = desired.resources[parse_address("local:volume.vms/web-seed.iso")].model
    assert isinstance(volume, Volume)
    seed = volume.seed
    assert seed is not None
    text = seed.reveal() if isinstance(seed, SecretText) else seed
    return seed, json.loads(text)


def test_a_mapping_becomes_a_seed_on_a_disk_of_its_own(tmp_path: Path) -> None:
    text = "      user_data: {hostname: web, runcmd: [[touch, /x]], package_update: true}\n"
    seed, files = seed_of(tmp_path, text)
    assert isinstance(seed, str)
    head, _, rest = files["user-data"].partition("\n")
    assert head == "#cloud-config"
    assert json.loads(rest) == {
        "hostname": "web",
        "runcmd": [["touch", "/x"]],
        "package_update": True,
    }
    meta = json.loads(files["meta-data"])
    assert meta["local-hostname"] == "web"
    assert seed_of(tmp_path, text)[1] == files, "the same specs, the same seed"
    desired, _ = read(tmp_path, text)
    assert desired is not None
    resource = desired.resources[parse_address("local:domain.web")]
    assert isinstance(resource.model, Domain)
    disks = resource.model.disks or {}
    assert (disks["vdz"].volume, disks["vdz"].readonly) == ("vms/web-seed.iso", True)
    assert "volume.vms/web-seed.iso" in {r.target.short for r in resource.references}


def test_secrets_make_the_seed_a_secret(tmp_path: Path) -> None:
    text = "      user_data: {password: !secret {env: TOKEN}, users: [{name: op}]}\n"
    seed, files = seed_of(tmp_path, text)
    assert isinstance(seed, SecretText)
    assert "hunter2hunter2" in files["user-data"]
    (tmp_path / "ud.j2").write_text("#cloud-config\npassword: {{ token }}\n")
    text = "      user_data: {template: ud.j2, vars: {token: !secret {env: TOKEN}}}\n"
    seed, files = seed_of(tmp_path, text)
    assert isinstance(seed, SecretText)
    assert files["user-data"] == "#cloud-config\npassword: hunter2hunter2\n"
    (tmp_path / "ud.j2").write_text("#cloud-config\npassword: {{ us[0].token }}\n")
    text = "      user_data: {template: ud.j2, vars: {us: [{token: !secret {env: TOKEN}}]}}\n"
    seed, files = seed_of(tmp_path, text)
    assert isinstance(seed, SecretText)
    assert files["user-data"] == "#cloud-config\npassword: hunter2hunter2\n"


def test_an_edit_keeps_the_instance_unless_it_shall_be_another(tmp_path: Path) -> None:
    def instance(how: str, name: str) -> str:
        text = f"      user_data: {{hostname: {name}}}\n      on_change: {how}\n"
        found: str = seed_of(tmp_path, text)[1]["instance-id"]
        return found

    assert instance("reseed", "a") == instance("reseed", "b")
    assert instance("replace", "a") != instance("replace", "b")
    assert instance("replace", "a") == instance("replace", "a")
    desired, _ = read(tmp_path, "      user_data: {hostname: a}\n      on_change: keep\n")
    assert desired is not None
    volume = desired.resources[parse_address("local:volume.vms/web-seed.iso")]
    assert volume.lifecycle.told == (("seed",),)


def test_meta_data_and_network_go_along(tmp_path: Path) -> None:
    text = """
      meta_data: {instance-id: mine, region: north}
      network_config: {version: 2, ethernets: {eth0: {dhcp4: true}}}
      vendor_data: "#!/bin/sh\\ntrue\\n"
"""
    _, files = seed_of(tmp_path, text)
    assert json.loads(files["meta-data"]) == {
        "instance-id": "mine",
        "local-hostname": "web",
        "region": "north",
    }
    assert json.loads(files["network-config"])["version"] == 2
    assert files["vendor-data"].startswith("#!/bin/sh")
    assert files["user-data"] == "#cloud-config\n", "cloud-init wants one, if only an empty one"


@pytest.mark.parametrize(
    ("written", "said", "severity"),
    [
        ('user_data: "hostname: x\\n"', "does not begin as user data does", "error"),
        ('user_data: "#cloud-config\\nusers:\\n\\t- x\\n"', "line 3 is indented by a tab", "error"),
        ('user_data: "#cloud-config\\na: [\\n"', "it is no YAML", "error"),
        ('user_data: "#cloud-config\\n- a\\n"', "it is no mapping of modules", "error"),
        ("user_data: {packages: curl}", "expected a list or a mapping, got a text", "error"),
        ("user_data: {package_update: yes}", "expected true or false, got a text", "error"),
        ("user_data: {runcmd: {a: b}}", "expected a list, got a mapping", "error"),
        ("user_data: {users: [{sudo: x}]}", "a user needs its name", "error"),
        ("user_data: {write_files: [{content: x}]}", "a file needs its path", "error"),
        ("user_data: {pakages: [x]}", "no module takes that", "warning"),
        ("network_config: {ethernets: {}}", "does not say its version", "error"),
        ('meta_data: "region: north\\n"', "names no instance-id", "error"),
    ],
)
def test_mistakes_are_told_where_they_are(
    tmp_path: Path, written: str, said: str, severity: str
) -> None:
    _, (problem,) = read(tmp_path, f"      {written}\n")
    assert (problem.code, problem.severity) == ("KVP119", Severity(severity))
    assert said in problem.summary
    assert problem.place is not None
    assert problem.place.line == 7


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("title: x", "the spec says nothing of them"),
        ("disks: {vdz: {file: /x}}", "the disk vdz is taken"),
        ("disks: {vda: {file: /x}}", "does not say in which pool"),
    ],
)
def test_a_seed_needs_a_place(tmp_path: Path, more: str, said: str) -> None:
    _, (problem,) = read(tmp_path, "      user_data: {hostname: x}\n", more)
    assert problem.code == "KVP119"
    assert said in problem.summary


def test_other_modules_of_cloud_init_are_nobody_s_business(tmp_path: Path) -> None:
    modules = "snap: {commands: []}, yum_repos: {}, my_own: 1, keyboard: {layout: de}"
    _, found = read(tmp_path, f"      user_data: {{{modules}}}\n")
    assert found == []


def test_documents_that_are_not_read_are_not_judged(tmp_path: Path) -> None:
    text = f"{STACK}domains: {{web: {{{DISKS}, cloud_init: {{user_data: !secret {{env: X}},"
    (tmp_path / "lab.yaml").write_text(f"{text} meta_data: !secret {{env: Y}}}}}}}}\n")
    _, found = load(tmp_path, LoadOptions(read_secrets=False))
    assert list(found) == []
