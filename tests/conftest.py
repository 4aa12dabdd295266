"""Options and fixtures of the whole suite."""

import gc
import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.privatehost.guest import CACHE

_SUMMARIES = "KVMPLAN_TEST_SUMMARIES"
"""The variable that tells workers where the session's summaries go."""
_HELD = {"races": "converged", "fuzzing": "without a traceback", "laws": "held"}
"""What each that was tried must have done, by the title that it is counted under."""

Tally = Callable[[str, str, int], None]


def pytest_configure() -> None:
    """Make the directories of the session's summaries, journals and cache; workers inherit them.

    What the lab has built stays where it is, for all sessions.
    """
    if _SUMMARIES not in os.environ:
        folder = Path(tempfile.mkdtemp(prefix="kvmplan-summaries-"))
        os.environ[_SUMMARIES] = str(folder)
        usual = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        os.environ.setdefault(CACHE, str(Path(usual, "kvmplan-lab")))
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    # Every worker has its own state: the test driver is the same host to all of them, and the same
    # test with other arguments would find its stack locked by this machine.
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    os.environ["XDG_STATE_HOME"] = str(Path(os.environ[_SUMMARIES], "state", worker))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove them again, once no worker needs them."""
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ.pop(_SUMMARIES), ignore_errors=True)


@pytest.fixture(autouse=True)
def _collects_nothing() -> Iterator[None]:
    """As in `kvmplan.cli.run`: to free a handle of libvirt's can cost an error its code."""
    gc.disable()
    yield
    gc.enable()


@pytest.fixture(scope="session")
def summaries() -> Path:
    """Where tests leave ``*.summary.json``: lines of JSON with a ``title`` and a ``text``."""
    return Path(os.environ[_SUMMARIES])


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Tally:
    """Counts what a test tries, by a title of `_HELD` and a name; all of it held if it passes.

    The counts go with the test's report, so that those of all workers meet.
    """
    counts: dict[str, int] = {}
    request.node.user_properties.append(("tally", counts))

    def count(title: str, name: str, number: int) -> None:
        key = f"{title}/{name}"
        counts[key] = counts.get(key, 0) + number

    return count


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests left to be told, by title."""
    told: dict[str, list[str]] = {}
    for title, text in (*_lines(Path(os.environ[_SUMMARIES])), *_tallies(terminalreporter.stats)):
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


def _tallies(stats: dict[str, list[pytest.TestReport]]) -> Iterator[tuple[str, str]]:
    """What was counted in all tests, and how much of it in those that passed."""
    tried: Counter[str] = Counter()
    held: Counter[str] = Counter()
    for outcome, into in (("passed", (tried, held)), ("failed", (tried,))):
        for report in (report for report in stats.get(outcome, ()) if report.when == "call"):
            properties: dict[str, Any] = dict(report.user_properties)
            for counter in into:
                counter.update(properties.get("tally"))
    for key, number in sorted(tried.items()):
        title, _, name = key.partition("/")
        yield title, f"{name}: {number} tried, {held[key]} {_HELD[title]}"


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
