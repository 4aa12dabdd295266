"""JSON that stands on a host, where anybody may have written it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

DEEPEST = 64
"""Levels of a value that kvmplan reads back; what it writes has less than ten."""


def read_json(text: str | bytes) -> Any:
    """The content of a text. Raises ValueError: it is no JSON, or no sane one."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def as_fields(value: Any) -> Mapping[str, Any]:
    """A JSON object to be kept. Raises ValueError: it is none, or is nested too deeply."""
    if not isinstance(value, Mapping):
        raise ValueError("it is no object")
    _check_depth(value, DEEPEST)
    return value


def as_texts(value: Any) -> Mapping[str, str]:
    """A JSON object of texts. Raises ValueError: it is none."""
    if not isinstance(value, Mapping) or not all(isinstance(it, str) for it in value.values()):
        raise ValueError("it is no object of texts")
    return value


def as_text(value: Any) -> str:
    """A JSON text. Raises ValueError: it is none."""
    if not isinstance(value, str):
        raise ValueError("it is no text")
    return value


def _check_depth(value: Any, levels: int) -> None:
    if not levels:
        raise ValueError("it is nested too deeply")
    inner = value if isinstance(value, list) else value.values()
    for it in inner:
        # Of JSON nothing else is nested. Thousands of claims are looked at: types, not protocols.
        if isinstance(it, dict | list):
            _check_depth(it, levels - 1)
