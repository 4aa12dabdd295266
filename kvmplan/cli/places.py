"""Where kvmplan keeps what is this machine's own: the XDG base directories."""

from __future__ import annotations

import os
from pathlib import Path


def state_folder() -> Path:
    """``$XDG_STATE_HOME/kvmplan``, by default ``~/.local/state/kvmplan``; it may not exist.

    Raises:
        OSError: nobody knows where the user's home is.
    """
    given = os.environ.get("XDG_STATE_HOME", "")
    # The standard has relative paths ignored.
    if Path(given).is_absolute():
        return Path(given) / "kvmplan"
    try:
        return Path.home() / ".local" / "state" / "kvmplan"
    except RuntimeError as error:
        raise OSError(str(error)) from error


def runs_folder() -> Path:
    """Where journals are: a directory for each stack, a file for each run. Raises as above."""
    return state_folder() / "runs"
