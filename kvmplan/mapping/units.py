"""Sizes and durations as users write them, and as they are told.

Imports nothing heavy: what tells of a plan needs them where no model is made.
"""

from __future__ import annotations

import re
from typing import Any

SIZE = re.compile(r"(\d+)\s*(B|KiB|MiB|GiB|TiB|PiB)")
SIZE_UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40, "PiB": 2**50}
NEAR_SIZE = re.compile(r"(\d+)\s*([kKmMgGtTpP])i?[bB]?")
DURATION = re.compile(r"(\d+)(ms|s|m|h|d)")
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
MOST = 2**63 - 1
"""Bytes beyond which no file, disk or memory goes: libvirt and QEMU count with 64 bits."""
LONGEST = 36500 * 86400
"""Seconds that Python's waits still take: they end in an OverflowError at three times as many."""


def parse_size(value: Any) -> int:
    """Bytes of ``20GiB``. Raises ValueError that names the right spelling."""
    if isinstance(value, int) and not isinstance(value, bool):
        raise ValueError(f"{value} is not a size; write its unit, such as {value}GiB")
    if not isinstance(value, str):
        raise ValueError("a size is written like 512MiB or 20GiB")
    found = SIZE.fullmatch(value.strip())
    if found:
        # Python refuses to read thousands of digits, and says so in words of its own.
        digits = found[1].lstrip("0") or "0"
        size = int(digits) * SIZE_UNITS[found[2]] if len(digits) < 20 else MOST + 1
        if size > MOST:
            raise ValueError(f"'{value[:40]}' is more than any host has; the most is 8191PiB")
        return size
    near = NEAR_SIZE.fullmatch(value.strip())
    if near:
        raise ValueError(f"'{value}' is not a size; write {near[1]}{near[2].upper()}iB")
    raise ValueError(f"'{value}' is not a size; write it like 512MiB, 20GiB or 1TiB")


def format_size(size: int) -> str:
    """The shortest exact spelling: ``8GiB``, ``1000448B``."""
    for unit in ("PiB", "TiB", "GiB", "MiB", "KiB"):
        if size and size % SIZE_UNITS[unit] == 0:
            return f"{size // SIZE_UNITS[unit]}{unit}"
    return f"{size}B"


def about_size(size: int) -> str:
    """A size for people, with one decimal: ``7.9GiB``."""
    for unit in ("PiB", "TiB", "GiB", "MiB", "KiB"):
        if size >= SIZE_UNITS[unit]:
            return f"{size / SIZE_UNITS[unit]:.1f}".removesuffix(".0") + unit
    return f"{size}B"


def parse_duration(value: Any) -> int:
    """Seconds of ``30s``, ``5m``, ``1h``. Raises ValueError that names the right spelling."""
    found = DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if not found or found[2] == "ms":
        raise ValueError(f"'{value}' is not a duration; write it like 30s, 5m or 1h")
    digits = found[1].lstrip("0") or "0"
    seconds = int(digits) * SECONDS[found[2]] if len(digits) < 20 else LONGEST + 1
    if seconds > LONGEST:
        raise ValueError(f"'{value[:40]}' is longer than anybody waits; the most is 36500d")
    return seconds


def format_duration(seconds: int) -> str:
    """The shortest exact spelling: ``2m``."""
    for unit in ("d", "h", "m"):
        if seconds and seconds % SECONDS[unit] == 0:
            return f"{seconds // SECONDS[unit]}{unit}"
    return f"{seconds}s"
