"""A look at the three layers below us, KVM, QEMU and libvirt, that works without any of them."""

from __future__ import annotations

from kvmplan.apply.port import HostError
from kvmplan.diagnostics import Failure
from kvmplan.host.connection import default_uri, open_host
from kvmplan.host.diagnosis import diagnose, is_local
from kvmplan.host.doctor_kvm import examine_kvm
from kvmplan.host.doctor_qemu import examine_local_qemu
from kvmplan.host.finding import Finding

__all__ = ["Finding", "examine"]


def examine(uri: str | None = None) -> list[Finding]:
    """Look at what there is, from the CPU up, and end with what to do.

    Args:
        uri: the libvirt URI; None is the default one. KVM is looked at only if it is this machine.
    """
    uri = uri or default_uri()
    findings = examine_kvm() if is_local(uri) else [_elsewhere(uri)]
    try:
        host = open_host(uri=uri)
    except (Failure, HostError) as error:
        if is_local(uri):
            findings += examine_local_qemu()
        findings += [_unreachable(error, uri)]
    else:
        from kvmplan.host.doctor_libvirt import examine_libvirt

        try:
            findings += examine_libvirt(host)
        except HostError as error:
            findings.append(_unreachable(error, uri))
        finally:
            host.close()
    return [*findings, _conclusion(findings)]


def _elsewhere(uri: str) -> Finding:
    return Finding("KVM", None, f"{uri} is another machine: look at its KVM there")


def _unreachable(error: Failure | HostError, uri: str) -> Finding:
    if isinstance(error, Failure):
        first = error.diagnostics[0]
        return Finding("libvirt", False, first.summary, first.remedy)
    found = diagnose(error, "local", uri)
    return Finding("libvirt", False, found.summary, found.remedy)


def _conclusion(findings: list[Finding]) -> Finding:
    todo = [finding for finding in findings if finding.ok is False]
    if not todo:
        return Finding("libvirt", True, "ready for kvmplan plan")
    count = len(todo)
    what = f"{count} thing{'s' if count > 1 else ''} to do, the lowest layer first"
    remedies = [finding.remedy for finding in todo if finding.remedy]
    return Finding("libvirt", False, what, "; ".join(dict.fromkeys(remedies)) or None)
