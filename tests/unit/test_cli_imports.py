"""What commands import: nothing heavy for help, no graph and no diff for a plan of nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = (
    "libvirt",
    "pydantic",
    "networkx",
    "deepdiff",
    "lxml",
    "rich",
    "jinja2",
    "yaml",
)

RUN = """
import json, sys
from kvmplan.cli import run
code = run(json.loads(sys.argv[1]))
heavy = [name for name in json.loads(sys.argv[2]) if name in sys.modules]
print("IMPORTED", json.dumps([code, heavy]))
"""

NOTHING_TO_DO = """
import json, sys
from pathlib import Path
from tests.cases.page import Page
from tests.cases.test_cases import play
outcome = play(Page.read(Path(sys.argv[1])), Path.cwd())
assert outcome.planned is not None and not outcome.planned.plan.acting
heavy = [name for name in ("networkx", "deepdiff") if name in sys.modules]
print("IMPORTED", json.dumps([0, heavy]))
"""

WITHOUT_LIBVIRT = """
import json, sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("libvirt", "libvirtmod"):
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)
        return None
sys.meta_path.insert(0, Missing())
from kvmplan.cli import run
sys.exit(run(json.loads(sys.argv[1])))
"""

STACK = """\
stack: {name: lab, uid: 0d9f3c1e-6c1f-4c4f-9a53-0f6a8a3a2b11}
networks:
  lan: {forward: none}
"""


def python(program: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a program in a fresh interpreter, as a user's shell would."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("KVMPLAN_TRACEBACK", None)
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def imported(done: subprocess.CompletedProcess[str]) -> tuple[int, list[str]]:
    """The exit code of the command, and what it had imported by then."""
    lines = [line for line in done.stdout.splitlines() if line.startswith("IMPORTED ")]
    assert lines, done.stderr
    code, heavy = json.loads(lines[0].removeprefix("IMPORTED "))
    return code, heavy


def test_importing_the_command_line_imports_nothing_heavy(tmp_path: Path) -> None:
    program = RUN.replace("code = run(json.loads(sys.argv[1]))", "code = 0")
    done = python(program, "[]", json.dumps([*HEAVY, "click"]), folder=tmp_path)
    assert imported(done) == (0, [])


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["plan", "--help"], ["apply", "--help"], ["validate", "-h"], ["version"], []],
    ids=" ".join,
)
def test_help_imports_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    done = python(RUN, json.dumps(arguments), json.dumps(HEAVY), folder=tmp_path)
    assert imported(done) == (0, [])


def test_validate_imports_neither_libvirt_nor_the_graph(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(STACK)
    heavy = json.dumps(["libvirt", "networkx", "deepdiff"])
    done = python(RUN, json.dumps(["validate", "a.yaml"]), heavy, folder=tmp_path)
    assert imported(done) == (0, [])


def test_a_plan_of_nothing_imports_neither_graph_nor_diff(tmp_path: Path) -> None:
    page = ROOT / "tests" / "cases" / "no-change.txtar"
    assert imported(python(NOTHING_TO_DO, str(page), folder=tmp_path)) == (0, [])


def test_validate_works_without_libvirt(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(STACK)
    done = python(WITHOUT_LIBVIRT, json.dumps(["validate", "a.yaml"]), folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, "Valid: 1 resource in 1 file.\n")


def test_plan_without_libvirt_says_how_to_get_it(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(STACK)
    done = python(WITHOUT_LIBVIRT, json.dumps(["plan", "a.yaml"]), folder=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    remedies = [line for line in done.stderr.splitlines() if line.startswith("   = ")]
    assert "libvirt-python" in done.stderr
    assert len(remedies) == 3, done.stderr
