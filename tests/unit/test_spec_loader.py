"""YAML text -> nodes: scalar rules, places, anchors, tags, files."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvmplan.diagnostics import Diagnostics
from kvmplan.spec.loader import parse
from kvmplan.spec.node import Node, child, entries, plain
from tests.unit.test_spec_models import STACK, Loader, loader_in


@pytest.fixture
def specs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Loader:
    return loader_in(tmp_path, monkeypatch)


def read(text: str) -> Any:
    report = Diagnostics()
    node = parse(text, "a.yaml", report)
    assert not report.has_errors, list(report)
    return plain(node) if node else None


def errors(text: str) -> list[str]:
    report = Diagnostics()
    parse(text, "a.yaml", report)
    return [f"{d.place.line}:{d.place.column}: {d.summary}" for d in report if d.place]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0755", "0755"),
        ("00", "00"),
        ("007.5", "007.5"),
        ("0", 0),
        ("-12", -12),
        ("+3", 3),
        ("0o17", 15),
        ("0x1F", 31),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("-.inf", -math.inf),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("52:54:00:00:00:01", "52:54:00:00:00:01"),
        ("on", "on"),
        ("off", "off"),
        ("yes", "yes"),
        ("no", "no"),
        ("y", "y"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("'5'", "5"),
        ('"true"', "true"),
        ("2026-11-22", "2026-11-22"),
        ("!!str 5", "5"),
        ("!!int '5'", 5),
        ("! 5", "5"),
        ("9" * 5000, "9" * 5000),
        ("|\n  a\n  b\n", "a\nb\n"),
        ("=", "="),
        ("<<", "<<"),
    ],
)
def test_scalars(text: str, value: Any) -> None:
    found = read(f"key: {text}")["key"]
    assert found == value
    assert type(found) is type(value)


def test_keys_are_texts() -> None:
    assert read("{1: a, true: b, null: c, 0x10: d, on: e}") == {
        "1": "a",
        "true": "b",
        "null": "c",
        "0x10": "d",
        "on": "e",
    }


def test_places_of_keys_and_values() -> None:
    node = parse("a:\n  bc: 'text'\n  d: [1, 22]\n", "a.yaml", Diagnostics())
    assert node is not None
    below = entries(node)["a"].node
    assert entries(below)["bc"].mark == ("a.yaml", 2, 3, 2)
    assert entries(below)["bc"].node.mark == ("a.yaml", 2, 7, 6)
    items = entries(below)["d"].node.value
    assert isinstance(items, list)
    assert items[1].mark == ("a.yaml", 3, 10, 2)


def test_anchors_aliases_and_merge_keys() -> None:
    text = """
base: &base {a: 1, b: 2}
more: &more {b: 3, c: 4}
one: {<<: *base, b: 9}
two: {<<: [*base, *more], d: 5}
name: &name web
*name : same
"""
    found = read(text)
    assert found["one"] == {"a": 1, "b": 9}
    assert found["two"] == {"a": 1, "b": 2, "c": 4, "d": 5}
    assert found["web"] == "same"


def test_merged_values_keep_their_place() -> None:
    node = parse("x: &x {a: 1}\ny: {<<: *x}\n", "a.yaml", Diagnostics())
    assert node is not None
    assert entries(entries(node)["y"].node)["a"].mark[1] == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\nb: 2\na: 3\n", "3:1: 'a' is written twice in one mapping"),
        ("a: {x: 1, x: 2}", "1:11: 'x' is written twice in one mapping"),
        ("a: !sekret x", "1:4: unknown tag '!sekret'"),
        ("a: !!binary aGk=", "1:4: unknown tag '!!binary'"),
        ("a: 1\n---\nb: 2\n", "2:1: a second YAML document in one file"),
        ("a: *b", "1:4: '*b' has no anchor above it"),
        ("a: &a [*a]", "1:8: '*a' stands inside its own anchor"),
        ("{[1]: 2}", "1:2: a key must be a plain text"),
        ("a: !default 5", "1:4: !default takes no value"),
        ("a: !secret NAME", "1:4: !secret takes exactly one of env, file, command"),
        ("a: !secret {env: A, file: b}", "1:4: !secret takes exactly one of env, file, command"),
        ("a: !secret {command: ls}", "1:4: !secret takes exactly one of env, file, command"),
        ("<<: 5", "1:5: '<<' takes a mapping or a list of mappings"),
    ],
)
def test_problems_have_places(text: str, problem: str) -> None:
    assert errors(text) == [problem]


@pytest.mark.parametrize(
    "text", ["a: b: c", "a: [1", "\ta: 1", "a: 'x", "%x", "a: \x01", "{a", "@"]
)
def test_broken_yaml_is_a_diagnostic(text: str) -> None:
    report = Diagnostics()
    assert parse(text, "a.yaml", report) is None
    (problem,) = report
    assert problem.code == "KVP101"
    assert problem.place is not None
    assert problem.place.file == "a.yaml"


def test_duplicate_names_both_places() -> None:
    report = Diagnostics()
    parse("a: 1\na: 2\n", "a.yaml", report)
    (problem,) = report
    assert problem.remedy == "the first is at a.yaml:1:1"


def test_alias_bombs_are_stopped() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert "aliases stand for more than" in errors("\n".join(lines))[0]


def test_deep_nesting_is_stopped() -> None:
    assert "nested more than" in errors("[" * 500 + "]" * 500)[0]


@settings(max_examples=150, deadline=None)
@given(
    st.text(st.sampled_from("ab:-[]{}&*!<>|'\"#%@, \n\t0x.{}"), max_size=60) | st.text(max_size=60)
)
def test_no_text_makes_the_loader_raise(text: str) -> None:
    report = Diagnostics()
    node = parse(text.encode("utf-8", "replace").decode(), "a.yaml", report)
    assert node is None or isinstance(node, Node)


def test_tags_are_kept() -> None:
    node = parse("a: !default\nb: !raw '{{ x }}'\nc: '{{ x }}'\n", "a.yaml", Diagnostics())
    assert node is not None
    assert entries(node)["a"].node.tag == "default"
    assert not entries(node)["b"].node.dynamic
    assert entries(node)["c"].node.dynamic
    assert child(node, "a") is not None


def test_files_below_a_directory(specs: Loader) -> None:
    specs.write("specs/a.yaml", STACK)
    specs.write("specs/deep/b.yml", "pools: {vms: {path: /a}}")
    specs.write("specs/.hidden/c.yaml", "nonsense: 1")
    specs.write("specs/.d.yaml", "nonsense: 1")
    specs.write("specs/notes.txt", "nonsense: 1")
    specs.write("specs/empty.yaml", "# nothing yet\n")
    desired, report = specs.load()
    assert desired is not None, list(report)
    assert desired.sources == ("specs/a.yaml", "specs/deep/b.yml", "specs/empty.yaml")


def test_single_file(specs: Loader) -> None:
    from kvmplan.spec import LoadOptions, load

    specs.write("one.yaml", STACK)
    desired, _ = load(Path("one.yaml"), LoadOptions(), {})
    assert desired is not None
    assert desired.stack.name == "lab"


@pytest.mark.parametrize(
    ("content", "code", "part"),
    [
        (b"a: \xff\xfe", "KVP101", "not UTF-8"),
        (b"- a\n- b\n", "KVP101", "must hold a mapping"),
        (b"text", "KVP101", "must hold a mapping"),
    ],
)
def test_wrong_files(specs: Loader, content: bytes, code: str, part: str) -> None:
    specs.write("specs/a.yaml", STACK)
    specs.write("specs/b.yaml", content)
    desired, report = specs.load()
    assert desired is None
    (problem,) = report
    assert problem.code == code
    assert part in problem.summary
    assert problem.place is not None
    assert problem.place.file == "specs/b.yaml"


def test_byte_order_mark_is_no_text(specs: Loader) -> None:
    specs.write("specs/a.yaml", b"\xef\xbb\xbf" + STACK.encode())
    assert specs.load()[0] is not None


def test_missing_and_empty_directories(specs: Loader) -> None:
    _, report = specs.load()
    (problem,) = report
    assert (problem.code, problem.summary) == ("KVP100", "there is no specs")
    assert "kvmplan init" in (problem.remedy or "")
    (specs.root / "specs").mkdir()
    _, report = specs.load()
    assert "no spec files" in next(iter(report)).summary
