"""Whether /dev/kvm of this machine can really run a guest."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from tests.privatehost.config import PATH

_KVM = Path("/dev/kvm")


def offer_kvm() -> bool:
    """Whether private hosts get to see /dev/kvm.

    Many virtual machines have a /dev/kvm which opens and even starts a domain, but cannot run
    one: it is a paravirtual nesting, the guest's kernel hangs and `-cpu host` aborts QEMU. libvirt
    would report KVM as available there. Such a device is hidden from the private host, so that
    libvirt inside tells the truth: emulation only. `KVMPLAN_LAB_KVM=1` keeps it visible.
    """
    if os.environ.get("KVMPLAN_LAB_KVM") == "1":
        return _KVM.exists()
    return os.access(_KVM, os.R_OK | os.W_OK) and _has_virtualization_flag() and _starts()


def _has_virtualization_flag() -> bool:
    """Hardware nesting shows vmx or svm; without them a guest kernel hangs though QEMU starts."""
    return re.search(r"\b(vmx|svm)\b", Path("/proc/cpuinfo").read_text()) is not None


def _starts() -> bool:
    emulator = shutil.which("qemu-system-x86_64", path=PATH)
    if emulator is None:
        return False
    machine = ["-accel", "kvm", "-cpu", "host", "-nodefaults", "-display", "none"]
    try:
        done = subprocess.run(
            [emulator, *machine, "-S", "-monitor", "stdio"],
            input=b"quit\n",
            capture_output=True,
            timeout=10,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0
