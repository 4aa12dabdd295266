"""Documents in many threads: no parser is shared, so no table of names is."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

from kvmplan.mapping import document

ROOT = Path(__file__).parents[2]

FINDS = """
import random, threading
from kvmplan.mapping.document import parse, parse_huge, parse_to_read

missed = []

def work(first, seed, together):
    first("<a/>")
    dice = random.Random(seed)
    together.wait()
    for _ in range(400):
        tags = [f"t{dice.randrange(10**6)}" for _ in range(40)]
        root = parse("<d>" + "".join(f"<{tag}/>" for tag in tags) + "</d>")
        missed.extend(tag for tag in tags if root.find(tag) is None)

for first in (parse_huge, parse, parse_to_read):
    together = threading.Barrier(6)
    threads = [threading.Thread(target=work, args=(first, n, together)) for n in range(6)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
print("missed", len(missed))
"""
"""In a process of its own: where threads begin with one shared parser, malloc aborts it."""


def test_threads_find_what_they_have_parsed() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FINDS], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "missed 0\n"), done.stderr


def test_every_thread_has_parsers_of_its_own() -> None:
    found: list[list[object]] = []

    def look() -> None:
        document.own_names()
        found.append(list(vars(document._PARSERS).values()))

    look()
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    here, there = found
    assert len(here) == len(there) == 3
    assert not {id(parser) for parser in here} & {id(parser) for parser in there}


def test_parsers_are_made_in_one_place() -> None:
    users = [
        file.name
        for file in (ROOT / "kvmplan").rglob("*.py")
        if "XMLParser(" in file.read_text(encoding="utf-8")
    ]
    assert users == ["document.py"]
