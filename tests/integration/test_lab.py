"""The lab itself: private hosts are real, apart from one another, and leave nothing behind."""

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import libvirt
import libvirt_qemu
import pytest

from tests.integration.conftest import host_name
from tests.privatehost import Console, LabError, PrivateHost, TinyGuest

LAB = Path(__file__).resolve().parent.parent / "lab"

NETWORK = """<network>
  <name>lab</name>
  <forward mode='nat'/>
  <ip address='192.168.130.1' netmask='255.255.255.0'>
    <dhcp><range start='192.168.130.10' end='192.168.130.99'/></dhcp>
  </ip>
</network>"""

NIC = """<interface type='network'>
  <mac address='{mac}'/><source network='lab'/><model type='virtio'/>
</interface>"""

FIRST_MAC, SECOND_MAC = "52:54:00:10:00:01", "52:54:00:10:00:02"


@contextlib.contextmanager
def connected(host: PrivateHost) -> Iterator[libvirt.virConnect]:
    connection = libvirt.open(host.uri)
    try:
        yield connection
    finally:
        connection.close()


def lab(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, LAB, *arguments], capture_output=True, text=True)


def processes_below(directory: Path) -> list[str]:
    """Command lines of all processes that mention the directory."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if f"{directory}/" in line or line.rstrip().endswith(str(directory)):
                found.append(line)
    return found


def test_the_command_prints_the_uri_alone_and_is_idempotent() -> None:
    name = host_name("command")
    try:
        first, second = lab("up", name), lab("up", name)
        uri = PrivateHost(name).uri
        assert (first.returncode, first.stdout) == (0, f"{uri}\n"), first.stderr
        assert (second.returncode, second.stdout) == (0, f"{uri}\n"), second.stderr
        assert f"{name}\tup\t{uri}\n" in lab("list").stdout
        assert lab("exec", name, "hostname").stdout == f"{name}\n"
    finally:
        ended = lab("down", name)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    assert name not in lab("list").stdout


@pytest.mark.parametrize("name", ["", "../etc", "UPPER", "-a", "x" * 90])
def test_a_bad_name_is_refused_in_one_line(name: str) -> None:
    refused = lab("up", "--", name)
    assert refused.returncode == 1
    assert refused.stderr.startswith("tests/lab: ")
    assert "Traceback" not in refused.stderr


def test_commands_for_a_host_that_is_not_up_say_so() -> None:
    for command in ("restart", "kill"):
        refused = lab(command, "never-started")
        assert refused.returncode == 1
        assert "host never-started is not up" in refused.stderr
    assert lab("down", "never-started").returncode == 0


def test_hosts_are_empty_and_apart(private_host: PrivateHost, own_host: PrivateHost) -> None:
    with connected(own_host) as mine, connected(private_host) as other:
        assert mine.listAllNetworks() == []
        assert mine.listAllStoragePools() == []
        mine.networkDefineXML(NETWORK).create()
        assert "lab" not in other.listNetworks()
        assert _host_uuid(mine) != _host_uuid(other)
    assert "virbr0" in own_host.run(["ip", "-br", "link"]).stdout
    assert "virbr0" not in private_host.run(["ls", "/sys/class/net"]).stdout


def _host_uuid(connection: libvirt.virConnect) -> str:
    found = re.search("<uuid>(.*)</uuid>", connection.getCapabilities())
    assert found is not None
    return found.group(1)


def test_kvm_is_offered_only_where_it_works(private_host: PrivateHost) -> None:
    sees = private_host.run(["test", "-c", "/dev/kvm"], check=False).returncode == 0
    with connected(private_host) as connection:
        assert ("<domain type='kvm'/>" in connection.getCapabilities()) == sees
        assert "<domain type='qemu'/>" in connection.getCapabilities()


def test_down_leaves_no_process_no_directory_and_no_group(tmp_path: Path) -> None:
    host = PrivateHost(host_name("gone"))
    host.up()
    groups = json.loads(host.layout.record.read_text())["groups"]
    with connected(host) as connection:
        connection.networkDefineXML(NETWORK).create()
        disk = tmp_path / "disk.raw"
        disk.write_bytes(bytes(1 << 20))
        connection.createXML(
            f"<domain type='qemu'><name>idle</name><memory unit='MiB'>32</memory>"
            f"<os><type>hvm</type></os><devices><disk type='file'><source file='{disk}'/>"
            f"<target dev='vda' bus='virtio'/></disk></devices></domain>"
        )
    assert any("qemu-system" in line for line in processes_below(tmp_path))
    assert all(Path(group).is_dir() for group in groups)
    holder = host.pid
    host.down()
    assert processes_below(tmp_path) == []
    assert processes_below(host.directory) == []
    assert not Path("/proc", str(holder)).exists()
    assert not host.directory.exists()
    assert not any(Path(group).exists() for group in groups)
    assert disk.exists()


def test_a_killed_daemon_stays_dead_until_restart(own_host: PrivateHost) -> None:
    with connected(own_host) as connection:
        connection.networkDefineXML(NETWORK)
    own_host.kill()
    time.sleep(0.5)
    with pytest.raises(libvirt.libvirtError):
        libvirt.open(own_host.uri)
    assert own_host.is_up
    own_host.restart()
    with connected(own_host) as connection:
        assert connection.networkLookupByName("lab").name() == "lab"


def test_a_command_that_fails_inside_says_its_own_words(private_host: PrivateHost) -> None:
    with pytest.raises(LabError, match="no-such-file"):
        private_host.run(["ls", "/no-such-file"])


@pytest.mark.guest
def test_the_tiny_guest_sees_what_happens_to_it(
    own_host: PrivateHost, tiny_guest: TinyGuest, tmp_path: Path
) -> None:
    console = Console(tmp_path / "console.log")
    xml = tiny_guest.domain_xml("tiny", console.path, devices=NIC.format(mac=FIRST_MAC), memory=256)
    disk = tmp_path / "disk.raw"
    disk.write_bytes(b"")
    os.truncate(disk, 8 << 20)
    with connected(own_host) as connection:
        connection.networkDefineXML(NETWORK).create()
        domain = connection.defineXML(xml)
        domain.create()
        ready = console.wait_ready()
        assert "host=tiny" in ready
        assert "ip=192.168.130." in ready
        before = console.wait_state(lambda state: state.nics.get(FIRST_MAC) is not None)
        assert (before.cpus, before.disks) == (1, {})

        domain.attachDevice(
            f"<disk type='file'><source file='{disk}'/><target dev='vda' bus='virtio'/></disk>"
        )
        console.wait_state(lambda state: state.disks == {"vda": 8 << 20})
        domain.blockResize("vda", 16 << 20, libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES)
        console.wait_state(lambda state: state.disks == {"vda": 16 << 20})
        domain.attachDevice(NIC.format(mac=SECOND_MAC))
        after = console.wait_state(lambda state: state.nics.get(SECOND_MAC) is not None)
        if "maxcpus=4" in ready:  # newer kernels have no CPU hot-plug under emulation
            domain.setVcpusFlags(2, libvirt.VIR_DOMAIN_AFFECT_LIVE)
            console.wait_state(lambda state: state.cpus == 2)
        domain.setMemoryFlags(192 << 10, libvirt.VIR_DOMAIN_AFFECT_LIVE)
        console.wait_state(lambda state: state.memory < before.memory - 40)

        address = str(after.nics[SECOND_MAC]).partition("/")[0]
        assert "tiny guest" in _fetch(own_host, f"http://{address}/index.html")
        _wait_for_agent(domain)
        domain.detachDevice(NIC.format(mac=SECOND_MAC))
        console.wait_state(lambda state: SECOND_MAC not in state.nics)

        own_host.kill()
        own_host.restart()
    with connected(own_host) as connection:
        domain = connection.lookupByName("tiny")
        assert domain.isActive()
        domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)
        deadline = time.monotonic() + 20
        while domain.isActive():
            assert time.monotonic() < deadline, "the guest ignored the power button"
            time.sleep(0.1)
    assert "KP-POWEROFF" in console.text()


def _fetch(host: PrivateHost, url: str) -> str:
    code = "import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=10).read())"
    return host.run([sys.executable, "-I", "-c", code, url]).stdout


def _wait_for_agent(domain: libvirt.virDomain) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            libvirt_qemu.qemuAgentCommand(domain, '{"execute":"guest-ping"}', 5, 0)
        except libvirt.libvirtError:
            assert time.monotonic() < deadline, "the agent does not answer"
            time.sleep(0.2)
        else:
            return
