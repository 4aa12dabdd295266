"""Volumes that are born with bytes: inline content, images from files, hosts and the web."""

from __future__ import annotations

from pathlib import Path

import libvirt

from tests.integration.support import SecretRef, connection, stack
from tests.privatehost import PrivateHost

TEXT = "instance-id: web\nname: {{ not an expression }}\n"


def bytes_of(opened: libvirt.virConnect, pool: str, name: str) -> bytes:
    """What a volume holds."""
    path = opened.storagePoolLookupByName(pool).storageVolLookupByName(name).path()
    return Path(path).read_bytes()


def test_content(private_host: PrivateHost, tmp_path: Path) -> None:
    with stack(tmp_path, private_host) as it, connection(private_host) as live:
        pool = it.tag
        it.env["SEED_PASSWORD"] = "hunter2hunter2"
        (tmp_path / "seed.j2").write_text("password: {{ password }}\n")
        template = {"template": "seed.j2", "vars": {"password": SecretRef("SEED_PASSWORD")}}
        it.specs["pools"] = {pool: {"path": str(tmp_path / "pool"), "autostart": False}}
        it.specs["volumes"] = {
            f"{pool}/meta": {"content": TEXT},
            f"{pool}/grown": {"content": TEXT, "capacity": "1MiB"},
            f"{pool}/secret": {"content": template},
        }
        before = it.settle()
        assert "instance-id" not in before.out
        assert "hunter2" not in before.out
        assert bytes_of(live, pool, "meta") == TEXT.encode()
        assert bytes_of(live, pool, "grown") == TEXT.encode().ljust(1 << 20, b"\0")
        assert bytes_of(live, pool, "secret") == b"password: hunter2hunter2\n"
        secrets = "".join(secret.XMLDesc() for secret in live.listAllSecrets())
        assert "hunter2" not in secrets
        # An edit is noted, and acts when that is asked for.
        it.volumes[f"{pool}/meta"]["content"] = "other\n"
        noted = it.in_sync()
        assert "content: not what it was born with" in noted.out
        assert bytes_of(live, pool, "meta") == TEXT.encode()
        address = f"volume.{pool}/meta"
        it.apply("--replace", address, "--allow-data-loss", address)
        assert bytes_of(live, pool, "meta") == b"other\n"
        assert "born with" not in it.in_sync().out
