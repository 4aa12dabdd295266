"""``python -m tests.fuzz TARGET SECONDS [FOLDER]``: search with atheris, guided by coverage.

What is found lies in FOLDER (``.fuzz/TARGET``): ``crash-…``, ``timeout-…``, ``oom-…``. Without
TARGET every target gets SECONDS, one after the other.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SECONDS_EACH = 60
"""How long one input may take, on a busy machine: none needs more than two by itself."""
MEBIBYTES = 1536
"""What the process may hold."""


def main(arguments: list[str]) -> int:
    """Run one target in this process, or all in processes of their own."""
    if len(arguments) < 2:
        return _all(arguments[0] if arguments else "60")
    name, seconds, *rest = arguments
    folder = Path(rest[0] if rest else f".fuzz/{name}")
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    import atheris

    with atheris.instrument_imports(include=["kvmplan"]):
        from tests.fuzz.targets import TARGETS
    target, seeds = TARGETS[name]
    for number, seed in enumerate(seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)
    limits = [f"-max_total_time={seconds}", f"-timeout={SECONDS_EACH}"]
    limits += [f"-rss_limit_mb={MEBIBYTES}", "-max_len=65536", "-print_final_stats=1"]
    atheris.Setup(["kvmplan", str(corpus), *limits, f"-artifact_prefix={folder}/"], target)
    atheris.Fuzz()
    return 0


def _all(seconds: str) -> int:
    from tests.fuzz.targets import TARGETS

    command = [sys.executable, "-m", "tests.fuzz"]
    failed = [
        name
        for name in TARGETS
        if subprocess.run([*command, name, seconds], check=False).returncode != 0
    ]
    print("found something:" if failed else "found nothing", *failed)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
