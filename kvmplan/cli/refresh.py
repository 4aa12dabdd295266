"""Pools are read again before an apply, once each: files come and go behind libvirt's back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvmplan.address import Address, Kind
from kvmplan.kinds.verbs import Verb

if TYPE_CHECKING:
    from kvmplan.cli.session import Session


def refresh_pools(session: Session) -> None:
    """Refresh the active pools that the stack has volumes in; one that is busy is left as it is."""
    from kvmplan.apply.port import ConnectionLost, HostError
    from kvmplan.cli.session import translated
    from kvmplan.inventory import Wanted

    for name, host in session.hosts.items():
        with translated(session, name):
            uid = session.desired.stack.uid
            inventory = host.inventory(
                Wanted(frozenset(), stack_uid=uid, claimed=False, volumes=False)
            )
            used = {
                a.pool
                for a in session.desired.resources
                if a.kind is Kind.VOLUME and a.host == name
            }
            claims = inventory.claims.entries if inventory.claims else {}
            used |= {
                s.removeprefix("volume.").partition("/")[0]
                for s in claims
                if s.startswith("volume.")
            }
            for pool in sorted(used):
                record = inventory.record(Address(name, Kind.POOL, pool))
                if record is None or not record.active:
                    continue
                try:
                    host.perform(Verb.REFRESH, record.address, {})
                except ConnectionLost:
                    raise
                except HostError as error:
                    text = f"host '{name}': pool {pool} could not be refreshed: {error}"
                    session.warnings.warning(
                        "KVP513",
                        text,
                        remedy="a running storage job ends by itself; apply again then",
                    )
