"""An ssh server in a private host's place: libvirt reached over the network, and the network cut.

It listens on this machine's loopback and sees the private host's files, so that the usual socket is
that host's. Its keys are its own, and neither side reads or writes anybody's ``~/.ssh``.
"""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import time
from pathlib import Path

from tests.privatehost.config import PATH
from tests.privatehost.errors import LabError
from tests.privatehost.host import PrivateHost

_START_SECONDS = 15.0
_SERVE = 'mount --bind "$1" "$2"; shift 2; exec "$@"'
"""In mounts of its own: the directory that is root's home there, and what to become."""


class SshServer:
    """The server, from `start` to `stop`; it can be started again, at the same address."""

    def __init__(self, host: PrivateHost, directory: Path) -> None:
        """`directory`: an empty one, for keys and logs."""
        self._host, self._directory = host, directory
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self._port: int = found.getsockname()[1]
        self._client = directory / "ssh"
        self._make_keys()

    @property
    def uri(self) -> str:
        """Where the host's libvirt is found."""
        return f"qemu+ssh://root@127.0.0.1:{self._port}/system?command={self._client}&no_tty=1"

    @property
    def pid(self) -> int:
        """The server's process, seen from outside."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Begin to listen, and wait for it. Raises `LabError`."""
        home = self._directory / "home"
        server = ["dropbear", "-F", "-E", "-s", "-j", "-k", "-P", "", "-r"]
        server += [str(self._directory / "host"), "-p", f"127.0.0.1:{self._port}"]
        enter = ["nsenter", f"--mount=/proc/{self._host.pid}/ns/mnt", "--", "unshare", "--mount"]
        log = self._directory / "log"
        with log.open("ab") as opened:
            self._process = subprocess.Popen(
                [*enter, "sh", "-ec", _SERVE, "sh", str(home), str(Path.home()), *server],
                env={"PATH": PATH, "HOME": str(Path.home())},
                stdin=subprocess.DEVNULL,
                stdout=opened,
                stderr=opened,
            )
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self._port)) == 0:
                    return
            time.sleep(0.02)
        raise LabError(f"dropbear does not listen: {log.read_text(errors='replace')}")

    def stop(self) -> None:
        """Listen no more, and end all sessions."""
        if self._process is not None:
            cut(self._process.pid)
            self._process.kill()
            self._process.wait()
            self._process = None

    def _make_keys(self) -> None:
        mine, theirs = self._directory / "key", self._directory / "host"
        authorized = self._directory / "home" / ".ssh" / "authorized_keys"
        authorized.parent.mkdir(mode=0o700, parents=True)
        authorized.parent.parent.chmod(0o755)
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(mine))
        authorized.write_text(mine.with_suffix(".pub").read_text())
        authorized.chmod(0o600)
        _run("dropbearkey", "-t", "ed25519", "-f", str(theirs))
        said = _run("dropbearkey", "-y", "-f", str(theirs))
        public = next(line for line in said.splitlines() if line.startswith("ssh-"))
        known = self._directory / "known_hosts"
        known.write_text(f"[127.0.0.1]:{self._port} {public}\n")
        options = [f"UserKnownHostsFile={known}", "IdentitiesOnly=yes", "IdentityAgent=none"]
        options += ["BatchMode=yes", f"IdentityFile={mine}"]
        words = ["exec", "ssh", "-F", "/dev/null", *(w for it in options for w in ("-o", it))]
        self._client.write_text(f'#!/bin/sh\n{shlex.join(words)} "$@"\n')
        self._client.chmod(0o755)


def cut(server: int) -> int:
    """End all sessions of a server at once, as a network does that goes away; how many."""
    ended = 0
    for child in Path(f"/proc/{server}/task/{server}/children").read_text().split():
        try:
            os.kill(int(child), signal.SIGKILL)
        except ProcessLookupError:
            continue
        ended += 1
    return ended


def _run(*command: str) -> str:
    done = subprocess.run(
        command, env={"PATH": PATH}, capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode != 0:
        raise LabError(f"{command[0]}: {done.stderr.strip()}")
    return done.stdout
