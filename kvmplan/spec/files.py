"""Which files make a stack, and their texts."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kvmplan.diagnostics import Diagnostics, Place
from kvmplan.spec import codes

if TYPE_CHECKING:
    from kvmplan.spec.node import Node

SUFFIXES = (".yaml", ".yml")
MAX_BYTES = 64 * 1024 * 1024
MAIN_VARIABLES = ("kvmplan.vars.yaml", "kvmplan.vars.yml")
AUTO_VARIABLES = ("*.auto.vars.yaml", "*.auto.vars.yml")


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things of a stack are.

    Attributes:
        files: the spec files, sorted.
        root: the repository: relative paths of templates, secrets and images start here, and
            variable files stand here.
        beside: directories in which variable files are looked for, later ones win.
    """

    files: tuple[Path, ...]
    root: Path
    beside: tuple[Path, ...]


def shown(path: Path) -> str:
    """A path as places show it: relative to the working directory if it is below it."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def is_variables(name: str) -> bool:
    """Whether a file of this name gives values to variables."""
    return name.endswith(tuple(f".vars{suffix}" for suffix in SUFFIXES))


def variable_files(layout: Layout) -> list[Path]:
    """The variable files that are read without being named, later ones win."""
    found: list[Path] = []
    for folder in layout.beside:
        found.extend(folder / name for name in MAIN_VARIABLES if (folder / name).is_file())
    for folder in layout.beside:
        found.extend(sorted(path for pattern in AUTO_VARIABLES for path in folder.glob(pattern)))
    return found


def repository(path: Path) -> Path:
    """The repository of the specs at a path, with no link in it.

    The parent of a directory of specs (the directory itself while it is the working directory); the
    directory of a single file.
    """
    here = path.resolve()
    return here if path.is_dir() and here == Path.cwd() else here.parent


def find(path: Path, report: Diagnostics) -> Layout | None:
    """The files of a stack; None, and an error, if there is nothing to read."""
    if path.is_dir():
        files = _below(path, report)
        here, root = path.resolve(), repository(path)
        beside = (root,) if root == here else (root, here)
        if not files:
            summary = f"no spec files (*.yaml, *.yml) in {shown(path)}"
            report.error(codes.FILES, summary, None, "write some, or run 'kvmplan init'")
            return None
        return Layout(files, root, beside)
    if path.exists():
        return Layout((path,), repository(path), (repository(path),))
    remedy = "give the directory of the specs, or run 'kvmplan init'"
    report.error(codes.FILES, f"there is no {shown(path)}", None, remedy)
    return None


def _below(path: Path, report: Diagnostics) -> tuple[Path, ...]:
    found: list[Path] = []

    def unreadable(error: OSError) -> None:
        name = shown(Path(error.filename or path))
        report.error(codes.FILES, f"cannot read {name}: {error.strerror}")

    for folder, folders, names in os.walk(path, onerror=unreadable):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found.extend(
            Path(folder, name)
            for name in names
            if name.endswith(SUFFIXES) and not name.startswith(".") and not is_variables(name)
        )
    return tuple(sorted(file for file in found if _is_text(file, report)))


def _is_text(path: Path, report: Diagnostics) -> bool:
    """Whether a path may be read to its end; an error for pipes and devices."""
    if path.is_file() or not path.exists():  # what is missing is told when it is read
        return True
    report.error(codes.FILES, f"{shown(path)} is no file", None, "take it out, or rename it")
    return False


def read_text(path: Path, report: Diagnostics) -> str | None:
    """A file's text; None, and an error, if it cannot be read or is not UTF-8."""
    name = shown(path)
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        report.error(codes.FILES, f"cannot read {name}: {error.strerror}")
        return None
    if len(data) > MAX_BYTES:
        report.error(codes.FILES, f"{name} is larger than {MAX_BYTES // 1024**2} MiB")
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        place = Place(name, line, column)
        report.error(codes.SYNTAX, f"{name} is not UTF-8 text", place, "save it as UTF-8")
        return None


def read_mapping(path: Path, report: Diagnostics) -> Node | None:
    """The mapping a file holds; None if it is empty, or broken and reported."""
    from kvmplan.spec.loader import parse

    text = read_text(path, report)
    node = parse(text, shown(path), report) if text is not None else None
    if node is None or isinstance(node.value, dict):
        return node
    report.error(codes.SYNTAX, "the file must hold a mapping", node.place, "write KEY: VALUE lines")
    return None
