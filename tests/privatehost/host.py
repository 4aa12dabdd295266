"""A private libvirt host: libvirtd, its guests and networks in namespaces of their own.

`PrivateHost("a").up()` gives a URI that any libvirt client outside can open. One recorded process
(`unshare --kill-child`) holds the namespaces: ending it ends everything inside and nothing else.
The network namespace has no name and no link outward, so several hosts never meet; one that is to
be joined gets its interface with `ip link set ... netns PID`, PID being `PrivateHost.pid`.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.privatehost import cgroups
from tests.privatehost.config import (
    MOUNTS,
    PATH,
    Layout,
    lab_dir,
    require_own_directory,
    require_root_and_packages,
    write_configuration,
)
from tests.privatehost.errors import LabError
from tests.privatehost.kvm import offer_kvm
from tests.privatehost.locking import locked

_START_SECONDS = 30.0
_STOP_SECONDS = 15.0
_INIT = Path(__file__).with_name("init.py")
_NAMESPACES = ("mnt", "net", "uts", "ipc", "cgroup")


@dataclass(frozen=True, slots=True)
class _Record:
    """What `up` leaves for later commands: which process is ours, which groups we made."""

    pid: int
    started: str
    groups: tuple[str, ...]

    @property
    def alive(self) -> bool:
        """Whether that very process (not a later one with its number) still runs."""
        return _start_time(self.pid) == self.started


class PrivateHost:
    """One private host, by name; objects of the same name are the same host.

    Every method raises `LabError`. None of them touches a libvirt outside.
    """

    def __init__(self, name: str, lab: Path | None = None) -> None:
        self.layout = Layout(lab or lab_dir(), name)
        self.name = name

    @property
    def uri(self) -> str:
        """The connection URI, valid outside; the host need not be up."""
        return f"qemu+unix:///system?socket={self.layout.socket}"

    @property
    def directory(self) -> Path:
        """The host's directory; what tests put there is visible inside under the same path."""
        return self.layout.root

    @property
    def pid(self) -> int:
        """The process, seen from outside, that holds the host's namespaces."""
        return self._running().pid

    @property
    def is_up(self) -> bool:
        """Whether the host's namespaces exist (libvirtd inside may have been killed)."""
        record = self._record()
        return record is not None and record.alive

    def up(self) -> str:
        """Start the host unless it is up, wait until libvirtd answers, and return the URI."""
        require_root_and_packages()
        with locked(self.layout.lab):
            require_own_directory(self.layout.lab)
            if not self.is_up:
                self._clear()
                self._launch()
        return self.uri

    def down(self) -> None:
        """End everything inside, wait until it is gone, and remove every trace of the host."""
        if not self.layout.lab.is_dir():
            return
        with locked(self.layout.lab):
            self._clear()

    def restart(self) -> None:
        """Stop libvirtd (if it runs) and start it again; guests and networks go on."""
        self._stop_daemon(signal.SIGTERM)
        self._check(self._enter(["libvirtd", "-d", "-p", "/run/libvirt/libvirtd.pid"]))
        self._wait_for_answer()

    def kill(self) -> None:
        """End libvirtd with SIGKILL; it stays dead until `restart`."""
        self._stop_daemon(signal.SIGKILL)

    def run(
        self, command: Sequence[str], *, check: bool = True, timeout: float | None = 60.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside and return it with its output as text.

        Args:
            command: program and arguments, looked up inside.
            check: raise `LabError` with the command's own words when it fails.
            timeout: seconds.
        """
        argv = self._enter(command)
        if check:
            return self._check(argv, timeout=timeout)
        return subprocess.run(
            argv, env=_environment(), capture_output=True, text=True, timeout=timeout, check=False
        )

    def replace_process(self, command: Sequence[str]) -> None:
        """Become a command inside the host, with the caller's terminal; does not return."""
        argv = self._enter(command)
        os.execvpe(argv[0], argv, os.environ | {"PATH": PATH})

    def _launch(self) -> None:
        kvm = offer_kvm()
        write_configuration(self.layout, str(uuid.uuid4()), kvm=kvm)
        groups = cgroups.create(self.name)
        try:
            pid = self._spawn(groups, kvm=kvm)
            record = _Record(pid, _start_time(pid) or "", tuple(map(str, groups)))
            self._save(record)
            self._wait_for_answer()
            cgroups.settle(groups, pid)
        except BaseException:
            if not self.layout.record.exists():
                cgroups.remove(groups)
            self._clear()
            raise

    def _spawn(self, groups: list[Path], *, kvm: bool) -> int:
        wanted = {
            "root": str(self.layout.root),
            "mounts": MOUNTS,
            "kvm": kvm,
            "groups": cgroups.version(groups),
        }
        unshare = ["unshare", "--mount", "--net", "--uts", "--ipc", "--pid", "--cgroup"]
        unshare += ["--fork", "--kill-child", "--mount-proc"]
        python = [sys.executable, "-I", "-S", str(_INIT), json.dumps(wanted)]
        log = os.open(self.layout.init_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            return os.posix_spawn(
                "/bin/sh",
                _joining(groups, [*unshare, *python]),
                _environment(),
                setsid=True,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, log, 1),
                    (os.POSIX_SPAWN_DUP2, log, 2),
                ],
            )
        finally:
            os.close(log)

    def _wait_for_answer(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        probe = ["virsh", "-q", "-c", self.uri, "hostname"]
        said = ""
        while time.monotonic() < deadline:
            if not self.is_up:
                raise LabError(f"host {self.name} ended while starting:\n{self._log_tail()}")
            if self.layout.socket.exists():
                if self._daemon() is None:
                    raise LabError(f"libvirtd of {self.name} ended at once:\n{self._log_tail()}")
                done = subprocess.run(
                    probe, env=_environment(), capture_output=True, text=True, check=False
                )
                if done.returncode == 0:
                    return
                said = done.stderr.strip()
            time.sleep(0.02)
        raise LabError(
            f"libvirtd of host {self.name} does not answer after {_START_SECONDS:.0f} s: {said}\n"
            f"{self._log_tail()}"
        )

    def _stop_daemon(self, number: signal.Signals) -> None:
        """End libvirtd inside and wait until it is gone; it may not run at all."""
        process = self._daemon()
        if process is None:
            return
        self._check(self._enter(["sh", "-c", f"kill -{number.value} {process.name}"]))
        _wait_until(lambda: _is_gone(process), f"libvirtd of host {self.name} did not end")

    def _daemon(self) -> Path | None:
        """Return libvirtd's directory in the host's own /proc, seen from outside."""
        record = self._running()
        children = Path(f"/proc/{record.pid}/task/{record.pid}/children").read_text().split()
        pid_file = self.layout.root / "run" / "libvirtd.pid"
        if not children or not pid_file.exists():
            return None
        process = Path(f"/proc/{children[0]}/root/proc/{pid_file.read_text().strip()}")
        return None if _is_gone(process) else process

    def _enter(self, command: Sequence[str]) -> list[str]:
        record = self._running()
        spaces = [f"--{_OPTION.get(kind, kind)}={_space(record.pid, kind)}" for kind in _NAMESPACES]
        spaces.append(f"--pid=/proc/{record.pid}/ns/pid_for_children")
        groups = cgroups.leaves([Path(group) for group in record.groups])
        return _joining(groups, ["nsenter", *spaces, "--", *command])

    def _check(
        self, argv: list[str], timeout: float | None = 60.0
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            argv, env=_environment(), capture_output=True, text=True, timeout=timeout, check=False
        )
        if done.returncode != 0:
            command = argv[argv.index("--") + 1 :]
            raise LabError(f"{' '.join(command)} on host {self.name}: {done.stderr.strip()}")
        return done

    def _running(self) -> _Record:
        record = self._record()
        if record is None or not record.alive:
            raise LabError(f"host {self.name} is not up: start it with `tests/lab up {self.name}`")
        return record

    def _record(self) -> _Record | None:
        try:
            data = json.loads(self.layout.record.read_text())
        except (FileNotFoundError, NotADirectoryError):
            return None
        return _Record(data["pid"], data["started"], tuple(data["groups"]))

    def _save(self, record: _Record) -> None:
        data = {"pid": record.pid, "started": record.started, "groups": record.groups}
        self.layout.record.write_text(json.dumps(data))

    def _clear(self) -> None:
        record = self._record()
        if record is not None:
            _end(record)
            cgroups.remove([Path(group) for group in record.groups])
        if self.layout.root.exists():
            shutil.rmtree(self.layout.root)

    def _log_tail(self) -> str:
        logs = (self.layout.init_log, self.layout.root / "log" / "libvirtd.log")
        return "".join(log.read_text(errors="replace")[-2000:] for log in logs if log.exists())


def hosts(lab: Path | None = None) -> list[PrivateHost]:
    """Return the hosts of the lab that are up or have left a directory, by name."""
    directory = lab or lab_dir()
    records = sorted(directory.glob("*/host.json")) if directory.is_dir() else []
    return [PrivateHost(record.parent.name, directory) for record in records]


_OPTION = {"mnt": "mount"}


def _space(pid: int, kind: str) -> str:
    return f"/proc/{pid}/ns/{kind}"


def _joining(groups: Sequence[Path], command: Sequence[str]) -> list[str]:
    """Wrap a command so that it enters the host's control groups before it runs."""
    files = [str(group / "cgroup.procs") for group in groups]
    enter = 'n=$1; shift; while [ "$n" -gt 0 ]; do echo $$ >"$1"; shift; n=$((n-1)); done'
    return ["/bin/sh", "-ec", f'{enter}; exec "$@"', "sh", str(len(files)), *files, *command]


def _environment() -> dict[str, str]:
    """Return a clean environment: nothing of the caller's reaches the daemons or changes output."""
    return {"PATH": PATH, "LC_ALL": "C.UTF-8", "HOME": "/root"}


def _start_time(pid: int) -> str | None:
    """Return a process's start in clock ticks since boot; None when it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else fields[19]


def _is_gone(process: Path) -> bool:
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, NotADirectoryError, ProcessLookupError):
        return True


def _end(record: _Record) -> None:
    """End the recorded process and with it its PID namespace, and wait for both."""
    inside = _first_inside(record.pid) if record.alive else None
    if record.alive:
        os.kill(record.pid, signal.SIGKILL)
    _wait_until(lambda: not record.alive, f"process {record.pid} did not end")
    with contextlib.suppress(ChildProcessError):  # reap it, when this very process started it
        os.waitpid(record.pid, 0)
    if inside is not None:
        # The namespace's first process is reaped only after every other one inside has ended.
        _wait_until(lambda: _start_time(inside) is None, f"process {inside} did not end")


def _first_inside(pid: int) -> int | None:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[0]) if children else None


def _wait_until(condition: Callable[[], bool], failure: str) -> None:
    deadline = time.monotonic() + _STOP_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise LabError(f"{failure} within {_STOP_SECONDS:.0f} s")
        time.sleep(0.01)
