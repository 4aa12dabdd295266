"""The shape of what a plan file holds, as far as it is relied upon.

A plan file may be damaged or made by somebody else: what is read from it is checked once, here.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict

from kvmplan.plan.change import Action


class _Shape(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")


class _Field(_Shape):
    path: str


def _is_action(given: list[str]) -> list[str]:
    if given not in [action.json for action in Action]:
        raise ValueError("no action is written so")
    return given


class _Change(_Shape):
    actions: Annotated[list[str], AfterValidator(_is_action)]
    fields: list[_Field]


class _Step(_Shape):
    verb: str
    fields: list[str]
    arguments: dict[str, Any]
    impact: str
    fallback: str | None


class _Row(_Shape):
    address: str
    change: _Change
    depends_on: list[str]
    steps: list[_Step]
    precondition: dict[str, Any]


class _Refusal(_Shape):
    address: str
    code: str
    summary: str
    remedy: str


class _Host(_Shape):
    uri: str


class _Options(_Shape):
    model_config = ConfigDict(strict=True, extra="forbid")

    destroy: bool
    targets: list[str]
    excludes: list[str]
    replace: list[str]
    adopt: bool
    allow_data_loss: list[str]
    allow_restart: list[str]
    max_restarts: int | None
    prune: bool
    max_delete: int | None
    allow_empty: bool
    drift: Literal["revert", "keep"]
    same_stack: bool


class _Inputs(_Shape):
    specs: str
    templates: str | None
    options: _Options


class _Document(_Shape):
    digest: str
    plan_id: str
    inputs: _Inputs
    hosts: dict[str, _Host]
    resource_changes: list[_Row]
    refusals: list[_Refusal]


class _Origin(_Shape):
    model_config = ConfigDict(strict=True, extra="forbid")

    origin: str
    path: str


class _Members(_Shape):
    document: _Document
    origin: _Origin


def check(document: Any, origin: Any) -> None:
    """See that both look as they must.

    Raises:
        ValueError: they do not; the message says where.
    """
    try:
        _Members.model_validate({"document": document, "origin": origin})
    except ValueError as error:
        where = ".".join(map(str, getattr(error, "errors", list)()[0]["loc"]))
        raise ValueError(f"{where} is not what it must be") from error
