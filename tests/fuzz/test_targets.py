"""Every target over mutated seeds: an answer or a diagnostic, within a bounded amount of memory."""

from __future__ import annotations

import os
import resource

import pytest
from hypothesis import HealthCheck, given, settings

from tests.conftest import Tally
from tests.fuzz.mutate import mutated
from tests.fuzz.targets import TARGETS

EXAMPLES = int(os.environ.get("KVMPLAN_FUZZ_EXAMPLES", "0"))
"""How many a target gets in a long run; in `make test` what `SHORT` says."""
SHORT = {"specs": 60, "planning": 60, "plan_content": 40, "overlay": 40}
MEMORY = 500 * 2**20
"""Bytes that the whole process may grow by."""


@pytest.mark.parametrize("name", TARGETS)
def test_only_words_come_out(name: str, tally: Tally) -> None:
    target, seeds = TARGETS[name]
    count = EXAMPLES or SHORT.get(name, 150)

    @settings(
        max_examples=count,
        deadline=None,
        derandomize=not EXAMPLES,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(mutated(seeds()))
    def run(data: bytes) -> None:
        tally("fuzzing", f"mutated inputs of {name}", 1)
        target(data)

    for seed in seeds():
        target(seed)
    before = peak()
    run()
    assert peak() - before < MEMORY


def peak() -> int:
    """The most memory that this process ever held, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
