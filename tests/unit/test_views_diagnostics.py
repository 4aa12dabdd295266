"""Diagnostics as text and JSON; the contract's own examples byte for byte."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from kvmplan.address import Address, Kind
from kvmplan.diagnostics import Diagnostic, Place, Severity
from kvmplan.views.diagnostics import (
    count_line,
    diagnostic_json,
    diagnostics_text,
    print_diagnostics,
    validation_json,
)

GOLDEN = Path(__file__).parent / "golden" / "views"

CONTRACT = """\
error[KVP104]: unknown field 'vcpu' in domain.web
  --> specs/web.yaml:12:5
   |
12 |     vcpu: 8
   |     ^^^^ did you mean 'vcpus'?
"""


def problem(line: int, column: int, length: int, remedy: str | None = None) -> Diagnostic:
    place = Place("specs/web.yaml", line, column, length)
    return Diagnostic("KVP104", Severity.ERROR, "something is wrong", place, remedy)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "specs").mkdir()
    lines = [f"# {number}" for number in range(1, 12)]
    lines += ["    vcpu: 8", "    # tab\there", "    title: 日本 x", "    password: hunter22 # no"]
    lines += ["    graphics: [{password: hunter22, port: 1}]", "    password: !secret {env: A}"]
    lines += [f"    text: {'x' * 200} END"]
    (tmp_path / "specs" / "web.yaml").write_text("\n".join(lines), encoding="utf-8")
    return tmp_path


def test_the_example_of_the_contract(root: Path) -> None:
    place = Place("specs/web.yaml", 12, 5, 4)
    item = Diagnostic(
        "KVP104",
        Severity.ERROR,
        "unknown field 'vcpu' in domain.web",
        place,
        "did you mean 'vcpus'?",
    )
    assert diagnostics_text([item], root=root) == CONTRACT + "\n1 error\n"


def test_without_the_file_place_and_remedy_stay(tmp_path: Path) -> None:
    item = Diagnostic(
        "KVP120",
        Severity.ERROR,
        "domain.web refers to network.lan0, which is neither in the specs nor on the host",
        Place("specs/web.yaml", 14, 16),
        "declare it, or use one of: default, storage",
    )
    assert diagnostics_text([item], root=tmp_path) == (
        "error[KVP120]: domain.web refers to network.lan0,"
        " which is neither in the specs nor on the host\n"
        "  --> specs/web.yaml:14:16\n"
        "   = declare it, or use one of: default, storage\n"
        "\n1 error\n"
    )


def test_many_are_sorted_and_counted(root: Path, request: pytest.FixtureRequest) -> None:
    items = [
        Diagnostic("KVP501", Severity.ERROR, "kvm1 does not answer", None, "start libvirtd there"),
        Diagnostic("KVP230", Severity.WARNING, "unused variable", Place("specs/web.yaml", 2, 1)),
        problem(12, 5, 4, "a remedy that is far too long to stand beside the carets of its line"),
        problem(9, 3, 1, "short"),
        problem(999, 1, 1, "beyond the end"),
    ]
    shown = diagnostics_text(items, root=root)
    file = GOLDEN / "diagnostics.txt"
    if request.config.getoption("--update-golden", default=False):
        file.write_text(shown, encoding="utf-8")
    assert shown == file.read_text(encoding="utf-8")
    assert shown.endswith("4 errors, 1 warning\n")


def excerpt(root: Path, item: Diagnostic) -> list[str]:
    return diagnostics_text([item], root=root).splitlines()[3:5]


def test_carets_stand_below_what_they_mean(root: Path) -> None:
    assert excerpt(root, problem(14, 15, 1)) == [
        "14 |     title: 日本 x",
        "   |                 ^",
    ]
    assert excerpt(root, problem(13, 11, 4)) == ["13 |     # tab here", "   |           ^^^^"]


def test_a_place_behind_the_end_of_the_line_has_one_caret(root: Path) -> None:
    assert excerpt(root, problem(12, 12, 9)) == ["12 |     vcpu: 8", "   |            ^"]


def test_long_lines_are_cut_around_the_place(root: Path) -> None:
    line, carets = excerpt(root, problem(18, 212, 3))
    assert line.endswith("END")
    assert len(line) < 110
    assert line[carets.index("^") : carets.rindex("^") + 1] == "END"


def test_carets_are_cut_with_their_line(tmp_path: Path) -> None:
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs" / "long.yaml").write_text(f"vcpus: {'9' * 5000}\n")
    place = Place("specs/long.yaml", 1, 8, 5000)
    line, carets = excerpt(tmp_path, Diagnostic("KVP105", Severity.ERROR, "too long", place))
    assert len(carets) == len(line) < 110


@pytest.mark.parametrize("line", [15, 16])
def test_passwords_in_clear_do_not_reach_the_log(root: Path, line: int) -> None:
    shown, _ = excerpt(root, problem(line, 5, 8))
    assert "hunter22" not in shown
    assert "********" in shown


def test_references_to_secrets_are_shown(root: Path) -> None:
    assert excerpt(root, problem(17, 5, 8))[0] == "17 |     password: !secret {env: A}"


def test_nothing_prints_nothing() -> None:
    stream = io.StringIO()
    print_diagnostics([], stream)
    assert stream.getvalue() == ""
    assert count_line([]) == ""


def test_json() -> None:
    item = Diagnostic(
        "KVP104",
        Severity.WARNING,
        "s",
        Place("a.yaml", 3, 5, 4),
        "r",
        Address("local", Kind.DOMAIN, "web"),
    )
    assert diagnostic_json(item) == {
        "severity": "warning",
        "code": "KVP104",
        "summary": "s",
        "remedy": "r",
        "address": "local:domain.web",
        "range": {
            "filename": "a.yaml",
            "start": {"line": 3, "column": 5},
            "end": {"line": 3, "column": 9},
        },
    }
    assert diagnostic_json(Diagnostic("KVP501", Severity.ERROR, "s"))["range"] is None


def test_validation_json() -> None:
    shown = validation_json([problem(1, 1, 1), problem(2, 1, 1)])
    assert (shown["valid"], shown["error_count"], shown["warning_count"]) == (False, 2, 0)
    assert validation_json([])["valid"] is True
