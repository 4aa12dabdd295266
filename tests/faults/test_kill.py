"""kill -9 of kvmplan before and after every call that changes a host: the next apply converges."""

from __future__ import annotations

from pathlib import Path

from tests.faults.campaign import Campaign
from tests.faults.conftest import NewCourse
from tests.faults.injector import Fault

EVERY = 6


def test_killed_before_and_after_every_write(new_course: NewCourse, summaries: Path) -> None:
    campaign = Campaign(new_course, "kill -9 of kvmplan")
    campaign.run(
        lambda count: [
            Fault(kind, at) for at in range(1, count + 1) for kind in ("kill-before", "kill-after")
        ],
        every=EVERY,
    )
    campaign.end(summaries)
