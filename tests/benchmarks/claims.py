"""What claims cost of an apply of many objects: real volumes, and every read and write of claims.

Volumes are the cheapest objects that can be made, and claims say most of them: no apply has a
greater share.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

STACK = """\
stack: {{name: claims, uid: 5c1f7a0e-93b2-4d6f-8e21-6a0d4b7c9f31}}
variables:
  count: {{type: integer, default: {count}}}
pools:
  claims: {{path: {pool}, autostart: false}}
volumes:
  "claims/v{{{{ each.key }}}}.raw":
    for_each: "{{{{ range(var.count) | list }}}}"
    capacity: 1MiB
    format: raw
"""


@contextmanager
def timed_claims() -> Iterator[list[float]]:
    """The seconds that each read and write of claims takes, as they happen."""
    from kvmplan.host import claims

    spent: list[float] = []

    def timed(work: Callable[..., Any]) -> Callable[..., Any]:
        def run(*given: Any, **more: Any) -> Any:
            begun = time.perf_counter()
            try:
                return work(*given, **more)
            finally:
                spent.append(time.perf_counter() - begun)

        return run

    before = claims.read, claims.write
    claims.read, claims.write = timed(claims.read), timed(claims.write)
    try:
        yield spent
    finally:
        claims.read, claims.write = before


def claims_share(
    kvmplan: Callable[..., None], uri: str, folder: Path, count: int
) -> tuple[float, float, int]:
    """Apply a stack of so many volumes.

    Returns:
        Seconds of the whole, seconds of it for claims, and how often they were read or written.
    """
    spec = folder / "claims.yaml"
    spec.write_text(STACK.format(pool=folder / "claims", count=count))
    with timed_claims() as spent:
        begun = time.perf_counter()
        kvmplan("apply", str(spec), "--connect", uri, "--auto-approve")
        whole = time.perf_counter() - begun
        mine, times = sum(spent), len(spent)
    flags = ("--auto-approve", "--allow-data-loss", "volume.*")
    kvmplan("destroy", str(spec), "--connect", uri, *flags)
    return whole, mine, times
