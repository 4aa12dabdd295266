"""Secrets reach the guest's device and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import libvirt
import pytest

from tests.integration.support import (
    NO_CHANGES,
    Run,
    SecretRef,
    Stack,
    connection,
    document,
    idle_domain,
    stack,
    tiny_domain,
)
from tests.privatehost import PrivateHost, TinyGuest

FIRST, SECOND = "pw-One17", "pw-Two28"
SECURE = libvirt.VIR_DOMAIN_XML_SECURE
VIEWS: tuple[tuple[str, ...], ...] = (
    ("plan",),
    ("plan", "--json"),
    ("plan", "--format", "json"),
    ("plan", "--xml"),
    ("apply", "--auto-approve", "--json"),
    ("plan", "--destroy"),
)


def password(domain: libvirt.virDomain, flags: int) -> str | None:
    """The VNC password in a document."""
    found: str | None = document(domain, flags).find("devices/graphics").get("passwd")
    return found


def quiet(*runs: Run) -> None:
    """No output holds either password."""
    for run in runs:
        for word in (FIRST, SECOND):
            assert word not in run.out + run.err, str(run)


def said_in_the_open(made: Stack, conn: libvirt.virConnect) -> str:
    """All that a host shows of a stack without being asked for secrets."""
    domain = conn.lookupByName(made.tag)
    texts = [domain.XMLDesc(0), domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)]
    for secret in conn.listAllSecrets():
        texts.append(secret.XMLDesc())
        texts.append(repr(secret.value(0)) if made.uid in secret.usageID() else "")
    return "".join(texts)


@pytest.fixture
def guarded(private_host: PrivateHost, tiny_guest: TinyGuest, tmp_path: Path) -> Iterator[Stack]:
    """A stack with one running guest that has a VNC password."""
    with stack(tmp_path, private_host) as made:
        made.env["VNC_PASSWORD"] = FIRST
        vnc = {
            "type": "vnc",
            "listen": "127.0.0.1",
            "port": "auto",
            "password": SecretRef("VNC_PASSWORD"),
        }
        domain = tiny_domain(tiny_guest, made.tag, tmp_path / "console", graphics=[vnc])
        made.specs["domains"] = {made.tag: domain | {"shutdown_timeout": "1s"}}
        yield made


@pytest.fixture
def made_idle(private_host: PrivateHost, tmp_path: Path) -> Iterator[Stack]:
    """A stack without a guest that boots."""
    with stack(tmp_path, private_host) as made:
        yield made


def test_a_password_is_applied_and_never_shown(guarded: Stack, private_host: PrivateHost) -> None:
    with connection(private_host) as conn:
        quiet(*(guarded.run(*view) for view in VIEWS))
        domain = conn.lookupByName(guarded.tag)
        guarded.in_sync()
        for flags in (SECURE, SECURE | libvirt.VIR_DOMAIN_XML_INACTIVE):
            assert password(domain, flags) == FIRST
        running = domain.ID()

        guarded.env["VNC_PASSWORD"] = SECOND
        planned = guarded.plan()
        assert planned.code == 2
        assert "graphics.vnc.password" in planned.out
        assert "(sensitive)" in planned.out
        assert "Impact: 1 live" in planned.out
        quiet(*(guarded.run(*view) for view in VIEWS))
        guarded.in_sync()
        for flags in (SECURE, SECURE | libvirt.VIR_DOMAIN_XML_INACTIVE):
            assert password(domain, flags) == SECOND
        assert domain.ID() == running
        for word in (FIRST, SECOND):
            assert word not in said_in_the_open(guarded, conn)


def test_a_password_that_someone_took_away_comes_back(
    guarded: Stack, private_host: PrivateHost
) -> None:
    with connection(private_host) as conn:
        guarded.apply()
        domain = conn.lookupByName(guarded.tag)
        both = libvirt.VIR_DOMAIN_AFFECT_LIVE | libvirt.VIR_DOMAIN_AFFECT_CONFIG
        for by_hand in ("", " passwd='theirs'"):
            graphics = document(domain, SECURE).find("devices/graphics")
            port = graphics.get("port")
            device = (
                f"<graphics type='vnc' port='{port}' autoport='yes' listen='127.0.0.1'{by_hand}>"
                "<listen type='address' address='127.0.0.1'/></graphics>"
            )
            domain.updateDeviceFlags(device, both)
            planned = guarded.plan()
            assert planned.code == 2, str(planned)
            assert "(sensitive)" in planned.out
            assert "theirs" not in planned.out + planned.err
            quiet(planned, guarded.apply())
            guarded.in_sync()
            assert password(domain, SECURE) == FIRST


def test_a_display_with_a_password_is_taken_out(made_idle: Stack) -> None:
    vnc = {"type": "vnc", "listen": "127.0.0.1", "password": SecretRef("VNC_PASSWORD")}
    made_idle.env["VNC_PASSWORD"] = FIRST
    made_idle.specs["domains"] = {made_idle.tag: idle_domain(graphics=[vnc], video="vga")}
    made_idle.apply()
    made_idle.domains[made_idle.tag]["graphics"] = []
    made_idle.settle()
    assert made_idle.host is not None
    with connection(made_idle.host) as conn:
        left = document(conn.lookupByName(made_idle.tag))
        assert left.find("devices/graphics") is None


def test_what_a_read_only_run_cannot_compare_is_named(
    guarded: Stack, private_host: PrivateHost
) -> None:
    tag = guarded.tag
    guarded.specs["pools"] = {tag: {"path": str(guarded.directory / "pool")}}
    guarded.specs["volumes"] = {f"{tag}/data.img": {"capacity": "1MiB"}}
    guarded.apply()
    guarded.env["VNC_PASSWORD"] = SECOND
    hidden = f"the secrets of domain.{tag} cannot be read"
    for command in ("plan", "status", "drift", "orphans"):
        seen = guarded.run(command, "--read-only")
        assert (seen.code, hidden in seen.err) == (0, True), str(seen)
    plan = guarded.run("plan", "--read-only", "--detailed-exitcode")
    assert (plan.code, plan.last) == (0, NO_CHANGES), "an unseen password is no change"
    assert guarded.plan().code == 2
    with connection(private_host) as conn:
        conn.storagePoolLookupByName(tag).destroy()
        guarded.specs["pools"][tag]["active"] = False
        for flags in ((), ("--read-only",)):
            unseen = guarded.run("plan", *flags)
            assert f"volume.{tag}/data.img" in unseen.out + unseen.err, str(unseen)
            assert "its pool is not active" in unseen.out + unseen.err, str(unseen)
            assert "1 to add" not in unseen.out, str(unseen)
    del guarded.specs["pools"][tag]["active"]
    guarded.apply()


def test_a_secret_that_is_not_there_is_an_error(guarded: Stack) -> None:
    del guarded.env["VNC_PASSWORD"]
    refused = guarded.plan()
    assert refused.code == 1
    assert "VNC_PASSWORD" in refused.err
    guarded.env["VNC_PASSWORD"] = FIRST
