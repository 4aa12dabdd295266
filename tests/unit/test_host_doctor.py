"""The doctor on machines that are not this one: made-up /proc, /sys and /dev."""

from pathlib import Path

import pytest

from kvmplan.host import examine
from kvmplan.host.doctor_kvm import examine_kvm
from kvmplan.host.doctor_qemu import examine_local_qemu


def machine(
    root: Path, flags: str, files: dict[str, str] | None = None, *, device: bool = True
) -> Path:
    files = {"proc/cpuinfo": f"processor\t: 0\nflags\t\t: fpu {flags}\n", **(files or {})}
    if device:
        files["dev/kvm"] = ""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def summaries(root: Path) -> dict[str, bool | None]:
    return {finding.summary: finding.ok for finding in examine_kvm(root)}


def test_a_healthy_intel_machine(tmp_path: Path) -> None:
    parameters = "sys/module/kvm_intel/parameters"
    files = {f"{parameters}/ept": "Y\n", f"{parameters}/nested": "Y\n"}
    found = examine_kvm(machine(tmp_path, "vmx ept", files))
    assert [finding.ok for finding in found] == [True] * 5


def test_amd_without_its_module(tmp_path: Path) -> None:
    found = examine_kvm(machine(tmp_path, "svm", device=False))
    assert any("modprobe kvm_amd" in (finding.remedy or "") for finding in found if not finding.ok)
    assert summaries(tmp_path)["/dev/kvm is missing"] is False


def test_nested_paging_off_is_named(tmp_path: Path) -> None:
    files = {"sys/module/kvm_amd/parameters/npt": "0"}
    assert (
        summaries(machine(tmp_path, "svm npt", files))[
            "nested paging (npt) is off: guests are slow"
        ]
        is False
    )


def test_a_guest_without_nesting_is_told_so(tmp_path: Path) -> None:
    found = examine_kvm(machine(tmp_path, "hypervisor", device=False))
    assert found[0].ok is False
    assert "nested virtualisation" in (found[0].remedy or "")


def test_paravirtual_nesting_is_recognised(tmp_path: Path) -> None:
    files = {"sys/module/kvm_pvm/x": "", "sys/module/kvm/x": ""}
    found = examine_kvm(machine(tmp_path, "hypervisor", files))
    assert found[0].ok is None
    assert "paravirtual nesting" in found[0].summary
    assert "kvm_pvm" in found[0].summary


def test_qemu_is_found_in_path(tmp_path: Path) -> None:
    emulator = tmp_path / "qemu-system-riscv64"
    emulator.write_text("#!/bin/sh\necho QEMU emulator version 8.1.2\n")
    emulator.chmod(0o755)
    (found,) = examine_local_qemu(str(tmp_path))
    assert found.ok
    assert "QEMU 8.1.2, for riscv64" in found.summary


def test_no_qemu_has_a_remedy(tmp_path: Path) -> None:
    (found,) = examine_local_qemu(str(tmp_path))
    assert found.ok is False
    assert "apt-get install" in (found.remedy or "")


@pytest.mark.parametrize("uri", ["qemu+unix:///system?socket=/nowhere/sock", "bogus"])
def test_an_unreachable_libvirt_is_a_finding_and_the_end_says_what_to_do(uri: str) -> None:
    found = examine(uri)
    assert any(f.layer == "libvirt" and f.ok is False and f.remedy for f in found)
    assert found[-1].ok is False
    assert "to do" in found[-1].summary
