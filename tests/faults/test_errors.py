"""libvirt answers an error, instead of any call or after it: the next apply converges."""

from __future__ import annotations

from pathlib import Path

from tests.faults.campaign import Campaign
from tests.faults.conftest import NewCourse
from tests.faults.injector import MESSAGES, Fault

CODES = tuple(MESSAGES)


def errors(count: int, *kinds: str, reads: bool = False) -> list[Fault]:
    """An error at every call; all codes take turns."""
    return [
        Fault(kind, at, reads=reads, code=CODES[(at + 3 * turn) % len(CODES)])
        for at in range(1, count + 1)
        for turn, kind in enumerate(kinds)
    ]


def test_an_error_instead_of_or_after_every_write(new_course: NewCourse, summaries: Path) -> None:
    campaign = Campaign(new_course, "errors at writes")
    campaign.run(lambda count: errors(count, "fail-before", "fail-after"), every=12)
    campaign.end(summaries)


def test_an_error_instead_of_every_read(new_course: NewCourse, summaries: Path) -> None:
    campaign = Campaign(new_course, "errors at reads")
    campaign.run(lambda count: errors(count, "fail-before", reads=True), reads=True, every=90)
    campaign.end(summaries)
