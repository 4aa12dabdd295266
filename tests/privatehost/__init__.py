"""Private libvirt hosts and a tiny guest, for tests and for trying things out.

A private host is a whole libvirtd (with virtlogd, QEMU and dnsmasq) in namespaces and directories
of its own. It needs root and Debian's libvirt packages, touches nothing of a libvirt that the
machine itself runs, and vanishes without a trace. Standard library only, so that the system's
Python can run it before any virtual environment exists.
"""

from tests.privatehost.debian import DebianImage, debian_image
from tests.privatehost.errors import LabError
from tests.privatehost.guest import Console, TinyGuest, tiny_guest
from tests.privatehost.host import PrivateHost

__all__ = [
    "Console",
    "DebianImage",
    "LabError",
    "PrivateHost",
    "TinyGuest",
    "debian_image",
    "tiny_guest",
]
