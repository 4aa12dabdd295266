"""Options and fixtures of the whole suite."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

_SUMMARIES = "KVMPLAN_TEST_SUMMARIES"
"""The variable that tells workers where the session's summaries go."""


def pytest_configure() -> None:
    """Make the directories of the session's summaries, journals and cache; workers inherit them."""
    if _SUMMARIES not in os.environ:
        folder = Path(tempfile.mkdtemp(prefix="kvmplan-summaries-"))
        os.environ[_SUMMARIES] = str(folder)
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        os.environ["XDG_STATE_HOME"] = str(folder / "state")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove them again, once no worker needs them."""
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ.pop(_SUMMARIES), ignore_errors=True)


@pytest.fixture(scope="session")
def summaries() -> Path:
    """Where tests leave ``*.summary.json``: lines of JSON with a ``title`` and a ``text``."""
    return Path(os.environ[_SUMMARIES])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests left to be told, by title."""
    told: dict[str, list[str]] = {}
    for title, text in _lines(Path(os.environ[_SUMMARIES])):
        told.setdefault(title, []).append(text)
    for title, texts in sorted(told.items()):
        terminalreporter.section(title)
        for text in sorted(texts):
            terminalreporter.line(text)


def _lines(folder: Path) -> Iterator[tuple[str, str]]:
    for file in sorted(folder.glob("*.summary.json")):
        for line in file.read_text().splitlines():
            entry = json.loads(line)
            yield entry["title"], entry["text"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--update-golden`."""
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="rewrite the expected parts of golden cases with what the code produces now",
    )


@pytest.fixture(scope="session")
def update_golden(request: pytest.FixtureRequest) -> bool:
    """Whether golden files are to be rewritten instead of compared."""
    return bool(request.config.getoption("--update-golden"))
