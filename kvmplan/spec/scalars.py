"""What a plain YAML scalar is: the core schema of YAML 1.2.

One departure, which users of file modes and serial numbers expect: digits with a leading zero stay
a text (``0755``).
"""

from __future__ import annotations

import re

INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
OCTAL = re.compile(r"0o[0-7]+")
HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]+")
NUMBER = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
STARTS_NUMBER = frozenset("+-.0123456789")
LONGEST_INTEGER = 300
"""Longer runs of digits are texts: no number in a spec is that long, and Python refuses some."""

WORDS: dict[str, bool | float | None] = {
    "": None,
    "~": None,
    "null": None,
    "Null": None,
    "NULL": None,
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}
for _infinity in (".inf", ".Inf", ".INF"):
    WORDS[_infinity] = WORDS[f"+{_infinity}"] = float("inf")
    WORDS[f"-{_infinity}"] = float("-inf")
for _nan in (".nan", ".NaN", ".NAN"):
    WORDS[_nan] = float("nan")


def resolve(text: str) -> str | int | float | bool | None:
    """The value of a plain scalar."""
    if text in WORDS:
        return WORDS[text]
    if text[0] not in STARTS_NUMBER or len(text) > LONGEST_INTEGER:
        return text
    if INTEGER.fullmatch(text):
        return int(text)
    if NUMBER.fullmatch(text):
        return float(text)
    if HEXADECIMAL.fullmatch(text):
        return int(text, 16)
    return int(text[2:], 8) if OCTAL.fullmatch(text) else text
