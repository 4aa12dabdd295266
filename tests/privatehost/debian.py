"""A real Debian with cloud-init, agent and sshd as a disk image, for tests of whole guests.

Made of Debian's packages by mmdebstrap and `mke2fs -d`: no loop device, no boot loader, and no
download of anybody's image. Its kernel boots directly, with `root=/dev/vda`.
"""

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.privatehost.config import lab_dir
from tests.privatehost.errors import LabError
from tests.privatehost.locking import locked

# Raised whenever what is built changes, so that a cached image is not taken for a new one.
_REVISION = "1"

_SIZE = "1400M"
_PACKAGES = (
    "linux-image-cloud-amd64,initramfs-tools,zstd,systemd-sysv,dbus,udev,cloud-init,"
    "qemu-guest-agent,openssh-server,iproute2,ifupdown,isc-dhcp-client,netbase,sudo,e2fsprogs"
)
# Nothing of the archive stays, and nothing fetches from it behind a test's back.
_HOOKS = (
    'rm -rf "$1"/var/cache/apt/archives/*.deb "$1"/var/lib/apt/lists/*',
    'echo "/dev/vda / ext4 defaults 0 1" >"$1/etc/fstab"',
    'echo "datasource_list: [ NoCloud, None ]" >"$1/etc/cloud/cloud.cfg.d/90_dpkg.cfg"',
    'echo "locale: false" >"$1/etc/cloud/cloud.cfg.d/91_no_locales.cfg"',
    'ln -sf /dev/null "$1/etc/systemd/system/apt-daily.timer"',
    'ln -sf /dev/null "$1/etc/systemd/system/apt-daily-upgrade.timer"',
)
_LEFT_OUT = ("man", "doc", "locale", "info")


@dataclass(frozen=True, slots=True)
class DebianImage:
    """A built image, with the kernel and the initramfs to boot it with."""

    directory: Path

    @property
    def disk(self) -> Path:
        """The disk: qcow2, its file system on all of it."""
        return self.directory / "debian.qcow2"

    @property
    def kernel(self) -> Path:
        """The kernel."""
        return self.directory / "vmlinuz"

    @property
    def initrd(self) -> Path:
        """Its initramfs."""
        return self.directory / "initrd"

    command_line = "root=/dev/vda console=ttyS0 tsc=unstable"
    """Unstable, lest on a busy machine the clock check of an emulated guest stalls its boot."""


def debian_image() -> DebianImage:
    """Return the image, built by the first caller and cached for all later ones.

    Raises:
        LabError: a package or a tool is missing.
    """
    lab = lab_dir()
    cache = lab.with_name(f"{lab.name}-images")
    directory = cache / f"debian-{_REVISION}"
    with locked(cache):
        if not directory.exists():
            _build(directory)
    return DebianImage(directory)


def _build(directory: Path) -> None:
    """Build into a neighbour and rename, so that a directory that exists is complete."""
    with tempfile.TemporaryDirectory(dir=directory.parent) as temporary:
        work, tree = Path(temporary), Path(temporary, "tree")
        options = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in _LEFT_OUT]
        options += [f"--customize-hook={hook}" for hook in _HOOKS]
        _run(
            "mmdebstrap",
            "--quiet",
            "--variant=minbase",
            '--aptopt=Apt::Install-Recommends "false"',
            f"--include={_PACKAGES}",
            *options,
            _suite(),
            str(tree),
        )
        built = work / "built"
        built.mkdir()
        image = DebianImage(built)
        shutil.copyfile(next((tree / "boot").glob("vmlinuz-*")), image.kernel)
        shutil.copyfile(next((tree / "boot").glob("initrd.img-*")), image.initrd)
        raw = work / "raw"
        _run("mke2fs", "-q", "-t", "ext4", "-d", str(tree), str(raw), _SIZE)
        _run("qemu-img", "convert", "-O", "qcow2", str(raw), str(image.disk))
        built.rename(directory)


def _suite() -> str:
    """The release that this machine runs, which is the one that its archive surely has."""
    lines = Path("/etc/os-release").read_text().splitlines()
    facts = dict(line.split("=", 1) for line in lines if "=" in line)
    return facts.get("VERSION_CODENAME", "bookworm").strip('"')


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    except FileNotFoundError as error:
        raise LabError(f"the Debian image needs {command[0]}: run scripts/setup") from error
    if done.returncode != 0:
        raise LabError(f"{command[0]}: {done.stderr.strip()[-1500:]}")
