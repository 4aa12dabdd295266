"""Overlays: merging twice is merging once, and a merged overlay is satisfied."""

from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree
from lxml.etree import _Element as Element

from kvmplan.mapping.document import parse, serialise
from kvmplan.mapping.overlay import merge, satisfied

LEAVES = ("disk", "controller", "arg", "model", "target", "driver", "feature", "boot")


@st.composite
def elements(draw: st.DrawFn, tag: str, depth: int = 3) -> Element:
    node = etree.Element(tag)
    for name in draw(
        st.lists(st.sampled_from(["type", "index", "dev", "name", "value"]), max_size=2)
    ):
        node.set(name, draw(st.sampled_from("ab")))
    if depth == 0 or draw(st.booleans()):
        node.text = draw(st.sampled_from([None, "x", "y"]))
        return node
    inner = {3: ("devices", "os", "cpu", "commandline"), 2: LEAVES, 1: LEAVES}[depth]
    for child in draw(st.lists(st.sampled_from(inner), max_size=4)):
        node.append(draw(elements(child, depth - 1)))
    return node


@settings(max_examples=300, deadline=None, derandomize=True)
@given(document=elements("domain"), fragment=elements("domain"))
def test_merging_is_idempotent_and_satisfies(document: Element, fragment: Element) -> None:
    text = serialise(fragment)
    merge(document, fragment)
    assert satisfied(document, parse(text))
    once = serialise(document)
    merge(document, parse(text))
    assert serialise(document) == once
    assert serialise(fragment) == text
