"""Configurations of Ignition: the volume they become, how they are written, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kvmplan.address import parse_address
from kvmplan.apply.seedimage import BLANKS, filled, seed_image
from kvmplan.diagnostics import Diagnostic
from kvmplan.kinds.domain import Domain
from kvmplan.kinds.volume import Volume
from kvmplan.mapping.types import SecretText
from kvmplan.spec import Desired, LoadOptions, load

POOLS = "pools: {vms: {path: /x}, lvm: {type: logical, source: {name: vg}}}\n"
STACK = f"stack: {{name: lab, uid: 0d9f3c1e-6c1f-4c4f-9a53-0f6a8a3a2b11}}\n{POOLS}"
DISKS = "disks: {vda: {size: 1GiB, pool: vms}}"
MAPPING = "{ignition: {version: 3.4.0}, passwd: {users: [{name: core}]}}"
CONFIG = {"ignition": {"version": "3.4.0"}, "passwd": {"users": [{"name": "core"}]}}


def read(
    directory: Path, ignition: str, more: str = DISKS
) -> tuple[Desired | None, list[Diagnostic]]:
    text = f"{STACK}domains:\n  web:\n    {more}\n    ignition: {ignition}\n"
    (directory / "specs").mkdir(exist_ok=True)
    (directory / "specs" / "lab.yaml").write_text(text)
    desired, found = load(directory / "specs", LoadOptions(environ={"TOKEN": "hunter2hunter2"}))
    return desired, list(found)


def seed_of(directory: Path, ignition: str) -> str | SecretText:
    desired, found = read(directory, ignition)
    assert desired is not None, found
    resource = desired.resources[parse_address("local:domain.web")]
    assert isinstance(resource.model, Domain)
    assert resource.model.ignition is not None
    assert resource.model.ignition.volume == "vms/web.ign"
    assert resource.model.ignition.config is None
    assert "volume.vms/web.ign" in {it.target.short for it in resource.references}
    volume = desired.resources[parse_address("local:volume.vms/web.ign")].model
    assert isinstance(volume, Volume)
    assert volume.seed is not None
    seed: str | SecretText = volume.seed
    return seed


@pytest.mark.parametrize(
    "written",
    [
        MAPPING,
        f"{{config: {MAPPING}, pool: vms}}",
        f"'{json.dumps(CONFIG)}'",
        "{template: web.ign, vars: {name: core}}",
        "{config: {template: web.ign, vars: {name: core}}}",
    ],
)
def test_a_configuration_becomes_a_volume(tmp_path: Path, written: str) -> None:
    text = json.dumps(CONFIG).replace("core", "{{ name }}").replace("}}}", "} } }")
    (tmp_path / "web.ign").write_text(text)
    image = seed_image(seed_of(tmp_path, written))
    assert json.loads(image) == CONFIG
    assert len(image) == BLANKS


def test_secrets_are_kept_out_of_sight(tmp_path: Path) -> None:
    (tmp_path / "web.ign").write_text('{"ignition": {"version": "3.4.0"}, "x": "{{ token }}"}')
    secret = "!secret {env: TOKEN}"
    for written in (
        f"{{ignition: {{version: 3.4.0}}, x: {secret}}}",
        f"{{template: web.ign, vars: {{token: {secret}}}}}",
        f"{{config: {{template: web.ign, vars: {{token: {secret}}}}}}}",
    ):
        seed = seed_of(tmp_path, written)
        assert isinstance(seed, SecretText)
        assert json.loads(seed_image(seed))["x"] == "hunter2hunter2"


def test_an_edit_fills_the_volume_with_blanks(tmp_path: Path) -> None:
    seed = seed_of(tmp_path, MAPPING)
    assert json.loads(filled(seed, 3 * BLANKS)) == CONFIG
    assert len(filled(seed, 3 * BLANKS)) == 3 * BLANKS


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("'{'", "it is no JSON, in its line 1"),
        ("'[1]'", "it is no JSON object"),
        ('"variant: fcos\\nversion: 1.5.0\\n"', "it is Butane's"),
        ("{ignition: {}}", "does not say by which specification"),
        ("{ignition: {version: 3}}", "does not say by which specification"),
        ('\'{"ignition": {"version": 3}}\'', "does not say by which specification"),
        (f"{{config: {MAPPING}, pool: lvm}}", "pool.lvm keeps no files"),
        ("{pool: vms}", "it says nothing"),
    ],
)
def test_mistakes_are_told_where_they_are(tmp_path: Path, written: str, said: str) -> None:
    _, (problem,) = read(tmp_path, written)
    assert (problem.code, problem.place is not None) == ("KVP122", True)
    assert said in problem.summary
    assert problem.place is not None
    assert problem.place.line == 6


def test_a_configuration_needs_a_place(tmp_path: Path) -> None:
    _, (problem,) = read(tmp_path, MAPPING, "title: x")
    assert problem.code == "KVP122"
    assert "does not say in which pool" in problem.summary


def test_one_that_is_there_already_is_used(tmp_path: Path) -> None:
    desired, found = read(tmp_path, "{volume: vms/mine.ign}")
    assert desired is not None, found
    resource = desired.resources[parse_address("local:domain.web")]
    assert "volume.vms/mine.ign" in {it.target.short for it in resource.references}
    _, (problem,) = read(tmp_path, f"{{volume: vms/mine.ign, config: {MAPPING}}}")
    assert problem.code == "KVP106"
