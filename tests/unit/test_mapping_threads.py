"""Documents in many threads: no parser is shared, so no table of names is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

FINDS = """
import random, threading
from kvmplan.mapping.document import parse, parse_huge, parse_to_read

FIRST = (parse_huge, parse, parse_to_read)
together, missed = threading.Barrier(6), []

def work(seed):
    FIRST[seed % 3]("<a/>")
    dice = random.Random(seed)
    together.wait()
    for _ in range(300):
        tags = [f"t{dice.randrange(10**6)}" for _ in range(40)]
        root = parse("<d>" + "".join(f"<{tag}/>" for tag in tags) + "</d>")
        missed.extend(tag for tag in tags if root.find(tag) is None)

threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print("missed", len(missed))
"""
"""In a process of its own: with one shared parser malloc aborts it, three times out of three."""


def test_threads_find_what_they_have_parsed() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FINDS], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "missed 0\n"), done.stderr


def test_parsers_are_made_in_one_place() -> None:
    users = [
        file.name
        for file in (ROOT / "kvmplan").rglob("*.py")
        if "XMLParser(" in file.read_text(encoding="utf-8")
    ]
    assert users == ["document.py"]
