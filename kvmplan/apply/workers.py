"""Workers: the threads of an apply, and the one that waits for them and looks up now and then."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait

SECONDS_WITHOUT_A_LOOK = 0.1
"""How long a signal may wait: the kernel can hand it to any thread, Python handles it in the main
one, and a thread that waits for a lock does not wake for what another one was handed."""


def work_off(
    counts: Mapping[str, int],
    work: Callable[[str], None],
    look: Callable[[], None],
    every: float,
    stop: threading.Event,
) -> None:
    """Let so many threads work for each host, and wait for all of them.

    Args:
        counts: host -> threads.
        work: what each of them does; its exceptions end the waiting.
        look: called now and then meanwhile.
        every: seconds between two looks, where that is not often enough.
        stop: set by Ctrl-C.
    """
    total = sum(counts.values())
    if not total:
        return
    with ThreadPoolExecutor(total, "kvmplan-apply") as threads:
        jobs = {threads.submit(work, name) for name, count in counts.items() for _ in range(count)}
        while jobs:
            try:
                done, jobs = wait(jobs, min(every, SECONDS_WITHOUT_A_LOOK))
            except KeyboardInterrupt:
                stop.set()
                continue
            for job in done:
                job.result()
            look()
