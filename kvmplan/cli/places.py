"""Where kvmplan keeps what is this machine's own: the XDG base directories."""

from __future__ import annotations

import os
from pathlib import Path


def state_folder() -> Path:
    """``$XDG_STATE_HOME/kvmplan``, by default ``~/.local/state/kvmplan``; it may not exist.

    Raises:
        OSError: nobody knows where the user's home is.
    """
    return _folder("XDG_STATE_HOME", ".local/state")


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/kvmplan``, by default ``~/.cache/kvmplan``. Raises as above."""
    return _folder("XDG_CACHE_HOME", ".cache")


def _folder(variable: str, usual: str) -> Path:
    given = os.environ.get(variable, "")
    # The standard has relative paths ignored.
    if Path(given).is_absolute():
        return Path(given) / "kvmplan"
    try:
        return Path.home() / usual / "kvmplan"
    except RuntimeError as error:
        raise OSError(str(error)) from error


def runs_folder() -> Path:
    """Where journals are: a directory for each stack, a file for each run. Raises as above."""
    return state_folder() / "runs"


def images_folder() -> Path:
    """Where fetched images are kept. Raises as above."""
    return cache_folder() / "images"
