"""References to libvirt's secrets: by usage id, or by uuid."""

from __future__ import annotations

import re
from typing import Any

from lxml import etree
from lxml.etree import _Element as Element

from kvmplan.mapping.markers import Through

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def secret_reference(**attributes: str) -> Through:
    """The ``<secret>`` of an element; `attributes` are what a new one has beside the reference."""

    def read(element: Element, _: Any) -> str | None:
        secret = element.find("secret")
        return None if secret is None else secret.get("usage") or secret.get("uuid")

    def write(element: Element, value: str | None, _: Any) -> None:
        for old in element.findall("secret"):
            element.remove(old)
        if value is not None:
            by = "uuid" if UUID.fullmatch(value) else "usage"
            element.insert(0, etree.Element("secret", {**attributes, by: value}))

    return Through(read, write, "./secret")
