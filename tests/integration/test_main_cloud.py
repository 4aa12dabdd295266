"""From a cloud image to a guest that can be reached: a real Debian, all the way."""

from __future__ import annotations

import functools
import hashlib
import http.server
import os
import pty
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.support import (
    SecretRef,
    Stack,
    connection,
    kvmplan,
    network,
    stack,
    subnet,
)
from tests.privatehost import DebianImage, LabError, PrivateHost, debian_image

pytestmark = [pytest.mark.guest, pytest.mark.xdist_group("guest")]
ROOT = Path(__file__).parents[2]
PASSWORD = "correct-horse-battery"
SECONDS = 300
"""For what takes a second or two: an emulated guest on a busy machine has its own time."""
READY = {"address": "12m", "agent": "15m", "cloud_init": "20m"}
"""Some ten times what it takes on a machine that has nothing else to do."""


@pytest.fixture(scope="module")
def debian() -> DebianImage:
    """The image; built once for each machine."""
    try:
        return debian_image()
    except LabError as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None


@pytest.fixture
def server(debian: DebianImage) -> Iterator[str]:
    """A web server on loopback that has the image; its address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(debian.directory))
    serving = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=serving.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{serving.server_port}"
    serving.shutdown()
    thread.join()
    serving.server_close()


def digest(path: Path) -> str:
    with path.open("rb") as stream:
        return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"


def user_data(key: str, *commands: str) -> dict[str, Any]:
    return {
        "users": [{"name": "op", "sudo": "ALL=(ALL) NOPASSWD:ALL", "ssh_authorized_keys": [key]}],
        "write_files": [{"path": "/etc/shop.conf", "content": SecretRef("SHOP_PASSWORD")}],
        "runcmd": [["touch", "/run/was-here"], *commands],
    }


def inside(made: Stack, host: PrivateHost, *words: str) -> str:
    """Run ``kvmplan ssh`` in the host's own network, from which its guests can be reached."""
    ssh = [sys.executable, "-m", "kvmplan", "ssh", f"domain.{made.tag}", "--specs", str(made.path)]
    known = made.directory / "known_hosts"
    given = ["--connect", host.uri, "--user", "op", "--identity", str(made.directory / "key")]
    given += ["-o", "BatchMode=yes", "-o", f"UserKnownHostsFile={known}"]
    env = [f"PYTHONPATH={ROOT}", f"SHOP_PASSWORD={PASSWORD}"]
    return host.run(["env", *env, *ssh, *given, "--", *words], timeout=SECONDS).stdout


def console_says(made: Stack, host: PrivateHost, what: str) -> bool:
    """Whether ``kvmplan console`` connects, shows something and leaves at Ctrl-]."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(ROOT)
        words = ["console", f"domain.{made.tag}", "--specs", str(made.path), "--connect", host.uri]
        os.execv(sys.executable, [sys.executable, "-m", "kvmplan", *words])
    said, deadline = b"", time.monotonic() + SECONDS
    os.set_blocking(terminal, False)
    while what.encode() not in said and time.monotonic() < deadline:
        try:
            said += os.read(terminal, 4096)
        except BlockingIOError:
            os.write(terminal, b"\n" if b"Escape character" in said else b"")
            time.sleep(0.2)
        except OSError:
            break
    os.write(terminal, b"\x1d")
    os.waitpid(child, 0)
    os.close(terminal)
    return what.encode() in said


def test_from_a_cloud_image(
    private_host: PrivateHost, debian: DebianImage, server: str, tmp_path: Path
) -> None:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")], check=True
    )
    key = (tmp_path / "key.pub").read_text().strip()
    with stack(tmp_path, private_host) as made, connection(private_host) as conn:
        tag, prefix, pool = made.tag, subnet(), tmp_path / "pool"
        made.env["SHOP_PASSWORD"] = PASSWORD
        kernel = {"image": str(debian.kernel), "initrd": str(debian.initrd)}
        source = {"url": f"{server}/debian.qcow2", "checksum": digest(debian.disk)}
        made.specs |= {
            "networks": {tag: network(prefix)},
            "pools": {tag: {"path": str(pool)}},
            "volumes": {f"{tag}/base.qcow2": {"source": source}},
            "domains": {
                tag: {
                    "type": "qemu",
                    "vcpus": 2,
                    "memory": "512MiB",
                    "kernel": {**kernel, "cmdline": debian.command_line},
                    "disks": {"vda": {"size": "3GiB", "pool": tag, "backing": f"{tag}/base.qcow2"}},
                    "interfaces": {"eth0": {"network": tag, "ip": f"{prefix}.10"}},
                    "cloud_init": {"user_data": user_data(key), "eject_after": "done"},
                    "wait_for": READY,
                    "shutdown_timeout": "30s",
                    "force": True,
                }
            },
            "outputs": {"address": f"{{{{ domain.{tag}.address }}}}"},
        }
        planned, applied = made.plan(), made.apply()
        assert f"+ volume.{tag}/{tag}-seed.iso" in planned.out
        in_sync = made.in_sync()
        secrets = "".join(secret.XMLDesc() for secret in conn.listAllSecrets())
        for run in (planned, applied, in_sync):
            assert PASSWORD not in run.out + run.err
        assert PASSWORD not in secrets
        domain = conn.lookupByName(tag)
        assert "dev='vdz'" not in domain.XMLDesc(), "its seed was unplugged when it was done"

        told = kvmplan(
            "output",
            "address",
            "--raw",
            "--specs",
            made.path,
            "--connect",
            private_host.uri,
            env=made.env,
        )
        assert told.out == f"{prefix}.10", told
        asked = "hostname; test -e /run/was-here && df -B1 --output=size /"
        said = inside(made, private_host, asked)
        name, _, size = said.split()
        assert name == tag
        assert int(size) > 2.5 * 1024**3, "its file system fills its disk"
        assert inside(made, private_host, "sudo", "cat", "/etc/shop.conf") == PASSWORD
        assert console_says(made, private_host, f"{tag} login:")

        made.domains[tag]["cloud_init"]["user_data"] = user_data(key, "touch /run/again")
        edited = made.settle()
        assert f"~ volume.{tag}/{tag}-seed.iso" in edited.out
        assert "seed (sensitive) changes live" in " ".join(edited.out.split())
        assert "disks.vdz + {volume" in " ".join(edited.out.split())
        assert "restart" not in edited.out
        assert b"touch /run/again" in (pool / f"{tag}-seed.iso").read_bytes()
        # It was plugged in again, for the next boot: the guest sees it now.
        label = "/dev/disk/by-label/CIDATA"
        mounted = f"sudo udevadm settle --timeout=120 && sudo mount -o ro {label} /mnt"
        assert "touch /run/again" in inside(made, private_host, f"{mounted} && cat /mnt/user-data")
        was = made.domains[tag]["cloud_init"]["user_data"]
        _kept(made, key)
        made.domains[tag]["cloud_init"]["user_data"] = was
        _made_anew(made, private_host, key)
        made.destroy()
        assert not list(pool.iterdir()), "nothing is left but the cache"
        assert tag not in {domain.name() for domain in conn.listAllDomains()}


def _kept(made: Stack, key: str) -> None:
    """An edit that is to change nothing is told."""
    seed = made.domains[made.tag]["cloud_init"]
    seed |= {"on_change": "keep", "user_data": user_data(key, "touch /run/never")}
    said = " ".join(made.in_sync().out.split())
    assert "seed: not what it was born with, and kept" in said


def _made_anew(made: Stack, host: PrivateHost, key: str) -> None:
    """Another seed, another guest: its disk begins from the image, with keys of its own."""
    tag, known = made.tag, made.directory / "known_hosts"
    seed, disk = made.domains[tag]["cloud_init"], f"volume.{made.tag}/{made.tag}-vda.qcow2"
    seed["on_change"] = "replace"
    made.in_sync()
    inside(made, host, "echo of the first > here")
    seed["user_data"] = user_data(key, "touch /run/anew")
    assert "KVP211" in made.apply(code=7).err
    planned = made.settle("--allow-data-loss", disk)
    assert f"± domain.{tag}" in planned.out
    before = set(known.read_text().split())
    known.unlink()
    assert inside(made, host, "test ! -e here && test -e /run/anew && hostname").strip() == tag
    of_old = {word for word in before if len(word) > 60}
    assert of_old.isdisjoint(known.read_text().split()), "its host keys are others"
