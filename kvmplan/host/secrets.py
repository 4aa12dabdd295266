"""Records in libvirt secrets: a usage name that only one can hold, and a description as its text.

Usage names are claimed atomically by libvirt, and descriptions can be read on read-only
connections; so nothing confidential may be written into one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import libvirt
from lxml import etree

from kvmplan.host.errors import translate
from kvmplan.mapping.document import parse_huge

PREFIX = "kvmplan/"
_TAKEN = "already defined for use with"


class UsageTaken(Exception):
    """Another secret holds this usage name."""


@dataclass(frozen=True, slots=True)
class SecretHandle:
    """A secret of ours as listed: nothing here has cost a call."""

    uuid: str
    usage: str
    handle: Any

    def text(self) -> str | None:
        """Its description; None if it is gone by now."""
        try:
            document = parse_huge(self.handle.XMLDesc(0))
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_SECRET:
                return None
            raise
        return document.findtext("./description") or ""


def listed(connection: Any, prefix: str) -> list[SecretHandle]:
    """Our secrets whose usage name begins with `prefix`, by usage name."""
    found = [
        SecretHandle(handle.UUIDString(), handle.usageID(), handle)
        for handle in connection.listAllSecrets(0)
        if handle.usageType() == libvirt.VIR_SECRET_USAGE_TYPE_CEPH
        and handle.usageID().startswith(prefix)
    ]
    return sorted(found, key=lambda secret: secret.usage)


def define(connection: Any, uuid: str, usage: str, text: str) -> Any:
    """Create or rewrite the secret with this uuid.

    Raises:
        UsageTaken: the usage name belongs to a secret with another uuid.
        libvirtError: whatever else libvirt answers.
    """
    secret = etree.Element("secret", ephemeral="no", private="no")
    etree.SubElement(secret, "uuid").text = uuid
    etree.SubElement(secret, "description").text = text
    # Usage type ceph is the one that takes a free name and needs no ceph.
    of = etree.SubElement(secret, "usage", type="ceph")
    etree.SubElement(of, "name").text = usage
    try:
        return connection.secretDefineXML(etree.tostring(secret, encoding="unicode"), 0)
    except libvirt.libvirtError as error:
        internal = error.get_error_code() == libvirt.VIR_ERR_INTERNAL_ERROR
        if internal and _TAKEN in translate(error).message:
            raise UsageTaken(usage) from error
        raise


def exists(connection: Any, uuid: str) -> bool:
    """Whether the secret is there."""
    try:
        connection.secretLookupByUUIDString(uuid)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_SECRET:
            return False
        raise
    return True


def undefine(connection: Any, uuid: str) -> bool:
    """Remove the secret; False if it was not there."""
    try:
        connection.secretLookupByUUIDString(uuid).undefine()
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_SECRET:
            return False
        raise
    return True
