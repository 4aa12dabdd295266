"""Colour decisions, values, and output on streams of any encoding."""

from __future__ import annotations

import io

import pytest

from kvmplan.address import Kind
from kvmplan.mapping.secrecy import SENSITIVE
from kvmplan.plan.change import FieldChange, Path
from kvmplan.views.redact import plain, sensitive_map
from kvmplan.views.style import ColorMode, Meaning, Style, emit, printable, style_for, wants_color
from kvmplan.views.values import Values, shorten, text_change

AUTO, ALWAYS, NEVER = ColorMode.AUTO, ColorMode.ALWAYS, ColorMode.NEVER


@pytest.mark.parametrize(
    ("mode", "flag", "terminal", "env", "expected"),
    [
        (AUTO, False, True, {}, True),
        (AUTO, False, False, {}, False),
        (AUTO, False, True, {"TERM": "dumb"}, False),
        (AUTO, False, True, {"NO_COLOR": "1"}, False),
        (AUTO, False, True, {"NO_COLOR": ""}, True),
        (AUTO, False, False, {"FORCE_COLOR": "1"}, True),
        (AUTO, False, False, {"FORCE_COLOR": ""}, False),
        (AUTO, False, True, {"FORCE_COLOR": "0"}, False),
        (AUTO, False, True, {"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
        (ALWAYS, False, False, {"NO_COLOR": "1"}, True),
        (NEVER, False, True, {"FORCE_COLOR": "1"}, False),
        (AUTO, True, True, {"FORCE_COLOR": "1"}, False),
        (ALWAYS, True, True, {}, False),
    ],
)
def test_who_gets_colour(
    mode: ColorMode, flag: bool, terminal: bool, env: dict[str, str], expected: bool
) -> None:
    assert wants_color(mode, no_color=flag, terminal=terminal, environment=env) is expected


def test_a_pipe_gets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    assert style_for(io.StringIO()) == Style(False)
    assert style_for(io.StringIO(), ALWAYS).paint("x", Meaning.ADD) == "\x1b[32mx\x1b[0m"


def test_a_poor_encoding_is_no_traceback() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    emit(stream, "a · b\n")
    assert raw.getvalue() == b"a ? b\n"


def test_control_characters_are_spelled_out() -> None:
    assert printable("a\x1b[0m\x9b\n") == r"a\x1b[0m\x9b\n"


def values(*sensitive: tuple[str, ...]) -> Values:
    return Values(Kind.DOMAIN, lambda kind, path, value: str(value), sensitive)


@pytest.mark.parametrize(
    ("path", "value", "shown"),
    [
        (("disks",), {"vda": {"target": "vda", "file": "/a"}}, "{vda: {file: /a}}"),
        (("disks", "vda"), {"target": "vda", "serial": "vda"}, "{serial: vda}"),
        (("interfaces",), {"lan": {"network": "lan"}}, "{lan: {network: lan}}"),
        (("numa", "cells"), {"0": {"id": 0, "cpus": "0"}}, "{0: {cpus: 0}}"),
        (("channels",), {"a": {"name": "a"}, "b": {"name": "b"}}, "[a, b]"),
    ],
)
def test_a_member_does_not_repeat_its_key(path: Path, value: object, shown: str) -> None:
    assert Values(Kind.DOMAIN).text(path, value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "(none)"),
        (True, "true"),
        (4, "4"),
        ({}, "{}"),
        ([], "[]"),
        ({"a": [1, {"b": None}]}, "{a: [1, {b: (none)}]}"),
        ("x" * 70, "x" * 59 + "… (70 characters)"),
        ("one\ntwo\n", "one … (2 lines)"),
    ],
)
def test_how_values_read(value: object, shown: str) -> None:
    assert values().text(("x",), value) == shown


def test_sensitive_values_do_not_read() -> None:
    assert values(("x",)).text(("x", "y"), "s3cret") == SENSITIVE
    assert values(("x", "y")).text(("x",), {"y": "s3cret", "z": 1}) == "{y: (sensitive), z: 1}"
    hidden = FieldChange(("x",), None, {"y": "s3cret"}, sensitive=True)
    assert values().transition(hidden) == ("+", SENSITIVE)
    long = FieldChange(("x",), "a\n" * 9, "b\n" * 9, sensitive=True)
    assert values().transition(long) == (SENSITIVE, SENSITIVE)


def test_long_texts_are_shown_where_they_part() -> None:
    assert text_change("a\nb\nc", "a\nB\nc\nd") == ("line 2 of 3: b", "line 2 of 4: B")
    assert text_change("a\nb", "a\nb\nc") == ("line 3 of 2: (none)", "line 3 of 3: c")
    before, after = text_change("k" * 90 + "old", "k" * 90 + "new")
    assert (before, after) == ("…" + "k" * 12 + "old", "…" + "k" * 12 + "new")
    assert shorten("short") == "short"


def test_sensitive_maps_are_terraforms() -> None:
    tree = {"a": {"b": "s", "c": 1}, "l": [{"p": "s"}, {}], "n": None}
    paths = (("a", "b"), ("l", "0", "p"), ("n",))
    assert sensitive_map(tree, paths) == {"a": {"b": True}, "l": [{"p": True}, {}]}
    assert sensitive_map(None, paths) is False
    assert sensitive_map({"a": 1}, ()) == {}
    assert plain(tree, paths) == {
        "a": {"b": SENSITIVE, "c": 1},
        "l": [{"p": SENSITIVE}, {}],
        "n": None,
    }
