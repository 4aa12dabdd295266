"""A domain that was defined right now is read by the handle that defining it gave."""

from __future__ import annotations

from typing import Any

import libvirt

from kvmplan.address import LOCAL, Address, Kind
from kvmplan.host.domains import record_domain

WEB = Address(LOCAL, Kind.DOMAIN, "web")


class Handle:
    """A domain's handle; without a name, one whose domain is gone."""

    def __init__(self, uuid: str, name: str | None) -> None:
        self._uuid, self._name = uuid, name

    def UUIDString(self) -> str:
        return self._uuid

    def XMLDesc(self, flags: int) -> str:
        if self._name is None:
            raise missing()
        return f"<domain><name>{self._name}</name></domain>"


class Connection:
    """A connection that knows one domain, and counts how often it is asked for it."""

    def __init__(self, found: Handle | None) -> None:
        self._found, self.asked = found, 0

    def lookupByName(self, name: str) -> Any:
        self.asked += 1
        if self._found is None:
            raise missing()
        return self._found


def missing() -> libvirt.libvirtError:
    error = libvirt.libvirtError("gone")
    error.err = (libvirt.VIR_ERR_NO_DOMAIN, 10, "gone", 2, "", None, None, -1, -1)
    return error


def test_the_handle_spares_a_look_for_the_name() -> None:
    connection = Connection(None)
    record = record_domain(connection, WEB, Handle("u1", "web"), secure=False, brief=True)
    assert record is not None
    assert (record.key, connection.asked) == ("u1", 0)


def test_a_handle_that_leads_elsewhere_is_not_believed() -> None:
    for known in (Handle("u1", None), Handle("u1", "renamed")):
        connection = Connection(Handle("u2", "web"))
        record = record_domain(connection, WEB, known, secure=False, brief=True)
        assert record is not None
        assert (record.key, connection.asked) == ("u2", 1)
        assert record_domain(Connection(None), WEB, known, secure=False, brief=True) is None
