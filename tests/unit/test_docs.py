"""The hand-written pages say what the program has."""

from __future__ import annotations

import re
from pathlib import Path

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


def test_every_command_is_on_its_page() -> None:
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    missing = [name for name in COMMANDS if f"`{name}" not in page]
    assert missing == []
