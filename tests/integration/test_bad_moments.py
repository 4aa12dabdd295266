"""What is asked for at a moment, or of an object, that does not allow it: a sentence each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.support import SecretRef, Stack, connection, idle_domain, kvmplan, stack
from tests.integration.test_bad_input import said
from tests.privatehost import PrivateHost


@pytest.fixture
def made(private_host: PrivateHost, tmp_path: Path) -> Iterator[Stack]:
    with stack(tmp_path, private_host) as it:
        yield it


@pytest.fixture
def guest(made: Stack) -> str:
    """The address of a running guest that never boots."""
    made.specs["domains"] = {made.tag: idle_domain(state="running", shutdown_timeout="1s")}
    made.apply()
    return f"domain.{made.tag}"


def into(made: Stack, command: str, address: str, **env: str) -> tuple[int, str]:
    """``ssh`` or ``console``; how it ended, and what it said."""
    made.write()
    assert made.host is not None
    done = kvmplan(
        command, address, "--specs", made.path, "--connect", made.host.uri, env={**made.env, **env}
    )
    assert "Traceback" not in done.err
    return done.code, done.err


@pytest.mark.parametrize("command", ["ssh", "console"])
def test_only_guests_can_be_entered(made: Stack, command: str) -> None:
    made.specs["networks"] = {made.tag: {"forward": "none"}}
    code, text = into(made, command, f"network.{made.tag}")
    assert (code, "error[KVP252]" in text) == (1, True), text
    code, text = into(made, command, f"domain.{made.tag}")
    assert (code, "error[KVP253]" in text) == (1, True), text
    assert "host 'local'" in text


def test_a_guest_without_an_address(made: Stack, guest: str) -> None:
    code, text = into(made, "ssh", guest)
    assert (code, "error[KVP704]" in text) == (1, True), text
    assert f"kvmplan console {guest}" in text
    made.write()
    assert made.host is not None
    where = ("--specs", made.path, "--connect", made.host.uri)
    said(kvmplan("output", "--format", "hosts", *where), 0, "warning[KVP703]", "left out")


def test_a_console_of_what_is_off_and_without_virsh(made: Stack, guest: str) -> None:
    code, text = into(made, "console", guest, PATH="/nowhere")
    assert (code, "error[KVP706]" in text) == (1, True), text
    assert "libvirt-clients" in text
    assert made.host is not None
    with connection(made.host) as conn:
        conn.lookupByName(made.tag).destroy()
    code, text = into(made, "console", guest)
    assert (code, "error[KVP705]" in text) == (1, True), text


def test_outputs_that_are_not_there_or_no_text(made: Stack) -> None:
    made.specs["outputs"] = {"names": {"value": ["a", "b"]}}
    made.write()
    assert made.host is not None
    where = ("--specs", made.path, "--connect", made.host.uri)
    said(kvmplan("output", "name", *where), 1, "error[KVP701]", "did you mean 'names'?")
    said(kvmplan("output", "names", "--raw", *where), 1, "error[KVP702]", "--json")
    said(kvmplan("output", "names", *where), 0, '["a", "b"]')


def test_a_guest_that_was_paused_by_hand_is_not_restarted(made: Stack, guest: str) -> None:
    assert made.host is not None
    with connection(made.host) as conn:
        conn.lookupByName(made.tag).suspend()
    done = kvmplan("restart", guest, "--specs", made.path, "--connect", made.host.uri)
    said(done, 5, "error[KVP630]", "is not running")


def test_an_approval_of_another_plan(made: Stack) -> None:
    made.specs["domains"] = {made.tag: idle_domain()}
    done = made.run("apply", "--auto-approve", "--expect-digest", "sha256:0")
    said(done, 3, "error[KVP302]", "not sha256:0")
    assert made.plan().code == 2, "nothing was done"


def test_a_plan_file_that_cannot_be_written(made: Stack, tmp_path: Path) -> None:
    made.specs["domains"] = {made.tag: idle_domain()}
    done = made.run("plan", "--out", tmp_path / "missing" / "plan")
    said(done, 1, "error[KVP315]", "No such file or directory")


@pytest.mark.parametrize("flag", ["--allow-data-loss", "--allow-restart"])
def test_a_permission_names_the_kind(made: Stack, flag: str) -> None:
    made.specs["domains"] = {made.tag: idle_domain()}
    said(made.run("plan", flag, "*"), 1, "error[KVP251]", "must be written out")


def test_a_pool_that_cannot_be_refreshed(made: Stack, tmp_path: Path) -> None:
    tag, pool = made.tag, tmp_path / "pool"
    made.specs["pools"] = {tag: {"path": str(pool)}}
    made.specs["volumes"] = {f"{tag}/a.raw": {"capacity": "1MiB", "format": "raw"}}
    made.apply()
    pool.rename(tmp_path / "away")
    done = made.run("apply", "--auto-approve")
    said(done, 5, "warning[KVP513]", f"pool {tag} could not be refreshed")
    assert not pool.exists()
    (tmp_path / "away").rename(pool)
    made.apply()
    made.in_sync()


def test_secrets_that_may_not_be_read_are_not_compared(made: Stack) -> None:
    made.env["VNC_PASSWORD"] = "four4you"
    graphics = {"type": "vnc", "listen": "127.0.0.1", "password": SecretRef("VNC_PASSWORD")}
    made.specs["domains"] = {made.tag: idle_domain(graphics=[graphics], video="vga")}
    made.apply()
    said(made.plan("--read-only"), 0, "warning[KVP512]", "cannot be read")


def test_a_template_that_fails(made: Stack) -> None:
    made.specs["domains"] = {made.tag: idle_domain()}
    made.write()
    own = made.path / "templates"
    own.mkdir()
    (own / "domain.xml.j2").write_text("<domain>{{ nobody.knows }}</domain>")
    done = made.run("apply", "--auto-approve")
    said(done, 5, "KVP603", "domain.xml.j2", "nobody")
    assert made.host is not None
    with connection(made.host) as conn:
        assert made.tag not in [domain.name() for domain in conn.listAllDomains()]
