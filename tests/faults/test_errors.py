"""libvirt answers an error, its daemon dies or freezes, at any call: the next apply converges."""

from __future__ import annotations

from pathlib import Path

from tests.faults.campaign import Campaign
from tests.faults.conftest import NewCourse
from tests.faults.injector import MESSAGES, Fault
from tests.privatehost import PrivateHost

CODES = tuple(MESSAGES)


def errors(count: int, *kinds: str, reads: bool = False) -> list[Fault]:
    """An error at every call; all codes take turns."""
    return [
        Fault(kind, at, reads=reads, code=CODES[(at + 3 * turn) % len(CODES)])
        for at in range(1, count + 1)
        for turn, kind in enumerate(kinds)
    ]


def converges(campaign: Campaign, summaries: Path) -> None:
    """Tell what was tried; nothing may be left."""
    campaign.summary(summaries)
    assert not campaign.failed, "\n\n".join(campaign.failed)


def test_an_error_instead_of_or_after_every_write(new_course: NewCourse, summaries: Path) -> None:
    campaign = Campaign(new_course, "errors at writes")
    campaign.run(lambda count: errors(count, "fail-before", "fail-after"), every=12)
    converges(campaign, summaries)


def test_an_error_instead_of_every_read(new_course: NewCourse, summaries: Path) -> None:
    campaign = Campaign(new_course, "errors at reads")
    campaign.run(lambda count: errors(count, "fail-before", reads=True), reads=True, every=60)
    converges(campaign, summaries)


def test_libvirtd_is_killed_before_and_inside_every_write(
    new_course: NewCourse, fault_host: PrivateHost, summaries: Path
) -> None:
    kinds, name = ("daemon-before", "daemon-during"), fault_host.name
    campaign = Campaign(new_course, "kill -9 of libvirtd")
    campaign.run(
        lambda count: [Fault(k, at, host=name) for at in range(1, count + 1) for k in kinds],
        every=24,
    )
    converges(campaign, summaries)


def test_libvirtd_freezes(new_course: NewCourse, fault_host: PrivateHost, summaries: Path) -> None:
    campaign = Campaign(new_course, "frozen libvirtd")
    campaign.run(lambda count: [Fault("freeze", count // 2, host=fault_host.name)], every=4)
    converges(campaign, summaries)
