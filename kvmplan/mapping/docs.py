"""The docstrings below fields, read from the source when somebody asks for them.

pydantic can collect them itself, but while it makes the classes: a third of their cost, in every
run, for what only the schema, the reference and the tests want to know.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator, Mapping
from functools import cache

from kvmplan.mapping.model import Mapped


def field_doc(model: type[Mapped], name: str) -> str:
    """What a field means.

    Raises:
        TypeError: nothing is written below it.
    """
    for owner in model.__mro__:
        if name in vars(owner).get("__annotations__", {}):
            found = _docs(owner.__module__).get((owner.__qualname__, name))
            if found:
                return found
    raise TypeError(f"{model.__name__}.{name}: no docstring below the field")


@cache
def _docs(module: str) -> Mapping[tuple[str, str], str]:
    """Qualified class name and field -> docstring, of one module."""
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return dict(_below(tree.body, ""))


def _below(body: list[ast.stmt], prefix: str) -> Iterator[tuple[tuple[str, str], str]]:
    for node, after in zip(body, [*body[1:], None], strict=True):
        match node, after:
            case ast.ClassDef(name=name), _:
                yield from _below(node.body, f"{prefix}{name}.")
            case ast.FunctionDef(name=name), _:
                yield from _below(node.body, f"{prefix}{name}.<locals>.")
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str() as text)),
            ):
                yield (prefix.removesuffix("."), name), inspect.cleandoc(text)
