"""Asks git which commit a stack is at. Reads only: git's own index is not refreshed either."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from kvmplan.views.gitstate import GitState

_SECONDS = 10


def git_state(path: Path) -> GitState | None:
    """The commit, branch and cleanliness of the repository around `path` (a file or a directory).

    `dirty` looks at `path`'s directory alone, new files included: a plan file written elsewhere in
    the repository does not change the next plan. None without git or outside of a repository.
    """
    folder = path if path.is_dir() else path.parent
    command = [
        *("git", "-c", "core.fsmonitor=false", "status"),
        *("--porcelain=v2", "--branch", "--untracked-files=normal", "--", "."),
    ]
    env = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            command, cwd=folder, env=env, capture_output=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return _parse(done.stdout.decode(errors="replace")) if done.returncode == 0 else None


def _parse(output: str) -> GitState:
    """Read ``git status --porcelain=v2 --branch``."""
    headers = {}
    dirty = False
    for line in output.splitlines():
        if line.startswith("# "):
            name, _, value = line[2:].partition(" ")
            headers[name] = value
        else:
            dirty = True
    commit, branch = headers.get("branch.oid", ""), headers.get("branch.head", "")
    return GitState(
        commit="" if commit == "(initial)" else commit,
        branch="" if branch == "(detached)" else branch,
        dirty=dirty,
    )
