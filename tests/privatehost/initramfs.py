"""What the tiny guest's initramfs is made of: a cpio archive, kernel modules, programs."""

import gzip
import lzma
import re
import shutil
import stat
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.privatehost.errors import LabError

#: Modules the guest needs, unless its kernel has them built in.
MODULES = (
    "virtio_pci",
    "virtio_blk",
    "virtio_net",
    "virtio_console",
    "virtio_balloon",
    "virtio_rng",
    "virtio_scsi",
    "virtio_mem",
    "sd_mod",
    "sr_mod",
    "ahci",
    "isofs",
    "button",
    "evdev",
    "qemu_fw_cfg",
    "e1000",
    "e1000e",
)

#: Without these the guest is of no use; the others depend on the kernel's flavour.
REQUIRED_MODULES = frozenset({"virtio_pci", "virtio_blk", "virtio_net", "virtio_console"})


@dataclass(frozen=True, slots=True)
class Entry:
    """One member of the archive; `content` is None for a directory."""

    path: str
    content: bytes | None = None
    executable: bool = False


def pack(entries: Iterable[Entry]) -> bytes:
    """Return a gzip-compressed cpio archive (format newc, owner root, no times)."""
    members: dict[str, Entry] = {}
    for entry in entries:
        for parent in reversed(Path(entry.path).parents):
            if str(parent) != ".":
                members.setdefault(str(parent), Entry(str(parent)))
        members[entry.path] = entry
    archive = bytearray()
    for number, entry in enumerate(members.values(), start=1):
        archive += _member(number, entry)
    archive += _member(0, Entry("TRAILER!!!", b""))
    return gzip.compress(bytes(archive), 9, mtime=0)


def _member(number: int, entry: Entry) -> bytes:
    if entry.content is None:
        mode = stat.S_IFDIR | 0o755
    else:
        mode = stat.S_IFREG | (0o755 if entry.executable else 0o644)
    content = entry.content or b""
    name = entry.path.encode() + b"\0"
    fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name), 0)
    header = b"070701" + b"".join(b"%08X" % field for field in fields) + name
    return _padded(header) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def modules(tree: Path) -> list[Entry]:
    """Return the needed modules below a kernel's `/lib/modules/VERSION`, and their load order.

    The kernel's own `depmod` data is made at installation, which does not happen here: the
    dependencies are read from the modules themselves.
    """
    files = {_canonical(path.name.split(".ko")[0]): path for path in tree.rglob("*.ko*")}
    built_in = {
        _canonical(Path(line).stem) for line in (tree / "modules.builtin").read_text().split()
    }
    missing = sorted(REQUIRED_MODULES - files.keys() - built_in)
    if missing:
        raise LabError(f"the guest's kernel lacks {', '.join(missing)}")
    loaded: dict[str, bytes] = {}
    for name in MODULES:
        _load(name, files, loaded)
    order = "".join(f"{name}.ko\n" for name in loaded)
    entries = [Entry(f"lib/modules/{name}.ko", content) for name, content in loaded.items()]
    return [*entries, Entry("lib/modules/load-order", order.encode())]


def _load(name: str, files: dict[str, Path], loaded: dict[str, bytes]) -> None:
    """Add a module after all that it depends on; what is not a file is built in."""
    if name in loaded or name not in files:
        return
    content = _decompressed(files[name])
    for needed in _info(content, "depends") + _soft_dependencies(content):
        _load(_canonical(needed), files, loaded)
    loaded[name] = content


def _info(content: bytes, key: str) -> list[str]:
    """Return the comma-separated values of one key in a module's .modinfo section."""
    found = re.search(rb"\0" + key.encode() + rb"=([^\0]*)\0", content)
    return [part for part in found.group(1).decode().split(",") if part] if found else []


def _soft_dependencies(content: bytes) -> list[str]:
    """Return what a module asks for beforehand without needing its symbols (`softdep=pre: x`)."""
    found = re.search(rb"\0softdep=pre: ([^\0]*)\0", content)
    return found.group(1).decode().split(" post:")[0].split() if found else []


def _decompressed(path: Path) -> bytes:
    match path.suffix:
        case ".ko":
            return path.read_bytes()
        case ".xz":
            return lzma.decompress(path.read_bytes())
        case ".zst":
            if shutil.which("zstd") is None:
                raise LabError("this kernel's modules need `zstd` to unpack: install package zstd")
            command = ["zstd", "-dcq", str(path)]
            return subprocess.run(command, check=True, capture_output=True).stdout
    raise LabError(f"unknown compression of kernel module {path.name}")


def _canonical(name: str) -> str:
    return name.replace("-", "_")


def program(binary: Path, destination: str) -> list[Entry]:
    """Return a dynamic program with the shared libraries it loads, taken from this machine."""
    listed = subprocess.run(["ldd", str(binary)], capture_output=True, text=True, check=False)
    lacking = re.findall(r"^\s*(\S+) => not found", listed.stdout, re.MULTILINE)
    if listed.returncode != 0 or lacking:
        what = ", ".join(lacking) or listed.stderr.strip()
        raise LabError(f"{binary.name} for the tiny guest needs libraries not here: {what}")
    entries = [Entry(destination, binary.read_bytes(), executable=True)]
    for library in re.findall(r"(/\S+)", listed.stdout):
        if library.startswith("/") and Path(library).is_file():
            entries.append(Entry(library.lstrip("/"), Path(library).read_bytes(), executable=True))
    return entries
