"""Control groups of a private host: made outside, mounted inside as if they were the whole tree."""

import time
from pathlib import Path

_CPUSET = ("cpuset.cpus", "cpuset.mems")


def create(name: str) -> list[Path]:
    """Make one group per hierarchy and return them; none when this machine allows none.

    Without groups the host still works, only CPU, memory and I/O tuning of guests is refused.
    """
    groups: list[Path] = []
    try:
        for parent in _parents():
            group = parent / f"kvmplan-lab-{name}"
            group.mkdir(exist_ok=True)
            groups.append(group)
            _prepare(parent, group)
    except OSError:
        remove(groups)
        return []
    return groups


def remove(groups: list[Path]) -> None:
    """Remove the groups with all that libvirt made below them; their processes have ended."""
    for group in groups:
        below = [path for path in group.rglob("*") if path.is_dir()]
        for directory in sorted(below, reverse=True):
            _remove_one(directory)
        _remove_one(group)


def leaves(groups: list[Path]) -> list[Path]:
    """Return the groups that processes of the host itself (not of its guests) belong to."""
    return [group / "lab" if (group / "lab").is_dir() else group for group in groups]


def settle(groups: list[Path], pid: int) -> None:
    """Move the process that holds the namespaces out of the way of version 2's controllers."""
    for group in groups:
        if (group / "cgroup.controllers").exists():
            (group / "lab" / "cgroup.procs").write_text(str(pid))


def _parents() -> list[Path]:
    """Return where our groups go, one directory per mounted hierarchy.

    Version 1: below our own group, whose limits then hold for the guests as well. Version 2: at
    the root, because a group that holds processes (ours) cannot hand its controllers down.
    """
    mounted = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    unified = [Path(point) for _, point, kind, *_ in mounted if kind == "cgroup2"]
    own: dict[str, str] = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        own[controllers] = path
    named = {key: path for key, path in own.items() if key}
    if not named:
        return unified[:1]
    parents = []
    for _, point, kind, options, *_ in mounted:
        path = next(
            (own[key] for key in named if set(key.split(",")) <= set(options.split(","))), None
        )
        if kind == "cgroup" and path is not None:
            inner = Path(point) / path.lstrip("/")
            parents.append(inner if inner.is_dir() else Path(point))
    return parents


def _prepare(parent: Path, group: Path) -> None:
    for setting in _CPUSET:
        if (parent / setting).exists() and not (parent / "cgroup.controllers").exists():
            (group / setting).write_text((parent / setting).read_text())
    if (group / "cgroup.controllers").exists():
        (group / "lab").mkdir(exist_ok=True)


def _remove_one(directory: Path, seconds: float = 5.0) -> None:
    """Remove one group; the kernel lets go of ended processes a moment later."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            directory.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return
