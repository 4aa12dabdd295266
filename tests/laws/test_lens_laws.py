"""GetPut, PutGet, nothing undeclared is lost: for every declared field, over real documents."""

import copy
from itertools import count

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from lxml import etree
from lxml.etree import _Element as Element

from kvmplan.address import Kind
from kvmplan.diff import diff
from kvmplan.kinds import MODELS
from kvmplan.mapping.document import canonical, parse, serialise
from kvmplan.mapping.lens import read
from kvmplan.mapping.markers import Policy
from kvmplan.mapping.model import Mapped, bindings
from tests.conftest import Tally
from tests.laws.documents import NAMES, Lens, context, kind_of, lens, text_of
from tests.laws.strategies import bound_paths, trees

QUICK = settings(
    max_examples=5,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
FIELDS = [(kind, path) for kind in Kind for path in bound_paths(MODELS[kind])]
WRITTEN = "documents written and read again"
DOCUMENTS = {kind: [kind.value, *(n for n in NAMES if kind_of(n) is kind)] for kind in Kind}


@pytest.mark.parametrize("name", NAMES)
def test_patching_nothing_changes_no_byte(name: str) -> None:
    text = serialise(parse(text_of(name)))
    seen = lens(name, {}).read()
    there = lens(name, seen)
    assert diff(there.read(seen), seen) == []
    there.patch(there.differences())
    assert serialise(there.root) == text


@pytest.mark.parametrize("name", NAMES)
def test_writing_what_was_read_reads_the_same(name: str) -> None:
    seen = lens(name, {}).read()
    for field, value in seen.items():
        there = lens(name, seen)
        there.patch([((field,), value, value)])
        assert there.read() == seen, field


@pytest.mark.parametrize("name", NAMES)
def test_real_documents_are_valid(name: str) -> None:
    model = MODELS[kind_of(name)]
    seen = read(model, parse(text_of(name)), context(kind_of(name), {}))
    model.model_validate(seen, context={"live": True})


def put_get(there: Lens) -> None:
    there.patch(there.differences())
    note(serialise(there.root))
    assert there.read(there.desired) == there.desired
    assert there.differences() == []
    once = serialise(there.root)
    there.patch(there.differences())
    assert serialise(there.root) == once


@pytest.mark.parametrize(
    ("kind", "path"), FIELDS, ids=[f"{kind}.{'.'.join(path)}" for kind, path in FIELDS]
)
def test_every_field_reads_as_it_was_written(
    kind: Kind, path: tuple[str, ...], tally: Tally
) -> None:
    @QUICK
    @given(desired=trees(MODELS[kind], path), name=st.sampled_from(DOCUMENTS[kind]))
    def check(desired: dict[str, object], name: str) -> None:
        tally("laws", WRITTEN, 1)
        put_get(Lens(kind, parse(text_of(name)), desired))

    check()


@pytest.mark.parametrize("kind", Kind)
def test_trees_read_as_they_were_written(kind: Kind, tally: Tally) -> None:
    @settings(QUICK, max_examples=40)
    @given(desired=trees(MODELS[kind]), name=st.sampled_from(DOCUMENTS[kind]))
    def check(desired: dict[str, object], name: str) -> None:
        tally("laws", WRITTEN, 1)
        put_get(Lens(kind, parse(text_of(name)), desired))

    check()


SAFE = (
    "devices",
    "metadata",
    "features",
    "clock",
    "devices/disk",
    "devices/interface",
    "ip",
    "dns",
)
"""Elements that an update never takes out as a whole, below a document's root."""


def strange(number: int) -> list[Element]:
    """What no declaration knows: a foreign element, an unknown one, a comment."""
    foreign = etree.Element("{urn:strange}thing", {"id": f"f{number}"}, nsmap={"s": "urn:strange"})
    etree.SubElement(foreign, "inside").text = " kept "
    return [foreign, etree.Element("unknown", {"id": f"u{number}"}), etree.Comment(f"c{number}")]


def sow(root: Element) -> dict[str, tuple[Element, bytes]]:
    """Put strange nodes everywhere it is safe; each with its parent and canonical form."""
    numbers, sown = count(), {}
    for parent in [root, *(node for path in SAFE for node in root.findall(path))]:
        number = next(numbers)
        parent.set(f"strange{number}", "kept")
        for position, node in zip((0, len(parent) // 2, len(parent)), strange(number), strict=True):
            parent.insert(position, node)
            sown[f"{number}.{position}.{node.tag}"] = (node, etree.tostring(node, with_tail=False))
    return sown


@pytest.mark.parametrize("kind", Kind)
def test_nothing_undeclared_is_lost(kind: Kind, tally: Tally) -> None:
    @settings(QUICK, max_examples=30)
    @given(desired=trees(MODELS[kind]), name=st.sampled_from(DOCUMENTS[kind]))
    def check(desired: dict[str, object], name: str) -> None:
        tally("laws", "documents with what nobody declared", 1)
        there = Lens(kind, parse(text_of(name)), desired)
        sown = sow(there.root)
        kept = [change for change in there.differences() if change[2] is not None]
        there.patch(kept)
        for node, text in sown.values():
            assert node.getroottree().getroot() is there.root
            assert etree.tostring(node, with_tail=False) == text
        strangers = {key for node in there.root.iter() for key in node.attrib if "strange" in key}
        assert len(strangers) == len(sown) // 3

    check()


@pytest.mark.parametrize("name", ["domain-disks", "domain-nics"])
def test_patching_one_item_changes_no_other(name: str) -> None:
    field, tag = ("disks", "disk") if name == "domain-disks" else ("interfaces", "interface")
    item = bindings(MODELS[Kind.DOMAIN])[field].item
    assert item is not None
    keys = sorted(lens(name, {}).read()[field])

    @settings(QUICK, max_examples=60)
    @given(key=st.sampled_from(keys), wanted=trees(item))
    def check(key: str, wanted: dict[str, object]) -> None:
        identity = {
            name: there_is for name, there_is in whole[key].items() if name in ("target", "mac")
        }
        there = lens(name, {})
        before = [canonical(node) for node in there.root.iter(tag)]
        outside = canonical(without(there.root, tag))
        wanted = {**wanted, **identity}
        wanted.pop("boot", None)
        edits = [((field, key, inner), None, value) for inner, value in wanted.items()]
        there.patch(edits)
        after = [canonical(node) for node in there.root.iter(tag)]
        assert sum(one != other for one, other in zip(before, after, strict=True)) <= 1
        assert canonical(without(there.root, tag)) == outside

    whole = lens(name, {}).read()[field]
    check()


def without(root: Element, tag: str) -> Element:
    copied = copy.deepcopy(root)
    for node in list(copied.iter(tag)):
        parent = node.getparent()
        assert parent is not None
        parent.remove(node)
    return copied


def test_the_laws_cover_every_declaration() -> None:
    """What has a path is read and written above; a place that the strategies skip is found here."""
    covered = {binding_at_field(MODELS[kind], path) for kind, path in FIELDS}
    for model in {owner for owner, _ in covered}:
        skipped = {name for name, b in bindings(model).items() if isinstance(b.place, Policy)}
        assert {name for owner, name in covered if owner is model} == set(bindings(model)) - skipped


def binding_at_field(model: type[Mapped], path: tuple[str, ...]) -> tuple[type[Mapped], str]:
    for name in path[:-1]:
        inner = bindings(model)[name].item
        assert inner is not None
        model = inner
    return model, path[-1]
