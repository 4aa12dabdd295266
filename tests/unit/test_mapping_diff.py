"""The difference of two trees: paths, values, and the traps of Python's equality."""

from types import MappingProxyType
from typing import Any

import pytest

from kvmplan.diff import at, diff
from kvmplan.mapping.types import SecretText

ODD = [
    "52:54:00:aa:00:01",
    "fd00:10::1/64",
    "10.10.0.1/24",
    "https://example.org/ns#a?b=c",
    "it's \"quoted\" [0]['x']",
    "a.b",
    "__private__",
    "__",
    "",
    "root",
    "ümlaut {{ }}",
]


@pytest.mark.parametrize(
    ("live", "desired", "expected"),
    [
        ({}, {}, []),
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 2}, [(("a",), 1, 2)]),
        ({"a": None}, {}, []),
        ({"a": None}, {"a": {"x": 1}}, [(("a",), None, {"x": 1})]),
        ({"a": {"x": 1}}, {"a": None}, [(("a",), {"x": 1}, None)]),
        ({"a": {"x": None}}, {"a": {"x": 1}}, [(("a", "x"), None, 1)]),
        ({"a": True}, {"a": 1}, [(("a",), True, 1)]),
        ({"a": 0}, {"a": False}, [(("a",), 0, False)]),
        ({"a": {"b": {"c": False}}}, {"a": {"b": {"c": 0}}}, [(("a", "b", "c"), False, 0)]),
        ({"a": 1}, {"a": "1"}, [(("a",), 1, "1")]),
        ({"a": 1}, {"a": 1.0}, []),
        ({"a": ("x", "y")}, {"a": ["x", "y"]}, []),
        ({"a": ("x", "y")}, {"a": ("y", "x")}, [(("a",), ("x", "y"), ("y", "x"))]),
        ({"a": ("x",)}, {"a": ("x", "y")}, [(("a",), ("x",), ("x", "y"))]),
        ({"a": (1,)}, {"a": (True,)}, [(("a",), (1,), (True,))]),
        ({"a": {}}, {}, [(("a",), {}, None)]),
        ({}, {"a": {}}, [(("a",), None, {})]),
        ({"a": {}}, {"a": {"k": {"x": 1}}}, [(("a", "k"), None, {"x": 1})]),
        ({"a": {"k": {"x": 1}}}, {"a": {}}, [(("a", "k"), {"x": 1}, None)]),
        ({"a": ()}, {"a": None}, [(("a",), (), None)]),
        ({"b": 1, "a": {"d": 1}}, {}, [(("a",), {"d": 1}, None), (("b",), 1, None)]),
        ({"a": "x"}, {"a": {"x": 1}}, [(("a",), "x", {"x": 1})]),
        (MappingProxyType({"a": 1}), {"a": 2}, [(("a",), 1, 2)]),
    ],
)  # fmt: skip
def test_differences(live: Any, desired: Any, expected: Any) -> None:
    found = diff(live, desired)
    assert found == expected
    assert [type(after) for *_, after in found] == [type(after) for *_, after in expected]


@pytest.mark.parametrize("key", ODD)
def test_keys_are_opaque(key: str) -> None:
    assert diff({"c": {key: {key: 1}}}, {"c": {key: {key: 2}}}) == [(("c", key, key), 1, 2)]
    assert diff({"c": {}}, {"c": {key: {}}}) == [(("c", key), None, {})]
    assert diff({"c": {key: {}}}, {"c": {}}) == [(("c", key), {}, None)]


def test_order_is_that_of_the_paths() -> None:
    keys = [*ODD, "z", "a"]
    found = diff(dict.fromkeys(keys, 1), dict.fromkeys(reversed(keys), 2))
    assert [path for path, _, _ in found] == sorted((key,) for key in keys)


def test_a_secret_is_a_value_and_not_walked_into() -> None:
    one, other = SecretText("one"), SecretText("other")
    assert diff({"p": one}, {"p": SecretText("one")}) == []
    found = diff({"p": {"q": one}}, {"p": {"q": other}})
    assert found == [(("p", "q"), one, other)]
    assert "one" not in repr(found)


def test_at() -> None:
    tree = {"a": {"b": 1}, "c": (1,)}
    assert [at(tree, path) for path in [("a", "b"), ("a", "x"), ("c", "d"), ()]] == [
        1,
        None,
        None,
        tree,
    ]
