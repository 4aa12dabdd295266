"""The verb that waits for a guest, and the one that unplugs what it is done with.

A wait is one look, so that nobody is kept waiting by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import libvirt
from lxml import etree

from kvmplan.apply.port import HostError, NotReady
from kvmplan.host.actuators_device import detach
from kvmplan.host.guests import CANNOT_ASK, addresses, agent_answers, has_agent, read_file
from kvmplan.host.verb import Target, code_of, verb
from kvmplan.kinds.verbs import Scope, Verb
from kvmplan.mapping.foreign import read_json

CONNECT_SECONDS = 2.0
CLOUD_INIT_RESULT = "/run/cloud-init/result.json"
"""Written when the last stage of a boot is over, whichever datasource it was:
https://docs.cloud-init.io/en/latest/explanation/failure_states.html"""


@verb(Verb.WAIT_FOR)
def wait_for(
    target: Target,
    *,
    what: str,
    timeout: float,
    port: int | None = None,
    old: Sequence[Sequence[Any]] = (),
) -> None:
    """Look whether a guest is ready in one respect."""
    domain = target.find()
    if domain.state()[0] not in (libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_BLOCKED):
        raise HostError("its guest is not running any more")
    match what:
        case "address":
            _address(target, domain, old)
        case "tcp":
            assert port is not None
            _tcp(target, domain, port)
        case "agent":
            if not (has_agent(domain) and agent_answers(domain)):
                raise NotReady("its agent has not answered")
        case "cloud-init":
            _cloud_init(domain)


@verb(Verb.EJECT)
def eject(guest: Target, /, *, target: str, path: str) -> None:
    """Unplug a disk that holds a certain file; gone already is as good."""
    domain = guest.find()
    for document in (domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE), domain.XMLDesc(0)):
        found = f"devices/disk[target/@dev='{target}']/source"
        sources: Any = etree.fromstring(document).xpath(found)
        for source in sources:
            if path not in (source.get("file"), source.get("dev")):
                raise HostError(f"{target} holds something else than its seed, and is left alone")
    xml, find = f"<disk><target dev='{target}'/></disk>", "./devices/disk/target"
    detach(guest, xml=xml, scope=Scope.BOTH, find=find, key={"dev": target})


def _address(target: Target, domain: Any, old: Sequence[Sequence[Any]]) -> None:
    """A lease from before the start says nothing, unless it has been renewed or never ends."""
    stale = {tuple(entry) for entry in old if entry[-1]}
    for found in addresses(target.connection, domain):
        if (found.mac, found.ip, found.expires) not in stale:
            return
    raise NotReady("it has neither a DHCP lease nor an agent that tells an address")


def _tcp(target: Target, domain: Any, port: int) -> None:
    import socket

    found = addresses(target.connection, domain)
    if not found:
        raise NotReady(f"nothing answers on port {port}: it has no address that is known")
    refused = []
    for address in found:
        try:
            with socket.create_connection((address.ip, port), CONNECT_SECONDS):
                return
        except OSError as error:
            why = error.strerror or "no answer"
            refused.append(f"{address.ip} ({why.lower()})")
    raise NotReady(f"nothing answers on port {port} of {', '.join(refused)}")


def _cloud_init(domain: Any) -> None:
    try:
        text = read_file(domain, CLOUD_INIT_RESULT) if has_agent(domain) else None
    except libvirt.libvirtError as error:
        if code_of(error) in CANNOT_ASK:
            raise NotReady("its agent has not answered, which would tell") from error
        if "disabled" in str(error) or "not allowed" in str(error):
            what = f"its agent may not read {CLOUD_INIT_RESULT}: wait for the agent or a port"
            raise HostError(what) from error
        raise
    if text is None:
        raise NotReady("its cloud-init has not finished")
    errors = _errors(text)
    if errors:
        raise HostError(f"its cloud-init finished with errors: {'; '.join(errors)}")


def _errors(text: str) -> list[str]:
    try:
        return [str(error) for error in read_json(text)["v1"]["errors"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise NotReady(f"{CLOUD_INIT_RESULT} is not written out") from error
