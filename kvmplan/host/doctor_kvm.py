"""KVM, examined: whether the CPU can, whether the kernel does, whether we may."""

from __future__ import annotations

import os
from pathlib import Path

from kvmplan.host.finding import Finding

_VENDORS = {"vmx": ("Intel VT-x", "kvm_intel", "ept"), "svm": ("AMD-V", "kvm_amd", "npt")}
_ON = frozenset({"Y", "y", "1"})


def examine_kvm(root: Path = Path("/")) -> list[Finding]:
    """Look at this machine's CPU flags, kernel modules and device.

    Args:
        root: where ``proc``, ``sys`` and ``dev`` are.
    """
    flags = _cpu_flags(root)
    module = next((name for name in _VENDORS if name in flags), None)
    device = _device(root / "dev/kvm")
    if module is None:
        return [*_without_extension(root, flags), device]
    name, driver, paging = _VENDORS[module]
    return [
        Finding("KVM", True, f"the CPU has {name} ({module})"),
        _module(root, driver),
        _paging(root, driver, paging, flags),
        _nested(root, driver),
        device,
    ]


def _cpu_flags(root: Path) -> frozenset[str]:
    try:
        lines = (root / "proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    line = next((x for x in lines if x.partition("\t")[0].strip() in ("flags", "Features")), "")
    return frozenset(line.partition(":")[2].split())


def _without_extension(root: Path, flags: frozenset[str]) -> list[Finding]:
    modules = root / "sys/module"
    loaded = sorted(path.name for path in modules.glob("kvm*")) if modules.is_dir() else []
    if not (root / "dev/kvm").exists():
        inside = "hypervisor" in flags
        remedy = (
            "switch on nested virtualisation for this virtual machine on its host"
            if inside
            else "switch on VT-x or AMD-V in the firmware setup, if this CPU has it"
        )
        text = "the CPU shows neither vmx nor svm: guests are emulated, which is slow"
        return [Finding("KVM", False, text, f"{remedy}; or declare type: qemu")]
    special = [name for name in loaded if name != "kvm"]
    what = f"KVM runs without vmx or svm ({', '.join(special) or 'built in'})"
    if "hypervisor" in flags:
        text = f"{what}: paravirtual nesting, where stock guests may not boot"
        return [Finding("KVM", None, text, "declare type: qemu for guests that hang at boot")]
    return [Finding("KVM", None, what)]


def _module(root: Path, driver: str) -> Finding:
    if (root / "sys/module" / driver).is_dir():
        return Finding("KVM", True, f"the kernel module {driver} is loaded")
    remedy = f"modprobe {driver}; if that fails, the firmware has it switched off"
    return Finding("KVM", False, f"the kernel module {driver} is not loaded", remedy)


def _parameter(root: Path, driver: str, name: str) -> str | None:
    try:
        return (root / "sys/module" / driver / "parameters" / name).read_text().strip()
    except OSError:
        return None


def _paging(root: Path, driver: str, paging: str, flags: frozenset[str]) -> Finding:
    value = _parameter(root, driver, paging)
    on = value in _ON if value is not None else paging in flags
    if on:
        return Finding("KVM", True, f"nested paging ({paging}) is on")
    remedy = f"load {driver} with {paging}=1, if the CPU has it"
    return Finding("KVM", False, f"nested paging ({paging}) is off: guests are slow", remedy)


def _nested(root: Path, driver: str) -> Finding:
    on = _parameter(root, driver, "nested") in _ON
    if on:
        return Finding("KVM", True, "guests may run guests of their own (nested)")
    remedy = f"options {driver} nested=1 in modprobe.d, if guests shall run guests"
    return Finding("KVM", None, "guests cannot run guests of their own (nested is off)", remedy)


def _device(path: Path) -> Finding:
    if not path.exists():
        return Finding("KVM", False, "/dev/kvm is missing", "load the kernel module of this CPU")
    if os.access(path, os.R_OK | os.W_OK):
        return Finding("KVM", True, "/dev/kvm is there, and this user may use it")
    # Guests of qemu:///system run as another user: our own access matters for sessions only.
    remedy = "usermod -aG kvm USER, if guests shall run in qemu:///session"
    return Finding("KVM", None, "/dev/kvm is there, but not for this user", remedy)
