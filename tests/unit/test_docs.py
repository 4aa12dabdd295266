"""The hand-written pages say what the program has."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import libvirt

from kvmplan.cli.group import COMMANDS

ROOT = Path(__file__).parent.parent.parent
CODE = re.compile(r'"(KVP\d{3})"')


def test_every_diagnostic_is_explained_and_every_explanation_is_of_one() -> None:
    used = {
        code
        for file in (ROOT / "kvmplan").rglob("*.py")
        for code in CODE.findall(file.read_text(encoding="utf-8"))
    }
    page = (ROOT / "docs" / "diagnostics.md").read_text(encoding="utf-8")
    explained = set(re.findall(r"^\| (KVP\d{3}) \|", page, re.MULTILINE))
    assert used == explained


def test_every_code_is_tried() -> None:
    page = (ROOT / "docs" / "diagnostics.md").read_text(encoding="utf-8")
    explained = set(re.findall(r"^\| (KVP\d{3}) \|", page, re.MULTILINE))
    pages = [*(ROOT / "tests").rglob("*.py"), *(ROOT / "tests").rglob("*.t*")]
    tried = {code for file in pages for code in re.findall(r"KVP\d{3}", file.read_text())}
    assert sorted(explained - tried) == []


def test_every_command_is_on_its_page() -> None:
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    missing = [name for name in COMMANDS if f"`{name}" not in page]
    assert missing == []


def calls_to_libvirt() -> Iterator[str]:
    """Methods of libvirt's objects that are named in the one package that talks to it."""
    kinds = ("Connect", "Domain", "Network", "StoragePool", "StorageVol", "Secret")
    methods = {name for kind in kinds for name in vars(getattr(libvirt, f"vir{kind}"))}
    for file in (ROOT / "kvmplan" / "host").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            match node:
                case ast.Attribute(attr=name) | ast.Constant(value=str(name)):
                    if name in methods | {"open", "openReadOnly"} and not name.startswith("_"):
                        yield name


def test_every_call_to_libvirt_is_on_the_page_of_rights() -> None:
    page = (ROOT / "docs" / "least-privilege.md").read_text(encoding="utf-8")
    found = set(calls_to_libvirt())
    assert len(found) > 50
    assert sorted(name for name in found if f"`{name}`" not in page) == []


def test_the_page_of_rights_and_the_rules_name_the_same() -> None:
    page = (ROOT / "docs" / "least-privilege.md").read_text(encoding="utf-8")
    rules = (ROOT / "docs" / "polkit" / "50-kvmplan.rules").read_text(encoding="utf-8")
    kinds = "connect|domain|interface|network(?:-port)?|node-device|secret|storage-(?:pool|vol)"
    pattern = rf"(?:{kinds})\.[a-z-]+"
    named = set(re.findall(f"`({pattern})`", page)) | {
        f"network-port.{right}" for right in re.findall(r"`\.([a-z]+)`", page)
    }
    by_doctor_alone = {"connect.search-nwfilters"}
    assert named - by_doctor_alone == set(re.findall(f'"({pattern})"', rules))
