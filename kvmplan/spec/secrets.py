"""Secrets: ``!secret {env | file | command}`` -> `SecretText`, in memory only.

No value ever enters a message: what went wrong is told by the source's name.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kvmplan.diagnostics import Diagnostics, Place
from kvmplan.mapping.types import SecretText
from kvmplan.spec import codes
from kvmplan.spec.node import Node, plain

TIMEOUT = 30
"""Seconds a secret's command may take."""
MAX_SHOWN = 200
MAX_BYTES = 1024 * 1024
"""Of a secret file."""
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

    @property
    def used(self) -> bool:
        """Whether any was asked for."""
        return bool(self._known) or not self._read

    def value(self, node: Node) -> SecretText | None:
        """The secret of a ``!secret`` node; None, and an error, if it cannot be read."""
        if isinstance(node.value, SecretText):
            return node.value
        return self.read(plain(node._replace(tag=None)), node.place)

    def read(self, given: Mapping[str, Any], place: Place | None) -> SecretText | None:
        """The secret at ``{env | file | command: …}``; None, and an error, if it cannot be read."""
        source, argument = next(iter(given.items()))
        if not self._read:
            return SecretText("", given)
        if isinstance(argument, list):
            argument = tuple(str(word) for word in argument)
        key = (source, argument)
        if key not in self._known:
            value = self._read_source(source, argument, place)
            self._known[key] = None if value is None else SecretText(value, dict(given))
        return self._known[key]

    def _read_source(self, source: str, argument: Any, place: Place | None) -> str | None:
        if source == "env":
            return self._env(str(argument), place)
        if source == "file":
            return self._file(str(argument), place)
        return self._command(argument, place)

    def _error(self, summary: str, place: Place | None, remedy: str | None = None) -> None:
        self._report.error(codes.SECRET, summary, place, remedy)

    def _env(self, name: str, place: Place | None) -> str | None:
        value = self._environ.get(name)
        if value is None:
            self._error(f"the environment has no variable '{name}'", place, f"export {name}=…")
        return value

    def _file(self, name: str, place: Place | None) -> str | None:
        path = self._root / name
        try:
            with path.open("rb") as stream:
                mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
                if mode & OTHERS:
                    summary = f"the secret file '{name}' has mode {mode:04o}; others may read it"
                    self._error(summary, place, f"chmod 600 {name}")
                    return None
                data = stream.read(MAX_BYTES + 1)
            if len(data) > MAX_BYTES:
                self._error(f"the secret file '{name}' is larger than {MAX_BYTES} bytes", place)
                return None
            return data.decode("utf-8").removesuffix("\n").removesuffix("\r")
        except OSError as error:
            self._error(f"cannot read the secret file '{name}': {error.strerror}", place)
        except UnicodeDecodeError:
            self._error(f"the secret file '{name}' is not UTF-8 text", place)
        return None

    def _command(self, words: tuple[str, ...], place: Place | None) -> str | None:
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
            self._error(f"the secret's command '{words[0]}' took longer than {TIMEOUT} s", place)
        except (OSError, ValueError) as error:
            what = getattr(error, "strerror", None) or "its output is not UTF-8 text"
            self._error(f"cannot run the secret's command '{words[0]}': {what}", place)
        else:
            if done.returncode == 0:
                return text.removesuffix("\n").removesuffix("\r")
            said = self._harmless(done.stderr.decode("utf-8", "replace"), text)
            summary = f"the secret's command '{words[0]}' failed with {done.returncode}"
            self._error(summary, place, f"it said: {said}" if said else None)
        return None

    def _harmless(self, said: str, answered: str) -> str:
        """What a command complained of, in one line, without what it answered or any secret."""
        known = [secret.reveal() for secret in self._known.values() if secret is not None]
        for word in sorted((*known, *answered.split("\n")), key=len, reverse=True):
            if word.strip():
                said = said.replace(word.strip(), "(sensitive)")
        return " ".join(said.split())[:MAX_SHOWN]
