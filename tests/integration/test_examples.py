"""Every example and the reference stack, as their pages say, on a real host."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import libvirt
import pytest

from tests.integration.support import NO_CHANGES, Run, connection, kvmplan, wait_until
from tests.privatehost import Console, PrivateHost, TinyGuest

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(path.parent for path in ROOT.glob("examples/*/specs"))
GIB = 1024**3


@dataclass
class Copy:
    """A user's copy of a repository, worked on from inside of it."""

    directory: Path
    host: PrivateHost
    variables: tuple[str, ...]

    def run(self, command: str, *flags: str) -> Run:
        """Run a command as the example's page does."""
        given = [part for variable in self.variables for part in ("--var", variable)]
        return kvmplan(command, "--connect", self.host.uri, *given, *flags)

    def plan(self) -> Run:
        return self.run("plan", "--detailed-exitcode")

    def apply(self) -> None:
        done = self.run("apply", "--auto-approve")
        assert done.code == 0, str(done)

    def in_sync(self) -> Run:
        planned = self.plan()
        assert (planned.code, planned.last) == (0, NO_CHANGES), str(planned)
        return planned

    def destroy(self) -> None:
        flags = ("--auto-approve", "--allow-data-loss", "volume.*")
        done = self.run("destroy", *flags)
        assert done.code == 0, str(done)
        assert self.run("plan", "--destroy", "--detailed-exitcode").code == 0


def copied(
    example: Path, host: PrivateHost, directory: Path, monkeypatch: pytest.MonkeyPatch, *more: str
) -> Copy:
    """Copy an example; its pool lies beside it."""
    copy = directory / "copy"
    shutil.copytree(example, copy, ignore=shutil.ignore_patterns(".*"))
    monkeypatch.chdir(copy)
    return Copy(copy, host, (f"pool_path={directory / 'pool'}", *more))


def without_an_image(example: Path, directory: Path) -> list[str]:
    """Variables for examples of cloud images: an empty disk, and guests that nobody waits for."""
    if "image:" not in (example / "specs" / "stack.yaml").read_text():
        return []
    disk = directory / "empty.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(disk), "64M"], check=True)
    return [f"image={json.dumps({'file': str(disk)})}", "ready={}"]


def with_tftp(example: Path, served: Path) -> list[str]:
    """The variable of an example that boots from the network: the files that it serves."""
    if not (example / "tftp").is_dir():
        return []
    shutil.copytree(example / "tftp", served, dirs_exist_ok=True)
    return [f"tftp={served}"]


@pytest.fixture
def served() -> Iterator[Path]:
    """An empty directory that dnsmasq can read, which is no root."""
    with tempfile.TemporaryDirectory(prefix="kvmplan-tftp-") as made:
        Path(made).chmod(0o755)
        yield Path(made)


def _is_off(domain: libvirt.virDomain) -> bool:
    return not domain.isActive()


def pull_the_plug(conn: libvirt.virConnect) -> None:
    """Power off every guest: one that stopped at its firmware hears no power button."""
    for domain in conn.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
        # Right after libvirtd started again it may power off and still answer "not running" (55).
        with contextlib.suppress(libvirt.libvirtError):
            domain.destroy()
        wait_until(partial(_is_off, domain), "the guest is off", 10)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_every_example(
    example: Path,
    own_host: PrivateHost,
    served: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Empty plans with the guests running and stopped, before and after libvirtd starts again."""
    given = (*without_an_image(example, tmp_path), *with_tftp(example, served))
    copy = copied(example, own_host, tmp_path, monkeypatch, *given)
    assert kvmplan("validate", "--var", copy.variables[0]).code == 0
    assert copy.plan().code == 2
    copy.apply()
    try:
        copy.in_sync()
        own_host.restart()
        copy.in_sync()
        with connection(own_host) as conn:
            pull_the_plug(conn)
        copy.in_sync()
        own_host.restart()
        copy.in_sync()
        refused = copy.run("destroy", "--auto-approve")
        assert (refused.code, "KVP211" in refused.err) == (7, True), str(refused)
    finally:
        copy.destroy()
    assert list((tmp_path / "pool").iterdir()) == []


def test_the_reference_stack(
    private_host: PrivateHost,
    conn: libvirt.virConnect,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "repository").mkdir()
    shutil.copytree(ROOT / "specs", tmp_path / "repository" / "specs")
    copy = copied(tmp_path / "repository", private_host, tmp_path, monkeypatch)
    assert copy.plan().code == 2
    copy.apply()
    try:
        copy.in_sync()
        reference = conn.lookupByName("kvmplan-reference")
        assert reference.isActive() == 0
        assert "i6300esb" in reference.XMLDesc()
        # Nobody else's redefinition without a difference may look like one.
        conn.defineXML(reference.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
        copy.in_sync()
    finally:
        copy.destroy()


@pytest.mark.guest
def test_the_quickstart_as_its_page_tells_it(
    private_host: PrivateHost,
    conn: libvirt.virConnect,
    tiny_guest: TinyGuest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kernel = {
        "image": str(tiny_guest.kernel),
        "initrd": str(tiny_guest.initrd),
        "cmdline": tiny_guest.command_line("quickstart"),
    }
    boot = f"boot={json.dumps(kernel)}"
    copy = copied(ROOT / "examples/quickstart", private_host, tmp_path, monkeypatch, boot)
    copy.apply()
    try:
        copy.in_sync()
        net = conn.networkLookupByName("quickstart")
        wait_until(lambda: len(net.DHCPLeases()) == 1, "the guest has its lease", 60)
        domain = conn.lookupByName("quickstart")
        running = domain.ID()

        for page in (copy.directory / "edit").iterdir():
            shutil.copy(page, copy.directory / "specs")
        planned = copy.plan()
        assert planned.code == 2
        impact = next(line for line in planned.out.splitlines() if line.startswith("Impact: "))
        assert "restart" not in impact
        assert "1 create" in impact
        copy.apply()
        pending = copy.in_sync().out.partition("Pending restart")[2]
        assert "memory.maximum" in pending
        assert domain.ID() == running
        assert domain.vcpusFlags(libvirt.VIR_DOMAIN_AFFECT_LIVE) == 2
        assert domain.blockInfo("vda")[0] == 3 * GIB
        assert domain.blockInfo("vdb")[0] == GIB
        assert "192.168.151.10" in net.XMLDesc(0)
    finally:
        copy.destroy()


@pytest.mark.guest
def test_a_guest_boots_from_the_network(
    private_host: PrivateHost,
    conn: libvirt.virConnect,
    tiny_guest: TinyGuest,
    served: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The kernel comes by TFTP, and on its command line the name that the guest gives itself."""
    example = ROOT / "examples/pxe"
    variables = with_tftp(example, served)
    for file, name in ((tiny_guest.kernel, "linux"), (tiny_guest.initrd, "initrd.gz")):
        shutil.copy(file, served / name)
        (served / name).chmod(0o644)
    script = served / "boot.ipxe"
    told = script.read_text().replace("console=ttyS0", tiny_guest.command_line("from-afar"))
    script.write_text(told)
    copy = copied(example, private_host, tmp_path, monkeypatch, *variables)
    spec = copy.directory / "specs/machine.yaml"
    console = Console(tmp_path / "console")
    serial = f"<serial type='file'><source path='{console.path}'/><target port='0'/></serial>"
    more = f"vcpus: 1\n    type: qemu\n    xml: <domain><devices>{serial}</devices></domain>\n"
    spec.write_text(spec.read_text().replace("vcpus: 1\n", more))
    copy.apply()
    try:
        said = console.wait_ready(timeout=600)
        assert "host=from-afar" in said
        assert "ip=10.95.0.11/24" in said
        assert "<kernel>" not in conn.lookupByName("node-a").XMLDesc()
        copy.in_sync()
    finally:
        copy.destroy()
