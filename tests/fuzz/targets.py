"""Targets: functions of bytes that may refuse what they are given, in the ways named here alone."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from kvmplan.apply.port import HostError
from kvmplan.cli.planfile import load as load_plan
from kvmplan.diagnostics import Diagnostics, Failure
from kvmplan.host.claims import decode
from kvmplan.kinds.mark import read_mark
from kvmplan.kinds.models import MODELS
from kvmplan.mapping.document import foreign, parse, serialise
from kvmplan.mapping.lens import read
from kvmplan.mapping.overlay import merge, satisfied
from kvmplan.plan import saved
from kvmplan.spec import LoadOptions, load
from kvmplan.spec.expressions import ExpressionError, compile_text
from kvmplan.spec.names import BrokenName, Names, Problem
from kvmplan.spec.templates import Templates
from kvmplan.views.diagnostics import diagnostics_text
from tests.fuzz import seeds
from tests.fuzz.planning import plan_on_damage
from tests.laws.documents import context

Target = Callable[[bytes], None]
STACK = "stack: {name: lab, uid: 0d9f3c1e-6c1f-4c4f-9a53-0f6a8a3a2b11}\n"
FOLDER = Path(tempfile.mkdtemp(prefix="kvmplan-fuzz-"))
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)


def scope() -> dict[str, Any]:
    """The names that expressions see, some of them large."""
    values = {"n": 2, "s": "x" * 1000, "b": True, "l": list(range(1000)), "m": {"items": [1, "a"]}}
    each = {"key": "a", "value": {"size": "1GiB"}}
    return {"var": Names("var", values), "each": Names("each", each), "host": "kvm1"}


def specs(data: bytes) -> None:
    """A file of specs, beside one with a stack."""
    path = FOLDER / "specs"
    path.mkdir(exist_ok=True)
    (path / "a.yaml").write_bytes(data)
    (path / "b.yaml").write_text(STACK if b"stack:" not in data else "")
    desired, report = load(path, LoadOptions(environ={}, read_secrets=False))
    assert (desired is None) == report.has_errors
    diagnostics_text(report)


def expression(data: bytes) -> None:
    """A text with expressions."""
    with suppress(ExpressionError, BrokenName):
        compile_text.__wrapped__(data.decode(errors="replace")).value(scope())


def template(data: bytes) -> None:
    """A template's text."""
    (FOLDER / "t.txt").write_bytes(data)
    with suppress(Problem, BrokenName):
        Templates(FOLDER.resolve(), Diagnostics()).text("t.txt", scope(), secret=False)


def plan_file(data: bytes) -> None:
    """A plan file's bytes."""
    path = FOLDER / "p.plan"
    path.write_bytes(data)
    saved.is_plan_file(path)
    with suppress(saved.BadPlanFile):
        saved.read(path)


def plan_content(data: bytes) -> None:
    """What stands in a plan file whose digests are right: one value of a real one is another."""
    members = json.loads(json.dumps(_real_plan()))
    if len(data) < 3:
        return
    try:
        new = json.loads(data[3:])
    except (ValueError, RecursionError):
        new = data[3:].decode(errors="replace")
    leaves = list(_places(members))
    holder, key = leaves[(data[0] * 65536 + data[1] * 256 + data[2]) % len(leaves)]
    holder[key] = new
    from kvmplan.spec.stored import fingerprint
    from kvmplan.views.plan_json import digest, plan_id

    with suppress(TypeError, AttributeError, ValueError, KeyError):
        document = members["plan.json"]
        document["inputs"]["specs"] = fingerprint(members["desired.json"])
        document["digest"] = digest(document)
        document["plan_id"] = plan_id(document)
    path = FOLDER / "c.plan"
    with suppress(FileNotFoundError):
        path.unlink()
    saved.write(path, members)
    with suppress(Failure):
        use_plan(load_plan(path, secrets=False))


def use_plan(plan: Any) -> None:
    """What `show` and `apply` do with a saved plan before they go to a host."""
    from kvmplan.cli.planfile import _as_left_out, _dependents, _moved

    acting = plan.acting
    rows = {**acting, **plan.unprotecting}
    for row in rows.values():
        _moved(row, row)
    stale = dict.fromkeys(rows, "stale")
    _as_left_out(stale | _dependents(stale, acting, several=True), rows)
    assert plan.connect is None or isinstance(plan.connect, str)


def document(data: bytes) -> None:
    """A document as a host gives it, read by the model of every kind; and its mark."""
    try:
        root = parse(data.decode(errors="replace"))
    except ValueError:
        return
    for kind, model in MODELS.items():
        read(model, root, context(kind, {}))
    read_mark(root)


def overlay(data: bytes) -> None:
    """An ``xml:`` fragment over a domain; and the same as metadata."""
    text = data.decode(errors="replace")
    base = parse(seeds.documents()[0].decode())
    problems = Diagnostics()
    stack = {"domains": {"web": {"xml": text, "metadata": {"urn:x": text}}}}
    path = FOLDER / "overlay"
    path.mkdir(exist_ok=True)
    (path / "a.yaml").write_text(STACK + json.dumps(stack)[1:-1].replace('"domains"', "domains", 1))
    desired, problems = load(path, LoadOptions(environ={}))
    diagnostics_text(problems)
    if desired is None:
        return
    fragment = parse(text)
    merge(base, fragment)
    once = serialise(base)
    assert satisfied(base, fragment), "merged, and not satisfied"
    merge(base, fragment)
    assert serialise(base) == once, "merged twice is another document"
    foreign(text, "urn:x")


def claims(data: bytes) -> None:
    """The text of a claims record, that anybody on the host may have edited."""
    with suppress(HostError):
        decode(data.decode(errors="replace"), "kvmplan/claims/x")


def _real_plan() -> dict[str, Any]:
    """The members of a plan file of a real plan."""
    if not _PLAN:
        from kvmplan.cli.inputs import options_json
        from kvmplan.plan.planner import Planner
        from kvmplan.spec.stored import dump, fingerprint
        from kvmplan.views.plan_json import plan_json
        from tests.cases.stage import SKELETON
        from tests.fuzz.planning import stages

        desired, stage, options = max(stages(), key=lambda one: len(one[0].resources))
        planned = Planner(desired, stage.first(desired), SKELETON, options, stage.complete).plan()
        dumped = dump(desired)
        inputs = {"specs": fingerprint(dumped), "templates": None, "options": options_json(options)}
        _PLAN["plan.json"] = plan_json(planned.plan, None, inputs)
        _PLAN["desired.json"] = dumped
        _PLAN["origin.json"] = {"path": str(FOLDER), "origin": ""}
    return _PLAN


_PLAN: dict[str, Any] = {}


def _places(value: Any) -> Any:
    """Every place in a JSON value: what holds it, and its key there."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        yield value, key
        if isinstance(inner, dict | list):
            yield from _places(inner)


def zip_seed() -> bytes:
    """A zip that is no plan file."""
    path = FOLDER / "z.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../etc/passwd", "x")
    return path.read_bytes()


TARGETS: dict[str, tuple[Target, Callable[[], tuple[bytes, ...]]]] = {
    "specs": (specs, seeds.specs),
    "expression": (expression, lambda: tuple(text.encode() for text in seeds.EXPRESSIONS)),
    "template": (template, lambda: tuple(text.encode() for text in seeds.TEMPLATES)),
    "plan_file": (plan_file, lambda: (seeds.plan_file(FOLDER / "seed.plan"), zip_seed())),
    "plan_content": (plan_content, lambda: (b"\0\0\1null", b"\0\1\0[]", b'\1\0\0{"a": 1}')),
    "document": (document, seeds.documents),
    "overlay": (overlay, lambda: (*seeds.documents(), b"<a><!-- c --><?p q?></a>")),
    "claims": (claims, lambda: (seeds.claims(),)),
    "planning": (plan_on_damage, lambda: (b"\0\0\1\0\5<x/>", b"\7\1\0\0\1" + b"'&#1;>")),
}
"""Name -> what takes the bytes, and what it is fed first."""
