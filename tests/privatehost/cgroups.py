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


def version(groups: list[Path]) -> int:
    """Return 1 or 2, the kind of control groups these are; 0 for none."""
    if not groups:
        return 0
    return 2 if _is_unified(groups[0]) else 1


def leaves(groups: list[Path]) -> list[Path]:
    """Return the groups that processes of the host itself (not of its guests) belong to."""
    return [group / "lab" if (group / "lab").is_dir() else group for group in groups]


def settle(groups: list[Path], pid: int) -> None:
    """Move the process that holds the namespaces out of the way of version 2's controllers."""
    for group in groups:
        if _is_unified(group):
            (group / "lab" / "cgroup.procs").write_text(str(pid))


def _parents() -> list[Path]:
    """Return where our groups go, one directory per mounted hierarchy.

    Version 1: below our own group, whose limits then hold for the guests as well. Version 2: at
    the root, because a group that holds processes (ours) cannot hand its controllers down.
    """
    mounted = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    own: dict[str, str] = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        own[controllers] = path
    parents = []
    for _, point, kind, options, *_ in mounted:
        for controllers, path in own.items():
            named = controllers and set(controllers.split(",")) <= set(options.split(","))
            if kind == "cgroup" and named:
                inner = Path(point) / path.lstrip("/")
                parents.append(inner if inner.is_dir() else Path(point))
    unified = [Path(point) for _, point, kind, *_ in mounted if kind == "cgroup2"]
    return parents or unified[:1]


def _is_unified(group: Path) -> bool:
    return (group / "cgroup.controllers").exists()


def _prepare(parent: Path, group: Path) -> None:
    """Make a new group usable: an empty cpuset takes no process, version 2 wants a leaf."""
    if _is_unified(group):
        (group / "lab").mkdir(exist_ok=True)
        return
    for setting in _CPUSET:
        if (parent / setting).exists():
            (group / setting).write_text((parent / setting).read_text())


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
