"""Documents are validated once for each shape; what is wrong elsewhere is found all the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from lxml import etree

from kvmplan.address import Kind
from kvmplan.apply import schema
from kvmplan.apply.problems import Invalid
from kvmplan.apply.schema import Schemas
from kvmplan.mapping.document import parse

GRAMMAR = """
<grammar xmlns="http://relaxng.org/ns/structure/1.0"
         datatypeLibrary="http://www.w3.org/2001/XMLSchema-datatypes">
  <start>
    <element name="domain">
      <element name="name"><data type="string"><param name="pattern">[^/]+</param></data></element>
      <element name="title"><text/></element>
      <element name="memory"><data type="unsignedInt"/></element>
      <element name="source">
        <attribute name="file">
          <data type="string"><param name="pattern">/.+</param></data>
        </attribute>
      </element>
    </element>
  </start>
</grammar>
"""


class Counted:
    """A schema that counts how often it is asked."""

    def __init__(self) -> None:
        self._schema, self.asked = etree.RelaxNG(etree.fromstring(GRAMMAR)), 0

    @property
    def error_log(self) -> object:
        return self._schema.error_log

    def validate(self, document: etree._Element) -> bool:
        self.asked += 1
        return bool(self._schema.validate(document))


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    made = Counted()
    monkeypatch.setattr(schema, "_load", lambda file: made)
    return made


def check(schemas: Schemas, **values: str) -> bool:
    given = {"name": "a", "title": "one", "memory": "1024", "source": "/a.raw", **values}
    text = (
        "<domain><name>{name}</name><title>{title}</title><memory>{memory}</memory>"
        '<source file="{source}"/></domain>'
    )
    return schemas.check(Kind.DOMAIN, parse(text.format(**given)))


def test_documents_of_one_shape_are_validated_once(counted: Counted) -> None:
    schemas = Schemas("qemu:///system", Path())
    for number in range(5):
        assert check(schemas, name=f"vm{number}", title=f"vm {number}", source=f"/{number}.raw")
    assert counted.asked == 1
    assert check(schemas, memory="2048")
    assert counted.asked == 2


@pytest.mark.parametrize(
    ("field", "value"),
    [("memory", "much"), ("name", "a/b"), ("name", ""), ("source", "a.raw"), ("source", "")],
)
def test_what_is_wrong_is_found_after_a_valid_one(counted: Counted, field: str, value: str) -> None:
    schemas = Schemas("qemu:///system", Path())
    assert check(schemas)
    for _ in range(2):
        with pytest.raises(Invalid, match=field):
            check(schemas, **{field: value})
    assert counted.asked == 3
