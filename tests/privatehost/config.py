"""What a private host is configured with: its directories, its libvirt files, what it needs."""

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.privatehost.errors import LabError

# A unix socket's path holds 107 bytes; the deepest one is the monitor of a guest, which libvirt
# opens below /var/lib/libvirt, so only the daemon's own socket is seen by its outside path.
SOCKET_PATH_LIMIT = 107

#: Where libvirt looks, and the directory of the host that is mounted there.
MOUNTS = {
    "/run/libvirt": "run",
    "/var/lib/libvirt": "var",
    "/etc/libvirt": "etc",
    "/var/cache/libvirt": "cache",
    "/var/log/libvirt": "log",
    "/var/lib/swtpm-localca": "swtpm",
}

COMMANDS = (
    "libvirtd",
    "virtlogd",
    "virsh",
    "qemu-system-x86_64",
    "qemu-img",
    "dnsmasq",
    "swtpm",
    "swtpm_setup",
    "certtool",
    "ip",
    "iptables",
    "unshare",
    "nsenter",
)

#: A root shell may lack the sbin directories, where half of these commands live.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")

_LIBVIRTD_CONF = """\
host_uuid = "{uuid}"
unix_sock_rw_perms = "0700"
auth_unix_ro = "none"
auth_unix_rw = "none"
log_outputs = "3:file:/var/log/libvirt/libvirtd.log"
"""

# No security driver: the profiles of AppArmor or SELinux know the system's directories only.
# /dev/kvm is not in the list of devices when it is hidden, because libvirt would have to copy a
# mount point into the /dev of each guest.
_QEMU_CONF = """\
user = "root"
group = "root"
swtpm_user = "root"
swtpm_group = "root"
security_driver = "none"
max_core = 0
cgroup_device_acl = [{devices}]
"""

_DEVICES = ("null", "full", "zero", "random", "urandom", "ptmx", "userfaultfd")

_VIRTLOGD_CONF = """\
log_outputs = "3:file:/var/log/libvirt/virtlogd.log"
"""


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths of the private host `name` below the lab's directory."""

    lab: Path
    name: str

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise LabError(f"{self.name!r} is no name of a host: use a-z, 0-9 and inner hyphens")
        if len(os.fsencode(self.socket)) > SOCKET_PATH_LIMIT:
            raise LabError(
                f"{self.socket} is longer than the {SOCKET_PATH_LIMIT} bytes of a unix socket's"
                " path: set KVMPLAN_LAB_DIR to a shorter directory"
            )
        for hidden in MOUNTS:
            if self.root.is_relative_to(hidden):
                raise LabError(f"KVMPLAN_LAB_DIR must not be below {hidden}: the lab mounts there")

    @property
    def root(self) -> Path:
        """Everything of this host, removed with it."""
        return self.lab / self.name

    @property
    def socket(self) -> Path:
        """The daemon's socket, reachable from outside."""
        return self.root / "run" / "libvirt-sock"

    @property
    def record(self) -> Path:
        """JSON: the process that holds the namespaces, and the control groups made for it."""
        return self.root / "host.json"

    @property
    def init_log(self) -> Path:
        """What the first process inside and the daemons' early failures say."""
        return self.root / "log" / "init.log"


def lab_dir() -> Path:
    """Where hosts live: `$KVMPLAN_LAB_DIR`, else a short path that survives a reboot."""
    chosen = os.environ.get("KVMPLAN_LAB_DIR") or f"/var/tmp/kvmplan-lab-{os.getuid()}"
    return Path(chosen).absolute()


def require_root_and_packages() -> None:
    """Refuse with the remedy when this machine cannot run a private host.

    Raises:
        LabError: not root, or a command or user of the packages is missing.
    """
    if os.geteuid() != 0:
        raise LabError(
            "a private libvirt host needs root (it makes mount, network and PID namespaces):"
            " run it again as root, for example with sudo"
        )
    missing = [command for command in COMMANDS if shutil.which(command, path=PATH) is None]
    if missing:
        raise LabError(f"missing commands: {', '.join(missing)}; `make setup` installs them")


def require_own_directory(lab: Path) -> None:
    """Refuse a lab that someone else could have prepared: the default is in a shared place.

    Raises:
        LabError: the directory is another user's, or others may write to it.
    """
    status = lab.stat()
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise LabError(
            f"{lab} is another user's or writable by others: remove it or set KVMPLAN_LAB_DIR"
        )


def write_configuration(layout: Layout, uuid: str, *, kvm: bool) -> None:
    """Make the host's directories and libvirt's configuration, with no network and no pool."""
    for directory in MOUNTS.values():
        (layout.root / directory).mkdir(parents=True, exist_ok=True)
    devices = ", ".join(f'"/dev/{name}"' for name in (*_DEVICES, *(("kvm",) if kvm else ())))
    etc = layout.root / "etc"
    (etc / "libvirtd.conf").write_text(_LIBVIRTD_CONF.format(uuid=uuid))
    (etc / "qemu.conf").write_text(_QEMU_CONF.format(devices=devices))
    (etc / "virtlogd.conf").write_text(_VIRTLOGD_CONF)
