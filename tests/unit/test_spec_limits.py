"""What would take all memory or never end is an error, soon; and the same on every machine."""

from __future__ import annotations

import json
import os
import resource
import time
from contextlib import suppress
from pathlib import Path

import pytest

from kvmplan.diagnostics import Diagnostics
from kvmplan.spec import LoadOptions, budget, expand, load
from kvmplan.spec.expressions import ExpressionError, compile_text
from kvmplan.spec.names import Names, Problem
from kvmplan.spec.templates import Templates
from tests.unit.test_spec_models import STACK, Loader, loader_in

SCOPE = {"var": Names("var", {"s": "x" * 100_000, "l": list(range(1000))}), "each": {}, "host": "h"}
SECONDS, MEMORY = 20.0, 400 * 2**20
"""Far above what any of these takes, and far below what it took without limits."""
LAUGHS = "b0: &b0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"b{n}: &b{n} [{','.join([f'*b{n - 1}'] * 9)}]\n" for n in range(1, 9)
)
DOUBLING = "{% set x = [1, 1] %}" + "{% set x = [x, x] %}" * 60
COMPARED = DOUBLING + DOUBLING.replace("x", "y") + "{% if x == y %}same{% endif %}"


@pytest.fixture
def specs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Loader:
    return loader_in(tmp_path, monkeypatch)


@pytest.fixture(autouse=True)
def bounded() -> object:
    """Neither time nor memory may grow without end; the budget is a whole one."""
    budget.begin_run()
    start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert time.monotonic() - start < SECONDS
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MEMORY


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A budget a tenth of the real one: what never ends, ends ten times as soon."""
    monkeypatch.setattr(budget, "WORK", budget.WORK // 10)


@pytest.mark.parametrize(
    "source",
    [
        "[[0] * 1000000] * 1000000",
        "([[0] * 1000000] * 1000000) | string",
        "([[0] * 1000000] * 1000000) | tojson",
        "([[0] * 1000000] * 1000000) ~ ''",
        "'a'.encode().center(10 ** 9) | length",
        "'a'['encode']().ljust(10 ** 9) | length",
        "(5).to_bytes(10 ** 9, 'big') | length",
        "1 | round(10 ** 9, 'ceil')",
        "[1] | tojson(indent=10 ** 9)",
        "range(100000) | join('a' * 1000000)",
        "(['a' * 1000000] * 10000) | join",
        "([[0] * 1000] * 1000000) | sum(start=[])",
        "range(100000) | select('in', [1] * 1000000) | list",
        "range(100000) | map('replace', '1', 'a' * 100000) | join",
        "range(99999) in ([range(99999)] * 1000000)",
        " ~ ".join(["('a' * 1000000)"] * 200),
        " + ".join(["([1] * 1000000)"] * 30),
        " + ".join(["var.l[:]"] * 900),
        " * ".join(["64 ** 60"] * 100),
    ],
)
def test_expressions_that_explode(source: str, small: None) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_text(f"{{{{ {source} }}}}").value(SCOPE)
    assert len(caught.value.summary) < 200


@pytest.mark.parametrize(
    "text",
    [
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{% for i in range(99999) if range(99999) | list %}{% endfor %}",
        "{% for i in range(99999) %}" + "x" * 10_000 + "{% endfor %}",
        "{% set x %}{% for i in range(99999) %}" + "x" * 10_000 + "{% endfor %}{% endset %}",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) ~ f(n - 1) }}{% endif %}{% endmacro %}{{ f(99) }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% set x = var.s %}" + "{% set x = x ~ x %}" * 60,
        "{% set x = var.s %}" + "{% set x = x + x %}" * 60,
        "{% set x = 64 ** 60 %}" + "{% set x = x * x %}" * 60,
        DOUBLING + "{{ x }}",
        DOUBLING + "{{ {x[0]: 1} }}",
        COMPARED,
        "{% for i in [1] recursive %}{{ loop([1, 1]) }}{% endfor %}",
        "x" * 1_100_000,
    ],
)
def test_templates_that_explode(text: str, tmp_path: Path, small: None) -> None:
    (tmp_path / "t").write_text(text)
    report = Diagnostics()
    templates = Templates(tmp_path.resolve(), report)
    with suppress(Problem):
        assert templates.text("t", SCOPE, secret=False) is None
        assert report.has_errors


def test_what_people_write_fits(tmp_path: Path) -> None:
    text = "{% for i in range(20000) %}{{ i }}: {{ each.name | upper }}-{{ i % 7 }}\n{% endfor %}"
    (tmp_path / "t").write_text(text)
    names = {"each": {"name": "web"}}
    made = Templates(tmp_path.resolve(), Diagnostics()).text("t", names, secret=False)
    assert made is not None
    assert made.endswith("19999: WEB-0\n")
    found = compile_text("{{ range(99999) | map('string') | list | length }}").value(SCOPE)
    assert found == 99999


def test_a_run_has_a_budget_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "RUN", 1000)
    budget.begin_run()
    text = compile_text("{{ range(90) | list | length }}")
    for _ in range(3):
        assert text.value(SCOPE) == 90
    with pytest.raises(ExpressionError, match="the expressions of these specs"):
        list(map(text.value, [SCOPE] * 20))
    budget.begin_run()
    assert text.value(SCOPE) == 90


def test_a_text_of_many_long_values() -> None:
    with pytest.raises(ExpressionError, match="longer than"):
        compile_text("{{var.s}}" * 10_000).value(SCOPE)


def test_for_each_makes_so_many_objects_and_no_more(
    specs: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expand, "MAX_INSTANCES", 50)
    text = 'pools: {"a-{{ each.key }}": {path: /p, for_each: "{{ range(%d) | list }}"}}'
    assert len(specs.good(text % 50).resources) == 50
    problem = specs.problem(text % 51)
    assert problem.summary == "the specs make more than 50 objects"


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x,x,x,x,x,x,x,x,x]\n"
        + "".join(
            f"b{n}: &b{n} [{','.join([f'*b{n - 1}' if n else '*a'] * 9)}]\n" for n in range(9)
        ),
        "x: " + "[" * 100_000,
        "x: " + "{a: " * 100_000,
        "x: " + "9" * 1_000_000,
        "x: &x [*x]",
        "? " * 100_000,
        "- " * 100_000,
        "x: !secret " * 1000,
        "".join(f"nothing{n}: 1\n" for n in range(20_000)),
    ],
)
def test_yaml_that_explodes(text: str, specs: Loader) -> None:
    _, report = specs.load(text)
    assert report.has_errors


@pytest.mark.parametrize(
    "field", ["xml: {template: t.xml}", "xml: BOMB", "metadata: {'urn:x': BOMB}"]
)
def test_document_types_are_refused(field: str, specs: Loader, tmp_path: Path) -> None:
    bomb = '<!DOCTYPE d [<!ENTITY a "x"><!ENTITY b "&a;&a;">]><domain><title>&b;</title></domain>'
    specs.write("t.xml", bomb)
    text = f"domains: {{web: {{{field.replace('BOMB', json.dumps(bomb))}}}}}"
    specs.write("specs/lab.yaml", STACK + text)
    _, report = load(tmp_path / "specs", LoadOptions())
    assert ["document type" in d.summary for d in report] == [True], list(report)


@pytest.mark.parametrize("name", ["../t.txt", "/etc/hostname", "link.txt", "folder/../../t.txt"])
def test_templates_stay_in_the_repository(name: str, specs: Loader, tmp_path: Path) -> None:
    outside = tmp_path.parent / "t.txt"
    outside.write_text("stolen")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.txt").symlink_to(outside)
    problem = specs.problem(f"domains: {{web: {{xml: {{template: {name}}}}}}}")
    assert problem.summary.endswith("is outside the repository")


def test_pipes_and_devices_are_not_read(specs: Loader, tmp_path: Path) -> None:
    specs.load("networks: {}")
    os.mkfifo(tmp_path / "specs" / "pipe.yaml")
    (tmp_path / "specs" / "zero.yaml").symlink_to("/dev/zero")
    _, report = specs.load("networks: {}")
    assert [d.summary for d in report] == [
        "specs/pipe.yaml is no file",
        "specs/zero.yaml is no file",
    ]


def test_a_secret_file_has_an_end(specs: Loader, tmp_path: Path) -> None:
    file = tmp_path / "key.txt"
    file.touch(0o600)
    with file.open("wb") as stream:
        stream.truncate(2**40)
    password = "!secret {file: key.txt}"
    problem = specs.problem(
        f"domains: {{web: {{graphics: [{{type: vnc, password: {password}}}]}}}}"
    )
    assert "is larger than" in problem.summary
