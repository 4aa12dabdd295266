"""libvirt's errors become ours by their code, and ours become diagnostics with a remedy."""

from typing import Any

import libvirt
import pytest

from kvmplan.apply.port import ConnectionLost, Held, HostError, NotLive, TimedOut, Vanished
from kvmplan.host import diagnose
from kvmplan.host.errors import translate, translating

SYSTEM = "qemu:///system"


def error(code: int, message: str = "no", domain: int = libvirt.VIR_FROM_QEMU) -> Exception:
    raised: Any = libvirt.libvirtError("test")
    raised.err = (code, domain, message, 2, "", "", "", 0, 0)
    assert isinstance(raised, Exception)
    return raised


@pytest.mark.parametrize(
    ("code", "message", "domain", "live", "kind"),
    [
        (libvirt.VIR_ERR_INTERNAL_ERROR, "client socket is closed", 7, False, ConnectionLost),
        (libvirt.VIR_ERR_SYSTEM_ERROR, "End of file while reading data", 7, True, ConnectionLost),
        (libvirt.VIR_ERR_INTERNAL_ERROR, "keepalive timeout", 7, False, ConnectionLost),
        (libvirt.VIR_ERR_RPC, "Too many storage_vols", 7, False, HostError),
        (libvirt.VIR_ERR_SYSTEM_ERROR, "End of file from qemu monitor", 10, False, HostError),
        (libvirt.VIR_ERR_NO_DOMAIN, "", 10, False, Vanished),
        (libvirt.VIR_ERR_NO_NETWORK, "", 19, False, Vanished),
        (libvirt.VIR_ERR_NO_STORAGE_POOL, "", 18, False, Vanished),
        (libvirt.VIR_ERR_NO_STORAGE_VOL, "", 18, False, Vanished),
        (libvirt.VIR_ERR_NO_SECRET, "", 30, False, Vanished),
        (libvirt.VIR_ERR_OPERATION_TIMEOUT, "", 10, True, TimedOut),
        (libvirt.VIR_ERR_CONFIG_UNSUPPORTED, "", 10, True, NotLive),
        (libvirt.VIR_ERR_CONFIG_UNSUPPORTED, "", 10, False, HostError),
        (libvirt.VIR_ERR_OPERATION_UNSUPPORTED, "", 10, True, NotLive),
        (libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED, "", 10, True, NotLive),
        (libvirt.VIR_ERR_DEVICE_MISSING, "", 10, True, NotLive),
        (
            libvirt.VIR_ERR_INTERNAL_ERROR,
            "internal error: Bus 'ide.1' does not support hotplugging",
            10,
            True,
            NotLive,
        ),
        (libvirt.VIR_ERR_INTERNAL_ERROR, "No more available PCI slots", 10, True, NotLive),
        (libvirt.VIR_ERR_INTERNAL_ERROR, "No more available PCI slots", 10, False, HostError),
        (
            libvirt.VIR_ERR_OPERATION_FAILED,
            "operation failed: timed out waiting to open tray of 'sda'",
            10,
            True,
            NotLive,
        ),
        (libvirt.VIR_ERR_INTERNAL_ERROR, 'Failed to get "write" lock', 10, True, Held),
        (libvirt.VIR_ERR_INTERNAL_ERROR, 'Failed to get shared "write" lock', 10, True, Held),
        (libvirt.VIR_ERR_INTERNAL_ERROR, 'Failed to get "write" lock', 18, False, HostError),
        (libvirt.VIR_ERR_XML_ERROR, "", 10, True, HostError),
    ],
)
def test_translation_goes_by_code(
    code: int, message: str, domain: int, live: bool, kind: type[HostError]
) -> None:
    assert type(translate(error(code, message, domain), live=live)) is kind


def test_a_translated_error_keeps_code_name_message_and_deed() -> None:
    with pytest.raises(HostError) as caught, translating("define domain.web"):
        raise error(libvirt.VIR_ERR_OPERATION_FAILED, "operation failed: exists")
    found = caught.value
    assert (found.code, found.name) == (9, "VIR_ERR_OPERATION_FAILED")
    assert (found.message, found.doing) == ("operation failed: exists", "define domain.web")


def connecting(message: str, name: str = "VIR_ERR_SYSTEM_ERROR", uri: str = SYSTEM) -> HostError:
    return ConnectionLost(message, code=38, name=name, doing=f"connecting to {uri}")


@pytest.mark.parametrize(
    ("found", "uri", "code", "remedy"),
    [
        (connecting("Failed to connect socket: No such file"), SYSTEM, "KVP502", "systemctl"),
        (connecting("Failed to connect: Permission denied"), SYSTEM, "KVP503", "usermod -aG"),
        (
            connecting("Unable to resolve address 'kvm9'"),
            "qemu+tcp://kvm9/system",
            "KVP502",
            "the host's name",
        ),
        (
            connecting("Cannot recv data: ssh: connect to host"),
            "qemu+ssh://root@kvm1/system",
            "KVP502",
            "ssh root@kvm1 virsh",
        ),
        (connecting("no driver", "VIR_ERR_NO_CONNECT"), "bogus", "KVP502", "write a libvirt URI"),
        (connecting("no socket"), "qmeu:///system", "KVP502", "write a libvirt URI"),
        (connecting("no socket"), "qmeu+ssh://kvm1/system", "KVP502", "write a libvirt URI"),
        (ConnectionLost("End of file", code=38), SYSTEM, "KVP504", "run kvmplan again"),
    ],
)
def test_every_way_to_lose_a_host_has_a_code_and_a_remedy(
    found: HostError, uri: str, code: str, remedy: str
) -> None:
    diagnostic = diagnose(found, "kvm1", uri)
    assert diagnostic.code == code
    assert remedy in (diagnostic.remedy or "")


def test_a_refusal_names_libvirts_code_and_what_was_tried() -> None:
    refused = HostError("bridge in use", code=1, name="VIR_ERR_INTERNAL_ERROR", doing="define x")
    diagnostic = diagnose(refused, "kvm1", SYSTEM)
    assert diagnostic.code == "KVP505"
    assert "while define x: bridge in use (VIR_ERR_INTERNAL_ERROR)" in diagnostic.summary
