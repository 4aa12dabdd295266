"""Formats: what an image is, by its own bytes, and whether it may be used.

An image is a stranger's: one that refers to other files of the machine it is used on would hand
them to its guest. The header is looked at here, before any program opens it; then QEMU's own tool,
where there is one, says whether the rest holds.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kvmplan.images.errors import UNUSABLE, ImageError

QCOW2 = b"QFI\xfb"
HEAD = 0x10100
"""Bytes that are looked at."""
SIGNATURES = (
    (0x1FE, b"\x55\xaa"),  # a boot sector: a partition table, or FAT
    (0x8001, b"CD001"),  # ISO 9660
    (0x438, b"\x53\xef"),  # ext2 to ext4
    (0, b"XFSB"),
    (0x10040, b"_BHRfS_M"),  # Btrfs
    (0, b"hsqs"),  # SquashFS
    (0, b"LUKS\xba\xbe"),
)
"""Where, and what is there: the bytes of a disk."""
OTHERS = (
    (0, b"KDMV", "vmdk"),
    (0, b"# Disk Descriptor", "vmdk"),
    (0, b"vhdxfile", "vhdx"),
    (0, b"conectix", "vhd"),
    (0x40, b"\x7f\x10\xda\xbe", "vdi"),
    (0, b"QED\0", "qed"),
)
"""Formats that may refer to other files, or that hardly a guest runs on."""
SECONDS, MEMORY = 30, 1024**3
"""What ``qemu-img info`` may take."""
_EXTERNAL_DATA = 1 << 2
_LONGEST_NAME = 1023


@dataclass(frozen=True, slots=True)
class Format:
    """What an image is: ``qcow2`` or ``raw``, and its bytes as a guest sees it."""

    name: str
    capacity: int


def examine(path: Path, declared: str | None) -> Format:
    """What an image is.

    Args:
        path: the image.
        declared: the format that it shall have; bytes that could be anything are raw only if that
            is said.

    Raises:
        ImageError: it is none, or must not be used.
    """
    size = path.stat().st_size
    with path.open("rb") as opened:
        head = opened.read(HEAD)
        if head.startswith(QCOW2):
            found = Format("qcow2", _qcow2(head, size))
            _ask_qemu(path, found)
            return found
    for at, magic, name in OTHERS:
        if head.startswith(magic, at):
            remedy = f"convert it: qemu-img convert -O qcow2 IMAGE.{name} IMAGE.qcow2"
            raise ImageError(UNUSABLE, f"it is a {name} image; qcow2 and raw are used", remedy)
    if declared != "raw" and not any(head.startswith(magic, at) for at, magic in SIGNATURES):
        summary = "it is no disk image: neither qcow2, nor with a partition table or file system"
        remedy = "look at it; if it is a raw image, say so: format: raw"
        raise ImageError(UNUSABLE, summary, remedy)
    return Format("raw", size)


def _qcow2(head: bytes, size: int) -> int:
    """The capacity in a header that refers to nothing outside.

    https://gitlab.com/qemu-project/qemu/-/blob/master/docs/interop/qcow2.txt
    """

    def number(at: int, length: int) -> int:
        return int.from_bytes(head[at : at + length], "big")

    version = number(4, 4)
    if version not in (2, 3) or len(head) < 104 or size < 512:
        raise ImageError(UNUSABLE, f"it is a broken qcow2 image, or of version {version}", None)
    backing, length = number(8, 8), number(16, 4)
    if backing or length:
        raw = head[backing : backing + min(length, _LONGEST_NAME)]
        name = raw.decode("utf-8", "backslashreplace").replace("\n", "?")
        _refuse(f"it is written over another file, '{name}'")
    if version == 3 and number(72, 8) & _EXTERNAL_DATA:
        _refuse("its data is in another file")
    if number(32, 4):
        raise ImageError(UNUSABLE, "it is encrypted", "use one that is not")
    return number(24, 8)


def _refuse(why: str) -> None:
    remedy = "use a whole image: qemu-img convert -O qcow2 makes one"
    raise ImageError(UNUSABLE, f"{why}, which is not followed", remedy)


def _ask_qemu(path: Path, found: Format) -> None:
    """Have QEMU's tool look at it, within bounds; without the tool, the header has to do."""
    tool = shutil.which("qemu-img")
    if tool is None:
        return
    info = _info([tool, "info", "--output=json", "-f", found.name, "-U", str(path.absolute())])
    specific = info.get("format-specific", {}).get("data", {})
    if "backing-filename" in info or "data-file" in specific:
        _refuse("it refers to another file")
    if info.get("virtual-size") != found.capacity:
        raise ImageError(UNUSABLE, "its header contradicts itself", "have it made anew")


def _info(command: list[str]) -> Any:
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"},
    ) as process:
        with suppress(ProcessLookupError):
            resource.prlimit(process.pid, resource.RLIMIT_AS, (MEMORY, MEMORY))
            resource.prlimit(process.pid, resource.RLIMIT_CPU, (SECONDS, SECONDS))
        try:
            out, said = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            raise ImageError(UNUSABLE, f"qemu-img looks at it for more than {SECONDS} s") from None
    if process.returncode:
        words = " ".join(said.decode("utf-8", "replace").split())[-200:]
        raise ImageError(UNUSABLE, f"qemu-img cannot read it: {words}", "have it made anew")
    return json.loads(out)
