"""The reference: a JSON Schema of a whole spec file, and a Markdown page for each kind.

Both are made from the declarations alone, in their order: same models, same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kvmplan.mapping.docs import field_doc
from kvmplan.mapping.markers import Group, Items, On, Overlay, Policy, Runtime, Xml
from kvmplan.mapping.model import Binding, Mapped, bindings
from kvmplan.mapping.strategy import Strategy

Schema = dict[str, Any]

EXPRESSION: Schema = {"type": "string", "pattern": r"\{\{"}
"""Any value may be an expression."""
NULL: Schema = {"type": "null"}
SECRET: Schema = {
    "type": "object",
    "description": "!secret",
    "properties": {
        "env": {"type": "string", "description": "An environment variable."},
        "file": {"type": "string", "description": "A file, 0600 or stricter."},
        "command": {
            "type": "array",
            "items": {"type": "string"},
            "description": "A command that prints it.",
        },
    },
    "additionalProperties": False,
    "minProperties": 1,
    "maxProperties": 1,
}
NAMES: Schema = {"type": "array", "items": {"type": "string"}}
META: Mapping[str, Schema] = {
    "host": {
        "description": 'The host it lives on; with several hosts, a list or "*".',
        "anyOf": [{"type": "string"}, NAMES],
    },
    "for_each": {
        "description": "Makes one for each element; the key holds {{ each.key }}.",
        "anyOf": [{"type": "array"}, {"type": "object"}, EXPRESSION],
    },
    "lifecycle": {
        "description": "How its changes are held back.",
        "type": "object",
        "properties": {
            "prevent_destroy": {
                "description": "Whether it is never deleted.",
                "anyOf": [{"type": "boolean"}, EXPRESSION],
            },
            "ignore_changes": {**NAMES, "description": "Paths of fields that are left alone."},
            "unlisted": {
                "description": "What becomes of members of collections that were never ours.",
                "anyOf": [{"enum": ["keep", "remove"]}, EXPRESSION],
            },
        },
        "additionalProperties": False,
    },
    "depends_on": {**NAMES, "description": "Addresses of what must be there first."},
}
"""What every resource may say beside its fields."""
PROFILE: Schema = {
    "description": "Profiles that are merged under its own fields, left to right.",
    "anyOf": [{"type": "string"}, NAMES],
}
STACK: Schema = {
    "description": "The stack: what this repository owns on its hosts.",
    "type": "object",
    "properties": {
        "name": {"type": "string", "description": "Its name."},
        "uid": {
            "type": "string",
            "format": "uuid",
            "description": "Random; written once by `kvmplan init`.",
        },
        "hosts": {
            "description": "Its hosts, by name.",
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "properties": {"uri": {"type": "string", "description": "Connection URI."}},
                "required": ["uri"],
                "additionalProperties": False,
            },
        },
        "prune": {
            "description": "Whether what left the specs is deleted.",
            "anyOf": [{"type": "boolean"}, EXPRESSION],
        },
        "max_delete": {
            "description": "More deletions than either stop a run.",
            "type": "object",
            "properties": {
                "count": {"anyOf": [{"type": "integer", "minimum": 0}, EXPRESSION]},
                "percent": {
                    "anyOf": [{"type": "integer", "minimum": 0, "maximum": 100}, EXPRESSION]
                },
            },
            "additionalProperties": False,
        },
    },
    "required": ["name", "uid"],
    "additionalProperties": False,
}
VARIABLE: Schema = {
    "type": "object",
    "properties": {
        "type": {
            "enum": ["string", "integer", "number", "boolean", "size", "duration", "list", "map"],
            "description": "Its type; by default that of its default.",
        },
        "default": {"description": "Its value where none is given."},
        "description": {"type": "string", "description": "What it is for."},
    },
    "additionalProperties": False,
}


MOVED: Schema = {
    "description": "Domains that had another name before, and are renamed.",
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"from": {"type": "string"}, "to": {"type": "string"}},
        "required": ["from", "to"],
        "additionalProperties": False,
    },
}
OUTPUT: Schema = {
    "anyOf": [
        {
            "type": "object",
            "properties": {
                "value": {"description": "Its value, of expressions over what is live."},
                "description": {"type": "string", "description": "What it is for."},
            },
            "required": ["value"],
            "additionalProperties": False,
        },
        {"type": ["string", "number", "boolean", "array"]},
    ],
}


def json_schema(models: Mapping[str, type[Mapped]]) -> Schema:
    """A JSON Schema (2020-12) of a spec file, for editors.

    Args:
        models: the key of each section of resources and its model; ``domains`` among them,
            whose partial forms are the profiles.
    """
    definitions: Schema = {}
    sections: Schema = {}
    for plural, model in models.items():
        meta = {**META, "profile": PROFILE} if plural == "domains" else dict(META)
        sections[plural] = _named(_resource(model, meta, definitions), _summary(model))
    profiles = _named(_resource(models["domains"], {"profile": PROFILE}, definitions), "Profiles.")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "kvmplan spec file",
        "type": "object",
        "properties": {
            "stack": STACK,
            "variables": _named(VARIABLE, "Values that differ from run to run."),
            "profiles": profiles,
            **sections,
            "moved": MOVED,
            "outputs": _named(OUTPUT, "Values that the stack tells."),
        },
        "additionalProperties": False,
        "$defs": dict(sorted(definitions.items())),
    }


def _named(value: Schema, description: str) -> Schema:
    return {"description": description, "type": "object", "additionalProperties": value}


def _summary(model: type[Mapped]) -> str:
    return (model.__doc__ or model.__name__).strip().splitlines()[0]


def _resource(model: type[Mapped], meta: Mapping[str, Schema], definitions: Schema) -> Schema:
    return {"anyOf": [_object(model, definitions, meta=meta), NULL]}


def _object(
    model: type[Mapped],
    definitions: Schema,
    *,
    meta: Mapping[str, Schema] | None = None,
    keys: tuple[str, ...] = (),
) -> Schema:
    """A model's long form. Key fields are not required: a map's own key gives them."""
    leaves = model.model_json_schema()["properties"]
    properties = {
        name: {
            "description": field_doc(model, name),
            **_field(binding, leaves[name], definitions),
        }
        for name, binding in bindings(model).items()
    }
    required = [
        name for name, info in model.model_fields.items() if info.is_required() and name not in keys
    ]
    schema: Schema = {
        "description": _summary(model),
        "type": "object",
        "properties": {**properties, **(meta or {})},
        "additionalProperties": False,
    }
    return {**schema, "required": required} if required else schema


def _field(binding: Binding, leaf: Schema, definitions: Schema) -> Schema:
    if binding.item is None:
        return {"anyOf": _leaf(binding, leaf)}
    if not isinstance(binding.place, Items):
        return _reference(binding.item, (), definitions)
    item = _reference(binding.item, binding.place.key, definitions)
    forms = [{"type": "object", "additionalProperties": item}]
    if not binding.place.named:
        forms.append({"type": "array", "items": item})
    return {"anyOf": [*forms, EXPRESSION, NULL]}


def _leaf(binding: Binding, leaf: Schema) -> list[Schema]:
    """A value's own forms, an expression, and null."""
    kept = {key: value for key, value in leaf.items() if key not in ("title", "description")}
    kept.pop("default", None)
    forms = [form for form in kept.pop("anyOf", [kept]) if form != NULL]
    plain = [_with_expressions(form) for form in forms]
    secret = [SECRET] if binding.secret else []
    return [*plain, *secret, EXPRESSION, NULL]


def _with_expressions(form: Schema) -> Schema:
    """Members of lists and maps may be expressions too."""
    found = dict(form)
    for inside in ("items", "additionalProperties"):
        if isinstance(found.get(inside), dict):
            found[inside] = {"anyOf": [found[inside], EXPRESSION]}
    return found


def _reference(model: type[Mapped], keys: tuple[str, ...], definitions: Schema) -> Schema:
    name = model.__name__
    if name not in definitions:
        definitions[name] = {}
        long = _object(model, definitions, keys=keys)
        definitions[name] = {"anyOf": [long, *_short(model, long), EXPRESSION, NULL]}
    return {"$ref": f"#/$defs/{name}"}


def _short(model: type[Mapped], long: Schema) -> list[Schema]:
    """The scalar form: that of the field it stands for, any text where the model reads it."""
    if "expand" in vars(model):
        return [{"type": "string"}]
    if model.scalar is None:
        return []
    forms = long["properties"][model.scalar].get("anyOf", [])
    return [form for form in forms if form not in (EXPRESSION, NULL)]


def reference_page(kind: str, model: type[Mapped]) -> str:
    """The Markdown page of a kind: every field, where it stands, how its changes arrive."""
    lines = [
        f"# {kind}",
        "",
        "<!-- Made by `make docs` from the declarations in kvmplan/kinds. -->",
        "",
        f"{_summary(model)} Every field may be left out, unless it is marked *required*; "
        "what is left out is not managed.",
        "",
        "| field | type | libvirt | a change is | born as | meaning |",
        "|---|---|---|---|---|---|",
    ]
    lines += [f"| {' | '.join(cells)} |" for cells in _rows(model, (), None, "")]
    return "\n".join(lines) + "\n"


def _rows(
    model: type[Mapped], at: tuple[str, ...], outer: On | None, above: str
) -> Iterator[tuple[str, ...]]:
    leaves = model.model_json_schema()["properties"]
    for name, binding in bindings(model).items():
        path, on = (*at, name), binding.on or outer
        required = model.model_fields[name].is_required()
        yield (
            f"`{'.'.join(path)}`",
            _type(binding, leaves[name]) + (" *required*" if required else ""),
            _place(binding, above),
            _change(binding, on),
            "" if binding.birth is None else f"`{_yaml(binding.birth.value)}`",
            _cell(" ".join(field_doc(model, name).split())),
        )
        if binding.item is not None:
            items = isinstance(binding.place, Items)
            below = (*path, "KEY") if items else path
            yield from _rows(binding.item, below, on, _xml_path(binding, above))


def _type(binding: Binding, leaf: Schema) -> str:
    if binding.secret:
        return "secret"
    if isinstance(binding.place, Items):
        return "map" if binding.place.named else "map or list"
    if binding.item is not None:
        if "expand" in vars(binding.item):
            return "object or string"
        scalar = binding.item.scalar
        return "object" if scalar is None else f"object, or its `{scalar}`"
    forms = leaf.get("anyOf", [leaf])
    return _cell(" or ".join(_form(form) for form in forms if form != NULL))


def _form(form: Schema) -> str:
    if "enum" in form or "const" in form:
        return ", ".join(f"`{_yaml(value)}`" for value in form.get("enum", [form.get("const")]))
    if form.get("examples"):
        return f"`{form['examples'][0]}`"
    if form.get("type") == "array":
        return f"list of {_form(form['items'])}"
    if "anyOf" in form:
        return " or ".join(map(_form, form["anyOf"]))
    if form.get("type") == "object":
        inner = form.get("additionalProperties", {})
        return f"map to {_form(inner)}" if inner else "object"
    low, high = form.get("minimum"), form.get("maximum")
    limits = f" {low}–{high}" if high is not None else f" from {low}" if low is not None else ""
    return f"{form.get('type', 'any')}{limits}"


def _yaml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _xml_path(binding: Binding, above: str) -> str:
    own = "" if isinstance(binding.place, Runtime | Policy | Overlay) else binding.place.path
    inner = own.removeprefix(".").removeprefix("/")
    return "/".join(part for part in (above, inner) if part)


def _place(binding: Binding, above: str) -> str:
    match binding.place:
        case Policy():
            return "kvmplan's own"
        case Overlay():
            return "the whole document"
        case Runtime():
            return "the object's state"
        case Group() if not _xml_path(binding, above):
            return ""
        case Xml(unit=unit) if unit is not None:
            return f"`{_xml_path(binding, above)}` in {unit}"
        case _:
            return f"`{_xml_path(binding, above)}`"


def _change(binding: Binding, on: On | None) -> str:
    if isinstance(binding.place, Policy):
        return "no change of the object"
    if on is None:
        return ""
    parts = [_words(on.change)]
    if isinstance(binding.place, Items):
        parts += [f"added: {_words(on.added)}"] if on.added else []
        parts += [f"removed: {_words(on.removed)}"] if on.removed else []
    return _cell("; ".join(part for part in parts if part))


def _words(strategy: Any) -> str:
    return strategy.describe if isinstance(strategy, Strategy) else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
