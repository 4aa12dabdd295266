"""QEMU, examined without libvirt: which emulators this machine has."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from kvmplan.host.finding import Finding

_PREFIX = "qemu-system-"
_VERSION = re.compile(r"version (\d+(?:\.\d+)+)")
_REMEDY = "apt-get install qemu-system-x86 (or the package for the guests' architecture)"


def examine_local_qemu(path: str | None = None) -> list[Finding]:
    """Look for QEMU's emulators.

    Args:
        path: directories, as in ``$PATH``; None is that.
    """
    emulators = _emulators(os.environ.get("PATH", "") if path is None else path)
    if not emulators:
        return [Finding("QEMU", False, "no qemu-system-* was found in PATH", _REMEDY)]
    version = _version(next(iter(emulators.values())))
    archs = ", ".join(sorted(emulators))
    return [Finding("QEMU", True, f"QEMU {version}, for {archs}; machines are known to libvirt")]


def _emulators(path: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for directory in filter(None, path.split(os.pathsep)):
        for emulator in sorted(Path(directory).glob(f"{_PREFIX}*")):
            if os.access(emulator, os.X_OK):
                found.setdefault(emulator.name.removeprefix(_PREFIX), emulator)
    return found


def _version(emulator: Path) -> str:
    try:
        run = subprocess.run(
            [emulator, "--version"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return "of unknown version"
    match = _VERSION.search(run.stdout)
    return match.group(1) if match else "of unknown version"
