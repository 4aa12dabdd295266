"""The program as a process: two at once, interrupted, piped, and answered by hand."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from kvmplan.cli.locking import locked
from kvmplan.cli.session import open_session
from tests.integration.support import Stack, connection, idle_domain, kvmplan, stack
from tests.privatehost import PrivateHost

ROOT = Path(__file__).parents[2]


def start(
    made: Stack,
    *command: str,
    stdin: int = subprocess.DEVNULL,
    program: tuple[str, ...] = ("kvmplan",),
) -> subprocess.Popen[str]:
    """Start a command on a stack's specs."""
    assert made.host is not None
    made.write()
    arguments = (*program, *command, str(made.path), "--connect", made.host.uri)
    return subprocess.Popen(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env={**os.environ, "KVMPLAN_TRACEBACK": "1"},
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def many(made: Stack, directory: Path, count: int) -> None:
    """A pool and many volumes and domains."""
    made.specs |= {
        "pools": {made.tag: {"path": str(directory / "pool")}},
        "volumes": {f"{made.tag}/v{n}.qcow2": {"capacity": "1MiB"} for n in range(count)},
        "domains": {
            f"{made.tag}-{n}": idle_domain(disks={"vda": f"{made.tag}/v{n}.qcow2"})
            for n in range(count)
        },
    }


def test_two_at_once_and_one_of_them_waits(private_host: PrivateHost, tmp_path: Path) -> None:
    with stack(tmp_path, private_host) as made:
        many(made, tmp_path, 12)
        waiting = ("apply", "--auto-approve", "--lock-timeout", "60s")
        both = [start(made, *waiting), start(made, *waiting)]
        ended = [process.communicate(timeout=120) for process in both]
        assert [process.returncode for process in both] == [0, 0], ended
        added = sorted(out.rstrip().rpartition("\n")[2] for out, _ in ended)
        assert added == [
            "Apply complete! Resources: 0 added, 0 changed, 0 destroyed.",
            "Apply complete! Resources: 25 added, 0 changed, 0 destroyed.",
        ]
        told = [err.count("waiting for it, 60 s at most") for _, err in ended]
        assert sorted(told) == [0, 1], ended
        made.in_sync()


def test_whoever_is_locked_out_is_told_by_whom(private_host: PrivateHost, tmp_path: Path) -> None:
    with stack(tmp_path, private_host) as made:
        made.specs["domains"] = {made.tag: idle_domain()}
        made.write()
        uri, nowhere = private_host.uri, {"XDG_STATE_HOME": "/proc/nowhere"}
        session = open_session(
            str(made.path), (), (), connect=uri, read_only=False, on_unreachable="fail"
        )
        try:
            with locked(session, 0, "apply"):
                here = made.apply(code=4)
                assert f" pid {os.getpid()} since 20" in here.err
                assert f"(apply of {made.path})" in here.err
                assert f"end process {os.getpid()} if it hangs" in here.err
                events = made.apply("--json", code=4).events
                said = ["version", "diagnostic", "change_summary"]
                assert [event["type"] for event in events] == said
                made.env |= nowhere
                there = made.apply(code=4)
                assert f" pid {os.getpid()} since 20" in there.err
                assert "kvmplan force-unlock" in there.err
        finally:
            session.close()
        done = made.apply()
        assert "warning[KVP620]: the journal of this run cannot be written" in done.err
        assert "/proc/nowhere" in done.err
        assert "--before" not in done.err
        made.in_sync()


@pytest.mark.parametrize(
    ("word", "code"), [("interrupt", 130), ("terminate", 143), ("hangup", 143)]
)
def test_an_interrupted_apply_finishes_its_step(
    private_host: PrivateHost, tmp_path: Path, word: str, code: int
) -> None:
    with stack(tmp_path, private_host) as made, connection(private_host) as conn:
        many(made, tmp_path, 40)
        process = start(
            made,
            "apply",
            "--auto-approve",
            "--parallelism",
            "1",
            program=("tests.faults.run", word, "30", "--"),
        )
        out, err = process.communicate(timeout=60)
        assert process.returncode == code, out + err
        assert "Traceback" not in err
        assert "Apply incomplete!" in out
        assert not [
            s for s in conn.listAllSecrets() if made.uid in s.usageID() and "lock" in s.usageID()
        ]
        assert made.plan().code == 2
        made.apply()
        made.in_sync()


@pytest.mark.parametrize("flags", [(), ("--json",)], ids=" ".join)
def test_whoever_insists_ends_it_at_once(
    private_host: PrivateHost, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    with stack(tmp_path, private_host) as made:
        many(made, tmp_path, 10)
        program = ("tests.faults.run", "insist", "12", "--")
        process = start(made, "apply", "--auto-approve", *flags, program=program)
        out, err = process.communicate(timeout=30)
        assert process.returncode in (130, 143), out + err
        assert "once more ends at once" in err
        if flags:
            assert json.loads(out.splitlines()[-1])["type"] == "change_summary"
        assert "Apply incomplete!" not in out
        specs = ("--specs", made.path, "--connect", private_host.uri)
        (lock,) = json.loads(kvmplan("lock", "--json", *specs).out)
        assert made.apply(code=4).code == 4
        held = json.loads(made.run("status", "--json").out)["locks"]
        assert [it["id"] for it in held] == [lock["id"]]
        assert kvmplan("force-unlock", lock["id"], *specs).code == 0
        made.apply()
        made.in_sync()


def test_a_closed_pipe_is_no_traceback(private_host: PrivateHost, tmp_path: Path) -> None:
    with stack(tmp_path, private_host) as made:
        many(made, tmp_path, 3)
        process = start(made, "plan")
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        said = process.stderr.read()
        process.wait(timeout=60)
        process.stderr.close()
        assert "Traceback" not in said
        assert "Exception ignored" not in said


def test_an_apply_whose_reader_leaves_goes_on(private_host: PrivateHost, tmp_path: Path) -> None:
    with stack(tmp_path, private_host) as made:
        many(made, tmp_path, 20)
        process = start(made, "apply", "--auto-approve", "--parallelism", "1")
        assert process.stdout is not None
        while not process.stdout.readline().startswith("ok "):
            pass
        process.stdout.close()
        assert process.stderr is not None
        said = process.stderr.read()
        assert process.wait(timeout=60) == 0, said
        process.stderr.close()
        last = "Apply complete! Resources: 41 added, 0 changed, 0 destroyed."
        assert f"whoever read stdout is gone; the apply went on and ended with: {last}" in said
        made.in_sync()


def test_nobody_approves_what_is_not_shown(private_host: PrivateHost, tmp_path: Path) -> None:
    with stack(tmp_path, private_host) as made:
        many(made, tmp_path, 2)
        master, slave = pty.openpty()
        process = start(made, "apply", stdin=slave)
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        os.write(master, b"yes\n")
        said = process.stderr.read()
        assert process.wait(timeout=60) == 1
        for each in (master, slave):
            os.close(each)
        process.stderr.close()
        assert "error[KVP910]: stdout cannot be written" in said
        assert made.plan().code == 2


def answer(made: Stack, word: str) -> tuple[int, str]:
    """Apply on a terminal, and type a word."""
    master, slave = pty.openpty()
    try:
        process = start(made, "apply", stdin=slave)
        os.write(master, f"{word}\n".encode())
        out, err = process.communicate(timeout=60)
    finally:
        os.close(slave)
        os.close(master)
    return process.returncode, out + err


def test_only_yes_is_yes(private_host: PrivateHost, tmp_path: Path) -> None:
    with stack(tmp_path, private_host) as made:
        made.specs["domains"] = {made.tag: idle_domain()}
        code, said = answer(made, "y")
        assert (code, "Apply complete!" in said) == (1, False), said
        assert made.plan().code == 2
        code, said = answer(made, "yes")
        assert (code, "Apply complete!" in said) == (0, True), said
        made.in_sync()
