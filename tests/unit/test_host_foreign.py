"""What anybody may have written on a host: marks and locks that nobody can read."""

from __future__ import annotations

from typing import Any

import pytest
from lxml import etree

from kvmplan.host import lock
from kvmplan.host.secrets import SecretHandle
from kvmplan.kinds.mark import NAMESPACE, read_mark

DEEP = "[" * 50_000


@pytest.mark.parametrize(
    "text",
    [
        DEEP,
        '{"applied":' + DEEP,
        '{"applied":[1],"keys":{}}',
        '{"applied":"x","keys":{}}',
        '{"applied":{},"keys":{"a":[]}}',
        '{"applied":{},"keys":{"a":{"b":1}}}',
        '{"applied":{"a":' + "[" * 200 + "]" * 200 + '},"keys":{}}',
    ],
)
def test_a_mark_that_nobody_can_read_is_none(text: str) -> None:
    root = etree.Element("domain")
    node = etree.SubElement(etree.SubElement(root, "metadata"), f"{{{NAMESPACE}}}object")
    node.text = text
    assert read_mark(root) is None


@pytest.mark.parametrize(
    "text",
    [
        DEEP,
        '{"beat":1e999,"who":"a","operation":"b","since":"c"}',
        '{"beat":1,"who":' + "[" * 900 + "]" * 900 + ',"operation":"b","since":"c"}',
    ],
)
def test_a_lock_that_nobody_can_read_holds(text: str) -> None:
    class Handle:
        def XMLDesc(self, flags: int) -> str:
            return f"<secret><description>{text}</description></secret>"

    handle: Any = Handle()
    found = lock._decode(SecretHandle("id", f"{lock.PREFIX}uid", handle))
    assert found is not None
    assert (found.id, found.stack_uid) == ("id", "uid")
