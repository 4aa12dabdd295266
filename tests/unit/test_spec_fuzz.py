"""Whatever a spec holds, loading it gives a desired state or diagnostics, never an exception."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kvmplan.spec import LoadOptions, load
from tests.conftest import Tally
from tests.unit.test_spec_models import MODELS, STACK

NAMES = """
    a b web vms/a lan vda vcpus current memory disks interfaces graphics title xml template vars
    for_each host profile lifecycle ignore_changes depends_on small domain.web 20GiB 20G local *
    {{each.key}} {{var.x}} x-{{host}} {{ {{1}} {{each.value.a}} {{var.missing}} 52:54:00:00:00:01
    type default list string ips address hosts uid name stack
"""
WORDS = st.sampled_from(NAMES.split())
LEAVES = st.none() | st.booleans() | st.integers(-2, 70) | st.floats() | WORDS | st.text(max_size=4)
VALUES = st.recursive(
    LEAVES,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(WORDS, below, max_size=4),
    max_leaves=12,
)
SECTION = st.dictionaries(WORDS, st.dictionaries(WORDS, VALUES, max_size=5) | VALUES, max_size=3)
SECTIONS = st.sampled_from(
    ["variables", "profiles", "networks", "pools", "volumes", "domains", "stack", "moved", "domain"]
)
SPECS = st.dictionaries(SECTIONS, SECTION | VALUES, max_size=4)


@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(spec=SPECS)
def test_loading_never_raises(tally: Tally, spec: dict[str, Any]) -> None:
    tally("fuzzing", "random specs", 1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "specs")
        path.mkdir()
        Path(path, "a.yaml").write_text(yaml.safe_dump(spec))
        Path(path, "b.yaml").write_text(STACK)
        desired, report = load(path, LoadOptions(), MODELS)
    assert (desired is None) == report.has_errors
    for diagnostic in report:
        assert diagnostic.summary
