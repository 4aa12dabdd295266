"""GetPut, PutGet, nothing undeclared is lost: for every declared field, over real documents."""

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from lxml import etree

from kvmplan.address import Kind
from kvmplan.diff import diff
from kvmplan.kinds import MODELS
from kvmplan.mapping.document import canonical, parse, serialise
from kvmplan.mapping.lens import read
from kvmplan.mapping.model import Mapped, binding_at, bindings
from tests.laws.documents import NAMES, Lens, context, kind_of, lens, text_of
from tests.laws.strategies import bound_paths, trees

QUICK = settings(
    max_examples=5,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
FIELDS = [(kind, path) for kind in Kind for path in bound_paths(MODELS[kind])]
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


@pytest.mark.parametrize(("kind", "path"), FIELDS, ids=[f"{kind}.{'.'.join(path)}" for kind, path in FIELDS])
def test_every_field_reads_as_it_was_written(kind: Kind, path: tuple[str, ...]) -> None:
    @QUICK
    @given(desired=trees(MODELS[kind], path), name=st.sampled_from(DOCUMENTS[kind]))
    def check(desired: dict[str, object], name: str) -> None:
        there = Lens(kind, parse(text_of(name)), desired)
        put_get(there)

    check()


@pytest.mark.parametrize("kind", Kind)
def test_trees_read_as_they_were_written(kind: Kind) -> None:
    @settings(QUICK, max_examples=40)
    @given(desired=trees(MODELS[kind]), name=st.sampled_from(DOCUMENTS[kind]))
    def check(desired: dict[str, object], name: str) -> None:
        put_get(Lens(kind, parse(text_of(name)), desired))

    check()
