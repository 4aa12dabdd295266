"""libvirtd dies or freezes at a call: once it is back, the next apply converges."""

from __future__ import annotations

from pathlib import Path

from tests.faults.campaign import Campaign
from tests.faults.conftest import NewCourse
from tests.faults.injector import Fault
from tests.privatehost import PrivateHost


def test_libvirtd_is_killed_before_and_inside_every_write(
    new_course: NewCourse, fault_host: PrivateHost, summaries: Path
) -> None:
    kinds, name = ("daemon-before", "daemon-during"), fault_host.name
    campaign = Campaign(new_course, "kill -9 of libvirtd")
    campaign.run(
        lambda count: [Fault(k, at, host=name) for at in range(1, count + 1) for k in kinds],
        every=30,
    )
    campaign.end(summaries)


def test_libvirtd_freezes(new_course: NewCourse, fault_host: PrivateHost, summaries: Path) -> None:
    campaign = Campaign(new_course, "frozen libvirtd")
    campaign.run(lambda count: [Fault("freeze", count // 2, host=fault_host.name)], every=4)
    campaign.end(summaries)
