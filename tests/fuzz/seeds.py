"""Seeds: what each target is fed first, taken from the suite's own cases and documents."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from kvmplan.plan import saved
from tests.cases.page import Page

TESTS = Path(__file__).parent.parent
EXPRESSIONS = (
    "{{ var.n }}-{{ each.key }}",
    "{{ var.l | map('string') | join('-') }}",
    "{{ var['s'] ~ '}}' * 3 }}",
    "{{ {'a': {'b': 1}} | tojson(indent=2) }}",
    "{{ range(3) | sum + 2 ** 5 - 1.5 | round(1, 'ceil') }}",
    "{{ 'web' if var.b and 1 in var.l else 'db' }}",
    "{{ var.missing | default('d') | upper | replace('D', 'x') }}",
    "{{ var.l[1:] + [(1, 2)] }}",
    "{{ var.m.items | string | reverse | list | length }}",
)
TEMPLATES = (
    "#cloud-config\nhostname: {{ each.key }}\n{% for i in var.l %}- {{ i }}\n{% endfor %}",
    "{% set x = var.s ~ var.s %}{% macro m(n) %}{{ n }}{% if n %}{{ m(n - 1) }}{% endif %}"
    "{% endmacro %}{{ m(3) }}{{ x }}",
    "{% for i in range(9) if i % 2 %}{{ loop.index }}{% else %}-{% endfor %}",
    "{% filter upper %}a{% endfilter %}{% call(x) m() %}{{ x }}{% endcall %}",
    "{% set x %}{{ var.m | dictsort }}{% endset %}{{ x | trim }}{% raw %}{{ }}{% endraw %}",
)


@cache
def pages() -> tuple[Page, ...]:
    """The golden cases."""
    return tuple(Page.read(file) for file in sorted((TESTS / "cases").glob("*.txtar")))


@cache
def specs() -> tuple[bytes, ...]:
    """Specs of cases and examples."""
    texts = [text for page in pages() for text in page.below("specs").values()]
    texts += [file.read_text() for file in sorted(TESTS.parent.glob("examples/*/specs/*.yaml"))]
    return tuple(text.encode() for text in texts)


@cache
def documents() -> tuple[bytes, ...]:
    """Documents as libvirt wrote them."""
    return tuple(file.read_bytes() for file in sorted((TESTS / "documents").glob("*.xml")))


def plan_file(path: Path) -> bytes:
    """A small plan file's bytes."""
    saved.write(path, {name: {"of": name} for name in saved.MEMBERS})
    return path.read_bytes()


def claims() -> bytes:
    """The text of a claims record."""
    entry = {"key": "u", "born": {"format": "raw"}, "applied": {"path": "/a"}, "hold": ["", "", ""]}
    entries = {"pool.a": entry, "volume.a/b": {"key": "/a/b", "phase": "creating"}}
    head = {"format": 1, "stack": {"name": "lab", "origin": "here"}, "uid": "0d9f"}
    return json.dumps({**head, "entries": entries}).encode()
