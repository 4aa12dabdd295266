"""Secrets: ``!secret {env | file | command}`` -> `SecretText`, in memory only.

No value ever enters a message: what went wrong is told by the source's name.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kvmplan.diagnostics import Diagnostics
from kvmplan.mapping.types import SecretText
from kvmplan.spec import codes
from kvmplan.spec.node import Node, plain

TIMEOUT = 30
"""Seconds a secret's command may take."""
MAX_SHOWN = 200
OTHERS = stat.S_IRWXG | stat.S_IRWXO


class Secrets:
    """Reads each secret of a run once.

    Args:
        root: where relative files and commands start.
        environ: the environment of ``env`` secrets, and of commands.
        read: False gives an empty secret for every well-written one.
    """

    def __init__(
        self, root: Path, environ: Mapping[str, str], report: Diagnostics, *, read: bool = True
    ) -> None:
        self._root, self._environ, self._report, self._read = root, environ, report, read
        self._known: dict[tuple[str, Any], SecretText | None] = {}

    def value(self, node: Node) -> SecretText | None:
        """The secret of a ``!secret`` node; None, and an error, if it cannot be read."""
        if isinstance(node.value, SecretText):
            return node.value
        source, argument = next(iter(plain(node._replace(tag=None)).items()))
        if not self._read:
            return SecretText("")
        if isinstance(argument, list):
            argument = tuple(str(word) for word in argument)
        key = (source, argument)
        if key not in self._known:
            value = self._read_source(source, argument, node)
            self._known[key] = None if value is None else SecretText(value)
        return self._known[key]

    def _read_source(self, source: str, argument: Any, node: Node) -> str | None:
        if source == "env":
            return self._env(str(argument), node)
        if source == "file":
            return self._file(str(argument), node)
        return self._command(argument, node)

    def _error(self, summary: str, node: Node, remedy: str | None = None) -> None:
        self._report.error(codes.SECRET, summary, node.place, remedy)

    def _env(self, name: str, node: Node) -> str | None:
        value = self._environ.get(name)
        if value is None:
            self._error(f"the environment has no variable '{name}'", node, f"export {name}=…")
        return value

    def _file(self, name: str, node: Node) -> str | None:
        path = self._root / name
        try:
            with path.open("rb") as stream:
                mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
                if mode & OTHERS:
                    summary = f"the secret file '{name}' has mode {mode:04o}; others may read it"
                    self._error(summary, node, f"chmod 600 {name}")
                    return None
                return stream.read().decode("utf-8").removesuffix("\n").removesuffix("\r")
        except OSError as error:
            self._error(f"cannot read the secret file '{name}': {error.strerror}", node)
        except UnicodeDecodeError:
            self._error(f"the secret file '{name}' is not UTF-8 text", node)
        return None

    def _command(self, words: tuple[str, ...], node: Node) -> str | None:
        import subprocess

        try:
            done = subprocess.run(
                list(words),
                cwd=self._root,
                env=dict(self._environ),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=TIMEOUT,
                check=False,
            )
            text = done.stdout.decode("utf-8")
        except subprocess.TimeoutExpired:
            self._error(f"the secret's command '{words[0]}' took longer than {TIMEOUT} s", node)
        except (OSError, ValueError) as error:
            what = getattr(error, "strerror", None) or "its output is not UTF-8 text"
            self._error(f"cannot run the secret's command '{words[0]}': {what}", node)
        else:
            if done.returncode == 0:
                return text.removesuffix("\n").removesuffix("\r")
            said = " ".join(done.stderr.decode("utf-8", "replace").split())[:MAX_SHOWN]
            summary = f"the secret's command '{words[0]}' failed with {done.returncode}"
            self._error(summary, node, f"it said: {said}" if said else None)
        return None
