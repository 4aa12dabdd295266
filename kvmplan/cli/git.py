"""Asks git which commit a stack is at, and where it comes from.

Reads only: git's own index is not refreshed either.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from kvmplan.views.gitstate import GitState

_SECONDS = 10
_HOST = re.compile(r"\[[^\]]*\]|[^:/\[]+")
"""A host in a URL, without its port."""


def git_state(path: Path) -> GitState | None:
    """The commit, branch and cleanliness of the repository around `path` (a file or a directory).

    `dirty` looks at `path`'s directory alone, new files included: a plan file written elsewhere in
    the repository does not change the next plan. None without git or outside of a repository.
    """
    flags = ("--porcelain=v2", "--branch", "--untracked-files=normal", "--", ".")
    output = _git(path, "status", *flags)
    return None if output is None else _parse(output)


def git_origin(path: Path) -> str:
    """Where the repository around `path` comes from: ``HOST/PATH`` of its remote `origin`.

    However it is reached, and by whom: without scheme, user, password, token, port, query and
    ``.git``. Empty without git, repository or remote, and for one on this machine alone.
    """
    output = _git(path, "config", "--get", "remote.origin.url")
    return "" if output is None else plain_origin(output.strip())


def plain_origin(url: str) -> str:
    """A remote's URL as `git_origin` gives it."""
    scheme, found, rest = url.partition("://")
    if scheme == "file":
        return ""
    if found:
        authority, _, inside = rest.partition("/")
        host = _HOST.match(authority.rpartition("@")[2])
    else:  # scp's form, USER@HOST:PATH, or a path on this machine
        authority, found, inside = url.rpartition("@")[2].partition(":")
        host = _HOST.fullmatch(authority) if found else None
    inside = inside.partition("?")[0].partition("#")[0].strip("/").removesuffix(".git")
    return f"{host[0].lower()}/{inside}" if host and inside else ""


def _git(path: Path, *command: str) -> str | None:
    """What git prints, asked from `path`'s directory; None if it fails or is not there."""
    folder = path if path.is_dir() else path.parent
    env = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ["git", "-c", "core.fsmonitor=false", *command],
            cwd=folder,
            env=env,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None


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
