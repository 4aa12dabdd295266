"""Variables, expressions, for_each, templates and secrets."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from kvmplan.mapping.types import SecretText
from kvmplan.spec.expressions import ExpressionError, compile_text
from kvmplan.spec.names import Names
from tests.unit.test_spec_models import Loader, loader_in

SCOPE = {
    "var": Names("var", {"n": 2, "s": "x", "b": True, "l": [1, 2], "m": {"items": 5}}),
    "each": Names("each", {"key": "a", "value": {"size": "1GiB"}}),
    "host": "kvm1",
}


@pytest.fixture
def specs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Loader:
    return loader_in(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{{ var.n }}", 2),
        ("{{var.n}}", 2),
        ("{{ var.b }}", True),
        ("{{ var.l }}", [1, 2]),
        ("{{ var.m.items }}", 5),
        ("{{ each.value.size }}", "1GiB"),
        ("{{ host }}", "kvm1"),
        ("a-{{ var.n }}-{{ var.b }}", "a-2-true"),
        ("{{ var.n }} ", "2 "),
        ("{{ var.l }}!", "[1, 2]!"),
        ("{{ var.n + 1 }}", 3),
        ("{{ var['s'] ~ '}}' }}", "x}}"),
        ("{{ {'a': {'b': 1}} }}", {"a": {"b": 1}}),
        ("{{ var.l | map('string') | join('-') }}", "1-2"),
        ("{{ range(3) }}", [0, 1, 2]),
        ("{{ 'web' if var.b else 'db' }}", "web"),
        ("{{ var.missing | default('d') }}", "d"),
        ("{{ var.missing is defined }}", False),
        ("{% if x %}{# no #}{{ var.s }}", "{% if x %}{# no #}x"),
        ("{{ none }}", None),
        ("{{ var.l | map('string') }}", ["1", "2"]),
        ("a\n{{ var.n }}\n", "a\n2\n"),
    ],
)
def test_expressions(text: str, value: Any) -> None:
    found = compile_text(text).value(SCOPE)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("{{ var.ss }}", "undefined variable 'var.ss'"),
        ("{{ var['ss'] }}", "undefined variable 'var.ss'"),
        ("{{ vra.s }}", "'vra' is undefined"),
        ("{{ each.kee }}", "undefined name 'each.kee'"),
        ("{{ each.value.sice }}", "no attribute 'sice'"),
        ("{{ var.s }", "not"),
        ("{{ var.s", "not closed"),
        ("{{ }}", "not an expression"),
        ("{{ a b }}", "not an expression"),
        ("{{ 2 ** 9999 }}", "'**' is for small numbers"),
        ("{{ 'a' * 99999999 }}", "too long"),
        ("{{ '%99999999d' % 1 }}", "'%' is for numbers"),
        ("{{ range(10 ** 9) }}", "too long"),
        ("{{ 'a'.center(10 ** 9) }}", "unsafe"),
        ("{{ '{:>99999999}'.format(1) }}", "unsafe"),
        ("{{ ''.__class__ }}", "unsafe"),
        ("{{ var.l.append(1) }}", "unsafe"),
        ("{{ var.s.upper }}", "neither a text"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ var.s + 1 }}", "cannot be evaluated"),
        ("{{ " + "(" * 500 + ")" * 500 + " }}", "not an expression"),
        ("{{ var.s | nonsense }}", "not an expression"),
    ],
)
def test_wrong_expressions(text: str, part: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_text(text).value(SCOPE)
    assert part in caught.value.summary


def test_undefined_variables_have_places(specs: Loader) -> None:
    text = """
variables: {memory: {type: size, default: 1GiB}}
domains:
  web: {title: "in {{ var.memry }}", memory: "{{ var.memory }}"}
"""
    problem = specs.problem(text)
    assert problem.code == "KVP103"
    assert problem.summary == "undefined variable 'var.memry'"
    assert problem.remedy == "did you mean 'memory'?"
    assert str(problem.place) == "specs/lab.yaml:5:20"
    assert problem.place is not None
    assert problem.place.length == len("{{ var.memry }}")


def test_each_outside_for_each(specs: Loader) -> None:
    problem = specs.problem('domains: {web: {title: "{{ each.key }}"}}')
    assert problem.summary == "'each' is known with for_each only"


def test_raw_and_long_texts(specs: Loader) -> None:
    text = """
domains: {web: {title: !raw "{{ x }}", xml: "<a>{{ y }}</a>"}}
volumes: {vms/a: {content: "{{ z }}"}}
"""
    assert specs.fields(text, "domain.web") == {"title": "{{ x }}", "xml": "<a>{{ y }}</a>"}
    assert specs.fields(text, "volume.vms/a") == {"content": "{{ z }}"}


def test_values_are_not_expressions_again(specs: Loader) -> None:
    text = 'domains: {web: {title: "{{ var.t }}"}}\nvariables: {t: {type: string}}'
    assert specs.fields(text, "domain.web", vars=("t={{ var.x }}",)) == {"title": "{{ var.x }}"}


def test_precedence_of_variables(specs: Loader) -> None:
    names = "abcdef"
    declared = ", ".join(f"{name}: {{type: string, default: default}}" for name in names)
    body = "-".join(f"{{{{ var.{name} }}}}" for name in names)
    text = f"variables: {{{declared}}}\ndomains: {{web: {{title: '{body}'}}}}"
    specs.write("kvmplan.vars.yaml", "c: main\nd: main\ne: main\nf: main\n")
    specs.write("b.auto.vars.yaml", "d: auto\n")
    specs.write("a.auto.vars.yaml", "d: first\ne: auto\nf: auto\n")
    file = specs.write("more.yaml", "e: file\nf: file\n")
    environ = {f"KVMPLAN_VAR_{name}": "env" for name in names[1:]}
    options = {"environ": environ, "var_files": (file,), "vars": ("f=flag",)}
    fields = specs.fields(text, "domain.web", **options)
    assert fields["title"] == "default-env-main-auto-file-flag"
    sources = specs.good(text, **options).sources
    assert sources[1:] == ("kvmplan.vars.yaml", "a.auto.vars.yaml", "b.auto.vars.yaml", "more.yaml")


@pytest.mark.parametrize(
    ("kind", "given", "value"),
    [
        ("string", "5", "5"),
        ("integer", "5", 5),
        ("number", "1.5", 1.5),
        ("boolean", "true", True),
        ("size", "2GiB", "2GiB"),
        ("duration", "5m", "5m"),
        ("list", "[a, 1]", ["a", 1]),
        ("map", "{a: 1}", {"a": 1}),
    ],
)
def test_types_of_variables(specs: Loader, kind: str, given: str, value: Any) -> None:
    variables = f"variables: {{v: {{type: {kind}}}}}\n"
    text = variables + "domains: {web: {title: '{{ var.v | tojson }}'}}"
    title = specs.fields(text, "domain.web", vars=(f"v={given}",))["title"]
    assert json.loads(title) == value


@pytest.mark.parametrize(
    ("declaration", "given", "summary"),
    [
        (
            "{type: integer}",
            ("v=x",),
            "variable 'v' is of type integer: expected a whole number, got 'x' (--var)",
        ),
        (
            "{type: integer, default: x}",
            (),
            "variable 'v' is of type integer: expected a whole number, got 'x'",
        ),
        (
            "{type: string, default: 5}",
            (),
            "variable 'v' is of type string: expected a text, got the number 5; put it in quotes",
        ),
        (
            "{type: size, default: 2G}",
            (),
            "variable 'v' is of type size: '2G' is not a size; write 2GiB",
        ),
        (
            "{type: boolean, default: yes}",
            (),
            "variable 'v' is of type boolean: expected true or false, got 'yes'",
        ),
        (
            "{type: sise}",
            ("v=1",),
            "type of variable 'v': 'sise' is none of string, integer, number, "
            "boolean, size, duration, list, map",
        ),
        ("{type: string}", (), "variable 'v' has no value"),
        ("{typ: string}", (), "unknown field 'typ' in variable 'v'"),
        ("5", (), "variable 'v' needs a mapping"),
        (
            "{type: string, default: '{{ var.w }}'}",
            (),
            "variable 'v': a default cannot be an expression",
        ),
        (
            "{type: string, default: !secret {env: A}}",
            (),
            "variable 'v' cannot hold !default or !secret",
        ),
        (
            "{type: string, default: a}",
            ("w=1",),
            "--var sets 'w', which is no variable of this stack",
        ),
        ("{type: string, default: a}", ("v",), "--var v: no value"),
    ],
)
def test_wrong_variables(
    specs: Loader, declaration: str, given: tuple[str, ...], summary: str
) -> None:
    text = f"variables: {{v: {declaration}}}\ndomains: {{web: {{title: '{{{{ var.v }}}}'}}}}"
    problem = specs.problem(text, vars=given)
    assert (problem.code in ("KVP102", "KVP104", "KVP105"), problem.summary) == (True, summary)


def test_unknown_variable_of_a_file_has_a_place(specs: Loader) -> None:
    specs.write("kvmplan.vars.yaml", "memry: 2GiB\n")
    problem = specs.problem("variables: {memory: {type: size, default: 1GiB}}")
    assert str(problem.place) == "kvmplan.vars.yaml:1:8"
    assert problem.remedy == "did you mean 'memory'?"


def test_unknown_variable_of_the_environment_is_a_warning(specs: Loader) -> None:
    problem = specs.problem("pools: {}", environ={"KVMPLAN_VAR_x": "1"})
    assert problem.severity == "warning"


@pytest.mark.parametrize(
    ("each", "names"),
    [
        ("[a, b]", ["a", "b"]),
        ("[1, true]", ["1", "true"]),
        ("{x: {n: 1}, y: {n: 2}}", ["x", "y"]),
        ('"{{ var.names }}"', ["p", "q"]),
        ('"{{ range(2) }}"', ["0", "1"]),
        ('["{{ var.names[0] }}"]', ["p"]),
        ("[]", []),
    ],
)
def test_for_each(specs: Loader, each: str, names: list[str]) -> None:
    text = f"""
variables: {{names: {{type: list, default: [p, q]}}}}
domains: {{"web-{{{{ each.key }}}}": {{for_each: {each}, title: "{{{{ each.key }}}}"}}}}
"""
    desired = specs.good(text)
    assert [address.name for address in desired.resources] == [f"web-{name}" for name in names]


def test_each_value_keeps_its_type(specs: Loader) -> None:
    text = """
domains:
  "web-{{ each.key }}":
    for_each: {a: {n: 3, s: 1GiB}}
    vcpus: "{{ each.value.n }}"
    memory: "{{ each.value.s }}"
"""
    assert specs.fields(text, "domain.web-a") == {
        "vcpus": {"current": 3},
        "memory": {"current": 2**30},
    }


@pytest.mark.parametrize(
    ("text", "summary"),
    [
        (
            "domains: {web: {for_each: [a]}}",
            "domain.web has for_each, so its key must hold each.key",
        ),
        (
            "domains: {'w{{ each.key }}': {for_each: 5}}",
            "for_each of domain.w{{ each.key }} is the number 5",
        ),
        (
            "domains: {'w{{ each.key }}': {for_each: [a, a]}}",
            "for_each of domain.w{{ each.key }} holds 'a' twice",
        ),
        (
            "domains: {'w{{ each.key }}': {for_each: [{a: 1}]}}",
            "for_each of domain.w{{ each.key }} holds a mapping",
        ),
        ("domains: {'w{{ each.key[0] }}': {for_each: [a1, a2]}}", "domain.wa is declared twice"),
        ("domains: {wa: {}, 'w{{ each.key }}': {for_each: [a]}}", "domain.wa is declared twice"),
        (
            "domains: {'w{{ each.key }}': {for_each: [], vcpu: 1}}",
            "unknown field 'vcpu' in domain.w{{ each.key }}",
        ),
    ],
)
def test_wrong_for_each(specs: Loader, text: str, summary: str) -> None:
    assert [d.summary for d in specs.problems(text)] == [summary]


def test_templates(specs: Loader) -> None:
    specs.write(
        "templates/a.xml.j2", "<t>{% for n in names %}{{ n }}{% endfor %} {{ host }} {{ v }}</t>\n"
    )
    text = """
domains:
  web:
    xml: {template: templates/a.xml.j2, vars: {names: [a, b], v: "<{{ host }}>"}}
"""
    assert specs.fields(text, "domain.web")["xml"] == "<t>ab local &lt;local&gt;</t>\n"


@pytest.mark.parametrize(
    ("template", "part"),
    [
        ("{template: none.j2}", "there is no template 'none.j2'"),
        ("{template: ../../../etc/passwd}", "is outside the repository"),
        ("{template: broken.j2}", "not a template"),
        ("{template: names.j2}", "names.j2: 'x' is undefined"),
        ("{template: names.j2, var: {}}", "unknown field 'var' beside template"),
        ("{template: 5}", "template takes the name of a file"),
        (
            "{template: secret.j2, vars: {x: !secret {env: A}}}",
            "xml of domain.web is no secret field",
        ),
    ],
)
def test_wrong_templates(specs: Loader, template: str, part: str) -> None:
    specs.write("broken.j2", "{% for %}")
    specs.write("names.j2", "{{ x }}")
    specs.write("secret.j2", "{{ x }}")
    found = specs.problems(f"domains: {{web: {{xml: {template}}}}}", environ={"A": "canary"})
    assert part in found[0].summary
    assert "canary" not in str(found)


def graphics(secret: str) -> str:
    return f"domains: {{web: {{graphics: [{{type: vnc, password: !secret {secret}}}]}}}}"


def password(specs: Loader, secret: str, **options: Any) -> SecretText:
    found = specs.fields(graphics(secret), "domain.web", **options)["graphics"]["vnc"]["password"]
    assert isinstance(found, SecretText)
    return found


def test_secrets_of_the_environment(specs: Loader) -> None:
    found = password(specs, "{env: A}", environ={"A": "canary"})
    assert found.reveal() == "canary"
    assert "canary" not in repr(found)


def test_secrets_of_files(specs: Loader) -> None:
    path = specs.write("key.txt", "canary\n")
    path.chmod(0o600)
    assert password(specs, "{file: key.txt}").reveal() == "canary"
    path.chmod(0o640)
    problem = specs.problem(graphics("{file: key.txt}"))
    assert problem.summary == "the secret file 'key.txt' has mode 0640; others may read it"
    assert problem.remedy == "chmod 600 key.txt"


def test_secrets_of_commands(specs: Loader) -> None:
    command = f"[{sys.executable}, -c, 'print(1234)']"
    assert password(specs, f"{{command: {command}}}").reveal() == "1234"
    failing = "import sys; print('canary'); sys.exit('no key')"
    problem = specs.problem(graphics(f'{{command: [{sys.executable}, -c, "{failing}"]}}'))
    assert problem.code == "KVP113"
    assert problem.remedy == "it said: no key"
    assert "canary" not in str(problem)


@pytest.mark.parametrize(
    ("secret", "part"),
    [
        ("{env: NONE}", "the environment has no variable 'NONE'"),
        ("{file: none}", "cannot read the secret file 'none'"),
        ("{command: [/no/such]}", "cannot run the secret's command '/no/such'"),
    ],
)
def test_missing_secrets(specs: Loader, secret: str, part: str) -> None:
    assert part in specs.problem(graphics(secret)).summary


def test_what_a_command_complains_of_holds_no_secret(specs: Loader) -> None:
    complains = "{command: [sh, -c, 'echo pw17; echo cannot use pw17 for $A >&2; exit 3']}"
    problem = specs.problem(graphics(complains), environ={"A": "us", "PATH": "/bin:/usr/bin"})
    assert problem.remedy == "it said: cannot use (sensitive) for us"


@pytest.mark.parametrize("text", ["{{ var[x] }}", "{{ x.y }}", "{{ [x] + 1 }}", "{{ {}[x] }}"])
def test_errors_of_templates_with_secrets_quote_nothing(text: str, specs: Loader) -> None:
    specs.write("secret.j2", text)
    spec = "domains: {web: {xml: {template: secret.j2, vars: {x: !secret {env: A}}}}}"
    problem = specs.problem(spec, environ={"A": "pw17"})
    assert problem.summary == "secret.j2 cannot be rendered"
    assert "pw17" not in str(problem)


def test_secrets_need_not_be_read(specs: Loader) -> None:
    assert password(specs, "{env: NONE}", read_secrets=False).reveal() == ""


def test_secrets_stand_in_secret_fields_only(specs: Loader) -> None:
    text = "domains: {web: {title: !secret {env: A}}}"
    problem = specs.problem(text, environ={"A": "canary"})
    assert problem.summary == "title of domain.web is no secret field: its value would be shown"


def test_wrong_secret_types_show_nothing(specs: Loader) -> None:
    found = specs.problem("domains: {web: {graphics: [{type: vnc, password: 4711}]}}")
    assert "4711" not in str(found.summary)


def deep(specs: Loader, value: str) -> str:
    specs.write("deep.j2", "{{ b.c[0] }}{{ b.c[1] }}")
    return f"domains: {{web: {{xml: {{template: deep.j2, vars: {{b: {{c: [1, {value}]}}}}}}}}}}"


def test_secrets_anywhere_in_a_templates_variables_are_secrets(specs: Loader) -> None:
    text = deep(specs, "!secret {env: A}")
    problem = specs.problem(text, environ={"A": "canary"})
    assert problem.summary == "xml of domain.web is no secret field: its value would be shown"
    assert specs.problem(text).summary == "the environment has no variable 'A'"
    expected = "!default is for fields; a variable needs a value"
    assert specs.problem(deep(specs, "!default ")).summary == expected


@pytest.mark.parametrize(
    "made",
    [
        "{{ each.value.p }}",
        "{{ each.value }}",
        "{{ each.value.l | join }}",
        "{{ each.value | string }}",
        "{{ each.value.l ~ '' }}",
        "{{ each.value.l | tojson }}",
        "{{ each.value.p.tag }}",
        "{{ each.value.p[0] }}",
        "{% for part in each.value.p %}{{ part }}{% endfor %}",
    ],
)
def test_no_text_is_made_of_what_is_tagged(made: str, specs: Loader) -> None:
    secret = "!secret {env: A}"
    each = f"{{a: {{p: {secret}, l: [{secret}], open: b}}}}"
    specs.write("made.j2", made)
    for field in ("xml: {template: made.j2}", f'title: "x {made}"'):
        if field.startswith("title") and "{%" in made:
            continue
        text = f'domains: {{"w-{{{{ each.key }}}}": {{for_each: {each}, {field}}}}}'
        found = specs.problems(text, environ={"A": "canary"})
        assert [d.code for d in found] == ["KVP103"]
        assert "Node(" not in str(found)


def test_what_stands_beside_something_tagged_can_be_used(specs: Loader) -> None:
    specs.write("open.j2", "<{{ each.value.open }}{{ each.value.l | length }}/>")
    each = "{a: {l: [!secret {env: A}], open: b}}"
    text = (
        f'domains: {{"w-{{{{ each.key }}}}": {{for_each: {each}, xml: {{template: open.j2}}, '
        "title: \"{{ each.value.get('open') }}\"}}"
    )
    fields = specs.fields(text, "domain.w-a")
    assert (fields["xml"], fields["title"]) == ("<b1/>", "b")
