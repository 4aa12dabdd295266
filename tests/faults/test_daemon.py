"""libvirtd dies or freezes at a call: once it is back, the next apply converges."""

from __future__ import annotations

import filecmp
import json
import os
import signal
import time
from pathlib import Path

from tests.faults.campaign import Campaign
from tests.faults.conftest import NewCourse
from tests.faults.injector import Fault
from tests.integration.support import kvmplan, stack
from tests.integration.test_main_process import start
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


def test_a_copy_that_outlives_its_daemon_is_not_raced(
    fault_host: PrivateHost, tmp_path: Path
) -> None:
    """A killed libvirtd leaves its qemu-img writing: the copy is made anew, in another file."""
    with stack(tmp_path, fault_host) as made:
        folder = tmp_path / "pool"
        made.specs |= {
            "pools": {made.tag: {"path": str(folder)}},
            "volumes": {f"{made.tag}/gold.img": {"capacity": "96MiB", "format": "raw"}},
        }
        made.apply()
        (folder / "gold.img").write_bytes(os.urandom(96 * 2**20))
        # As qcow2, so that it is qemu-img that copies.
        made.volumes[f"{made.tag}/copy.qcow2"] = {"clone": f"{made.tag}/gold.img"}
        process = start(made, "apply", "--auto-approve")
        orphan = _copying(folder / "copy.qcow2", process)
        os.kill(orphan, signal.SIGSTOP)
        fault_host.kill()
        out, err = process.communicate(timeout=120)
        assert process.returncode in (1, 5), out + err
        fault_host.restart()
        specs = ("--specs", made.path, "--connect", fault_host.uri)
        for lock in json.loads(kvmplan("lock", "--json", *specs).out):
            assert kvmplan("force-unlock", lock["id"], *specs).code == 0
        made.apply()
        os.kill(orphan, signal.SIGCONT)
        _ended(orphan)
        made.in_sync()
        fault_host.run(
            [*("qemu-img", "convert", "-O", "raw"), str(folder / "copy.qcow2"), str(folder / "raw")]
        )
        assert filecmp.cmp(folder / "gold.img", folder / "raw", shallow=False)
        (folder / "raw").unlink()


def _copying(target: Path, process: object) -> int:
    """The process that writes a file, waited for."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and _command(entry)[-1:] == [str(target)]:
                return int(entry.name)
    raise AssertionError(f"nobody copies to {target}: {process}")


def _command(process: Path) -> list[str]:
    try:
        words = (process / "cmdline").read_bytes().decode(errors="replace").rstrip("\0")
    except OSError:
        return []
    words_ = words.split("\0")
    return words_ if Path(words_[0]).name == "qemu-img" and "convert" in words_ else []


def _ended(pid: int) -> None:
    """Waits until a process has ended, or is only waiting to be collected."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            # The kernel answers ESRCH where the process ends between open and read.
            return
        if "State:\tZ" in status:
            return
        time.sleep(0.05)
    raise AssertionError(f"{pid} is still there")
