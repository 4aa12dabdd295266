"""Who is at work: for locks, holds and journals, which outlive the process."""

from __future__ import annotations

import getpass
import os
import socket


def who() -> str:
    """``user@machine``; the user's number where it has no name."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def process() -> str:
    """``user@machine pid N``."""
    return f"{who()} pid {os.getpid()}"
