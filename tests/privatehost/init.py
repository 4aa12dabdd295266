"""The first process inside a private host: mounts, daemons, then reaping orphans for ever.

Run by `host.py` as a script in fresh namespaces, with one argument: a JSON object of the host's
`root` directory, its `mounts` (target to directory below the root), whether it sees `kvm`, and the
version of its control `groups` (0: none). It never restarts a daemon: tests kill libvirtd and want
it dead.
"""

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

MS_RDONLY, MS_REMOUNT, MS_BIND = 1, 32, 4096
MNT_DETACH = 2

_libc = ctypes.CDLL(None, use_errno=True)


def _mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    if _libc.mount(source.encode(), target.encode(), kind.encode(), flags, data.encode()):
        code = ctypes.get_errno()
        raise OSError(code, f"mount {source} on {target}: {os.strerror(code)}")


def _mount_directories(root: Path, mounts: dict[str, str]) -> None:
    for target, directory in mounts.items():
        Path(target).mkdir(parents=True, exist_ok=True)
        _mount(str(root / directory), target, flags=MS_BIND)


def _mount_sys(groups: int) -> None:
    """Show this network namespace in /sys, and only our own part of the control groups.

    libvirt names the groups of guests after their id and name, so two hosts that saw the same
    tree would put their guests into one another's groups.
    """
    hierarchies = [
        line.split(":", 2)[1] for line in Path("/proc/self/cgroup").read_text().splitlines()
    ]
    # Off with the old tree first: libvirt reads the list of mounts, covered ones included.
    _libc.umount2(b"/sys", MNT_DETACH)
    _mount("sysfs", "/sys", "sysfs")
    if groups == 0:
        _mount("tmpfs", "/sys/fs/cgroup", "tmpfs")
        return
    if groups == 2:
        _mount("cgroup2", "/sys/fs/cgroup", "cgroup2")
        # Groups that hold processes cannot hand controllers to their children: move aside.
        Path("/sys/fs/cgroup/lab/cgroup.procs").write_text("0")
        return
    _mount("tmpfs", "/sys/fs/cgroup", "tmpfs", data="mode=755")
    for controllers in filter(None, hierarchies):
        named = controllers.startswith("name=")
        target = Path("/sys/fs/cgroup") / controllers.removeprefix("name=")
        target.mkdir()
        options = f"none,{controllers}" if named else controllers
        _mount("cgroup", str(target), "cgroup", data=options)


def _hide_kvm(root: Path) -> None:
    """Put a read-only file there: libvirt asks for write access and is refused, root or not."""
    if Path("/dev/kvm").exists():
        blind = root / "no-kvm"
        blind.touch()
        _mount(str(blind), "/dev/kvm", flags=MS_BIND)
        _mount("none", "/dev/kvm", flags=MS_BIND | MS_REMOUNT | MS_RDONLY)


def _hide_system_bus(root: Path) -> None:
    """Keep libvirt from registering guests with the machine's own machined or firewalld."""
    if Path("/run/dbus").is_dir():
        empty = root / "no-dbus"
        empty.mkdir(exist_ok=True)
        _mount(str(empty), "/run/dbus", flags=MS_BIND)


def main() -> None:
    """Set the host up and stay; its death is the death of everything inside."""
    wanted = json.loads(sys.argv[1])
    root = Path(wanted["root"])
    _mount_directories(root, wanted["mounts"])
    _mount_sys(wanted["groups"])
    _hide_system_bus(root)
    if not wanted["kvm"]:
        _hide_kvm(root)
    socket.sethostname(root.name)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    subprocess.run(["virtlogd", "-d", "-p", "/run/libvirt/virtlogd.pid"], check=True)
    subprocess.run(["libvirtd", "-d", "-p", "/run/libvirt/libvirtd.pid"], check=True)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    while True:
        signal.sigwait({signal.SIGCHLD})
        while _reap_one():
            pass


def _reap_one() -> bool:
    try:
        return os.waitpid(-1, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return False


if __name__ == "__main__":
    main()
