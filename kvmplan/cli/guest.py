"""``ssh`` and ``console``: into a guest, by its address in the stack; no shell in between."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from typing import TYPE_CHECKING, Any

import click

from kvmplan.cli import flags
from kvmplan.cli.output import choose
from kvmplan.diagnostics import fail

if TYPE_CHECKING:
    from kvmplan.address import Address
    from kvmplan.cli.session import Session
    from kvmplan.inventory import Record

into = flags.together(
    click.argument("address", metavar="ADDRESS"),
    click.option("--specs", "path", default=None, help="Where the specs are.  [default: specs/]"),
    flags.spec_flags,
    flags.connect_flags,
    flags.color_flags,
)


@click.command()
@into
@click.argument("command", nargs=-1)
@click.option("--user", "-l", metavar="NAME", help="Whom to log in as.")
@click.option("--identity", "-i", metavar="FILE", help="The private key.")
@click.option("--option", "-o", "options", multiple=True, metavar="K=V", help="An option of ssh's.")
def ssh(
    address: str,
    command: tuple[str, ...],
    user: str | None,
    identity: str | None,
    options: tuple[str, ...],
    path: str | None,
    **given: Any,
) -> None:
    """Log in to a guest by ssh, or run a command there: kvmplan ssh domain.web -- uptime."""
    from kvmplan.cli.reach import jump_host

    session, target, record = _guest(address, path, given, "ssh")
    try:
        ip = _ip(session, target, record)
        jump = jump_host(session.uri(target.host))
    finally:
        session.close()
    words = ["ssh", *ssh_options(target, record.key, jump)]
    words += [part for option in options for part in ("-o", option)]
    words += ["-l", user] if user else []
    words += ["-i", identity] if identity else []
    # ssh gives a remote shell one line: several words arrive as the words they are here.
    rest = [command[0]] if len(command) == 1 else [shlex.join(command)] if command else []
    _become([*words, "--", ip, *rest], "openssh-client")


def ssh_options(target: Address, uuid: str, jump: str) -> list[str]:
    """What a guest is special in: its host key is that of its uuid, whatever its address is.

    An address that another guest had before is no reason for an alarm, nor is one's own new one.
    """
    options = ["-o", f"HostKeyAlias={target.leaf}.{uuid}", "-o", "StrictHostKeyChecking=accept-new"]
    options += ["-o", "CheckHostIP=no", "-o", "ConnectTimeout=10"]
    return [*options, "-J", jump] if jump else options


@click.command()
@into
def console(address: str, path: str | None, **given: Any) -> None:
    """Open a guest's serial console; Ctrl-] leaves it."""
    session, target, record = _guest(address, path, given, "console")
    uri = session.uri(target.host)
    session.close()
    if not record.active:
        raise fail("KVP705", f"{target.short} is not running", remedy="`kvmplan start` it")
    _become(["virsh", "--connect", uri, "console", "--domain", target.name], "libvirt-clients")


def _guest(
    text: str, path: str | None, given: dict[str, Any], operation: str
) -> tuple[Session, Address, Record]:
    """The domain that an address names, on its open host.

    Raises:
        Failure: KVP252, no address of a domain; KVP253, there is none.
    """
    from kvmplan.address import Kind
    from kvmplan.cli.plan import session_of
    from kvmplan.cli.session import translated
    from kvmplan.cli.show import address_of
    from kvmplan.spec.suggest import did_you_mean

    choose(color=given["color"], no_color=given["no_color"], json=False, operation=operation)
    session = session_of(path, given, secrets=False)
    try:
        target = address_of(session, text)
        if target.kind is not Kind.DOMAIN:
            raise fail("KVP252", f"{target.short} is no domain", remedy="write domain.NAME")
        with translated(session, target.host):
            record = session.hosts[target.host].record(target)
        if record is None:
            specs = session.desired.resources
            known = [it.short for it in specs if it.kind is Kind.DOMAIN and it.host == target.host]
            remedy = did_you_mean(target.short, sorted(known), "the specs have")
            raise fail("KVP253", f"{target.short} is not on host '{target.host}'", remedy=remedy)
    except BaseException:
        session.close()
        raise
    return session, target, record


def _ip(session: Session, target: Address, record: Record) -> str:
    """The address to reach a guest by. Raises `Failure`: KVP704."""
    from kvmplan.cli.session import translated
    from kvmplan.plan.livenames import best_address

    with translated(session, target.host):
        known = session.hosts[target.host].addresses(target)
    ip = best_address(session.desired.resources.get(target), known)
    if ip is None:
        summary = "has no address that is known: no lease, no agent, no `ip` in its spec"
        remedy = f"see whether it has booted: kvmplan console {target.short}"
        if not record.active:
            summary, remedy = "is not running", f"kvmplan start {target.short}"
        raise fail("KVP704", f"{target.short} {summary}", remedy=remedy)
    return ip


def _become(words: list[str], package: str) -> None:
    """Become another program. Raises `Failure`: KVP706, it is not here."""
    program = shutil.which(words[0])
    if program is None:
        raise fail("KVP706", f"there is no {words[0]} here", remedy=f"install {package}")
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(program, words)
