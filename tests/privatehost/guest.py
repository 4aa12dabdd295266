"""The tiny guest: a real Linux in a few megabytes, for tests that need guest code.

Debian's (or Ubuntu's) kernel, busybox and the QEMU guest agent in an initramfs, booted directly:
no disk, no boot loader. It takes DHCP leases on every interface, answers pings, HTTP on port 80 and
the agent, onlines plugged CPUs and memory, and powers off when the power button is pressed.

It speaks on the first serial port, one line each, possibly after a shell's prompt:

    KP-READY t=SECONDS ip=ADDRESS/PREFIX|- host=NAME maxcpus=N
    KP-STATE cpus=N memtotal=MIB disks=NAME:BYTES,...|- nics=MAC@ADDRESS/PREFIX|MAC@-,...|-
    KP-POWEROFF

KP-READY comes once, after the first leases (or ten seconds without one); KP-STATE after it and
whenever something changes, seen twice a second. `kp.host=NAME` on the kernel's command line
sets the host name. `maxcpus` is what the kernel can online: Debian 12's all that the domain has at
most, the 6.12 of Debian 13 under emulation only those it was booted with.
"""

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.privatehost import initramfs
from tests.privatehost.errors import LabError
from tests.privatehost.initramfs import Entry
from tests.privatehost.locking import locked

# Raised whenever what is built changes, so that a cached guest is not taken for a new one.
_REVISION = "3"

#: The variable that says where it is kept; without it, in the user's cache.
CACHE = "KVMPLAN_LAB_CACHE"

# `tsc=unstable`: under emulation on a busy machine the guest's clock check would stall the boot.
_COMMAND_LINE = "console=ttyS0 tsc=unstable quiet"

#: What a package that depends on the newest kernel is called, Debian's first, then Ubuntu's.
_KERNELS = ("linux-image-cloud-amd64", "linux-image-virtual")

_ROOT_PORTS = 14

_DHCP_SCRIPT = b"""\
#!/bin/busybox sh
case "$1" in
  bound|renew)
    ip addr flush dev $interface
    ip addr add $ip/$mask dev $interface
    [ -n "$router" ] && ip route replace default via ${router%% *} dev $interface
    : >/etc/resolv.conf
    for server in $dns; do echo "nameserver $server" >>/etc/resolv.conf; done ;;
  deconfig)
    ip addr flush dev $interface ;;
esac
"""

# What the agent calls to shut down or to reboot.
_SHUTDOWN_SCRIPT = b"""\
#!/bin/busybox sh
sync
case "$*" in *-r*) reboot -f ;; *-H*) halt -f ;; *) poweroff -f ;; esac
"""


@dataclass(frozen=True, slots=True)
class TinyGuest:
    """A built guest: boot `kernel` with `initrd` and `command_line`."""

    directory: Path

    @property
    def kernel(self) -> Path:
        """The kernel, a bzImage."""
        return self.directory / "vmlinuz"

    @property
    def initrd(self) -> Path:
        """The compressed initramfs."""
        return self.directory / "initrd.gz"

    def command_line(self, host: str = "tiny") -> str:
        """Return the kernel's command line for a guest that calls itself `host`."""
        return f"{_COMMAND_LINE} kp.host={host}"

    def domain_xml(self, name: str, console: Path, *, devices: str = "", memory: int = 160) -> str:
        """Return a document for an emulated domain that runs this guest.

        Args:
            name: of the domain and of the host inside.
            console: file that receives the first serial port; see `Console`.
            devices: XML of more devices.
            memory: MiB; half of it can be ballooned away.
        """
        # q35 offers no slot to a plugged device unless root ports wait for it.
        ports = "".join(
            f"<controller type='pci' index='{index}' model='pcie-root-port'/>"
            for index in range(1, _ROOT_PORTS + 1)
        )
        return f"""<domain type='qemu'>
  <name>{name}</name>
  <memory unit='MiB'>{memory}</memory>
  <vcpu current='1'>4</vcpu>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <kernel>{self.kernel}</kernel>
    <initrd>{self.initrd}</initrd>
    <cmdline>{self.command_line(name)}</cmdline>
  </os>
  <features><acpi/></features>
  <devices>
    <serial type='file'><source path='{console}'/></serial>
    <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
    <memballoon model='virtio'/>
    <controller type='pci' index='0' model='pcie-root'/>{ports}
    {devices}
  </devices>
</domain>"""


@dataclass(frozen=True, slots=True)
class GuestState:
    """What the guest sees: CPUs, memory in MiB, disks (bytes by name), addresses by MAC."""

    cpus: int
    memory: int
    disks: dict[str, int] = field(default_factory=dict)
    nics: dict[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Console:
    """Reads what a tiny guest said into a file."""

    path: Path

    def text(self) -> str:
        """Return everything said so far; empty before the guest is started."""
        return self.path.read_text(errors="replace") if self.path.exists() else ""

    def state(self) -> GuestState | None:
        """Return the last complete state; None before the first."""
        said = re.findall(r"KP-STATE (.*)\r?\n", self.text())
        return _parse(said[-1]) if said else None

    def wait_ready(self, timeout: float = 90.0) -> str:
        """Wait for KP-READY and return the rest of that line.

        Raises:
            LabError: not within `timeout` seconds; with the console's last lines.
        """
        pattern = re.compile(r"KP-READY (.*)\r?\n")
        self._wait(lambda: pattern.search(self.text()) is not None, "ready", timeout)
        return str(pattern.findall(self.text())[-1]).strip()

    def wait_state(
        self, condition: Callable[[GuestState], bool], timeout: float = 30.0
    ) -> GuestState:
        """Wait until the last state meets a condition, and return it.

        Raises:
            LabError: not within `timeout` seconds; with the console's last lines.
        """

        def met() -> bool:
            state = self.state()
            return state is not None and condition(state)

        self._wait(met, "in the awaited state", timeout)
        state = self.state()
        assert state is not None
        return state

    def _wait(self, condition: Callable[[], bool], what: str, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                tail = self.text()[-1500:]
                raise LabError(f"the guest is not {what} after {timeout:.0f} s; it said:\n{tail}")
            time.sleep(0.1)


def tiny_guest() -> TinyGuest:
    """Return the tiny guest, built by the first caller and cached for all later ones.

    Raises:
        LabError: no package of the kernel can be had, or a tool is missing.
    """
    usual = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kvmplan-lab"
    cache = Path(os.environ.get(CACHE) or usual)
    directory = cache / f"guest-{_REVISION}"
    with locked(cache):
        if not directory.exists():
            _build(directory)
    return TinyGuest(directory)


def _build(directory: Path) -> None:
    """Build into a neighbour and rename, so that a directory that exists is complete."""
    with tempfile.TemporaryDirectory(dir=directory.parent) as temporary:
        work = Path(temporary)
        tree = _unpacked_packages(work)
        kernel = next((tree / "boot").glob("vmlinuz-*"), None)
        if kernel is None:
            raise LabError("the kernel's package holds no /boot/vmlinuz-*")
        version = kernel.name.removeprefix("vmlinuz-")
        libraries = next(
            (top for top in ("lib", "usr/lib") if (tree / top / "modules" / version).is_dir()), None
        )
        if libraries is None:
            raise LabError(f"the kernel's packages hold no modules for {version}")
        built = work / "built"
        built.mkdir()
        shutil.copyfile(kernel, built / "vmlinuz")
        entries = _contents(tree, tree / libraries / "modules" / version)
        (built / "initrd.gz").write_bytes(initramfs.pack(entries))
        built.rename(directory)


def _contents(tree: Path, module_tree: Path) -> Iterator[Entry]:
    """Yield every file of the initramfs."""
    init = Path(__file__).with_name("guest-init.sh").read_bytes()
    for empty in ("proc", "sys", "dev", "run", "tmp", "mnt", "var/run", "root", "sbin"):
        yield Entry(empty)
    yield Entry("init", init, executable=True)
    yield Entry("bin/busybox", _first(tree, "busybox").read_bytes(), executable=True)
    yield Entry("lib/dhcp", _DHCP_SCRIPT, executable=True)
    yield Entry("sbin/shutdown", _SHUTDOWN_SCRIPT, executable=True)
    yield Entry("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n")
    yield Entry("etc/group", b"root:x:0:\n")
    yield Entry("www/index.html", b"kvmplan tiny guest\n")
    yield from initramfs.modules(module_tree)
    yield from initramfs.program(_first(tree, "qemu-ga"), "usr/sbin/qemu-ga")


def _first(tree: Path, name: str) -> Path:
    found = next((p for p in tree.rglob(f"*bin/{name}") if p.is_file()), None)
    if found is None:
        raise LabError(f"the packages hold no program {name}")
    return found


def _unpacked_packages(work: Path) -> Path:
    packages = work / "packages"
    packages.mkdir()
    try:
        _download(packages)
    except LabError:
        # The lists are absent or older than the archive; refreshing them is root's to do.
        if os.geteuid() != 0:
            raise
        _check(["apt-get", "-qq", "update"])
        _download(packages)
    tree = work / "tree"
    tree.mkdir()
    for package in sorted(packages.glob("*.deb")):
        _check(["dpkg-deb", "-x", str(package), str(tree)])
    return tree


def _download(directory: Path) -> None:
    # apt's unprivileged user downloads, and warns when it cannot write to the directory.
    command = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download"]
    _check([*command, *_kernel_packages(), "busybox-static", "qemu-guest-agent"], cwd=directory)


def _kernel_packages() -> list[str]:
    """Return the packages of the newest kernel for virtual machines, its modules included."""
    architecture = _check(["dpkg", "--print-architecture"]).strip()
    if architecture != "amd64":
        raise LabError(f"the tiny guest is built for amd64 only, this machine is {architecture}")
    for meta in _KERNELS:
        listed = subprocess.run(
            ["apt-cache", "depends", meta], capture_output=True, text=True, check=False
        ).stdout
        image = re.search(r"Depends: (linux-image-\S+)", listed)
        if image is None:
            continue
        # Ubuntu ships the modules apart from the image; Debian ships them in it.
        modules = image.group(1).replace("linux-image-", "linux-modules-")
        apart = subprocess.run(
            ["apt-cache", "show", modules], capture_output=True, text=True, check=False
        )
        return [image.group(1), *([modules] if apart.returncode == 0 else [])]
    raise LabError(
        f"apt knows none of {', '.join(_KERNELS)}: run `apt-get update` first"
        " (the tiny guest is made of Debian's or Ubuntu's packages)"
    )


def _check(command: list[str], cwd: Path | None = None) -> str:
    try:
        done = subprocess.run(
            command, cwd=cwd, capture_output=True, text=True, check=False, timeout=600
        )
    except FileNotFoundError as error:
        raise LabError(f"the tiny guest is made of Debian packages: no {command[0]}") from error
    if done.returncode != 0:
        raise LabError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def _parse(line: str) -> GuestState:
    values = dict(part.split("=", 1) for part in line.split())
    disks = (part.rsplit(":", 1) for part in _listed(values["disks"]))
    nics = (part.split("@", 1) for part in _listed(values["nics"]))
    return GuestState(
        cpus=int(values["cpus"]),
        memory=int(values["memtotal"]),
        disks={name: int(size) for name, size in disks},
        nics={mac: None if address == "-" else address for mac, address in nics},
    )


def _listed(value: str) -> list[str]:
    return [] if value == "-" else value.split(",")
