"""Specs: YAML files -> `Desired`, with the place of everything and all problems at once.

Reads files, the environment and secrets, never a host. Nothing heavy is imported before `load`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from kvmplan.address import Kind
from kvmplan.diagnostics import Diagnostics
from kvmplan.spec.desired import (
    DEFAULT_PATH,
    Desired,
    HostSpec,
    Lifecycle,
    LoadOptions,
    Reference,
    Resource,
    Stack,
)

if TYPE_CHECKING:
    from kvmplan.mapping.model import Mapped

__all__ = [
    "DEFAULT_PATH",
    "Desired",
    "HostSpec",
    "Lifecycle",
    "LoadOptions",
    "Reference",
    "Resource",
    "Stack",
    "load",
]


def load(
    path: Path,
    options: LoadOptions,
    models: Mapping[Kind, type[Mapped]] | None = None,
) -> tuple[Desired | None, Diagnostics]:
    """Read the stack at a directory or file.

    Args:
        path: a directory (every ``*.yaml`` and ``*.yml`` below it, sorted) or one file.
        options: variables and environment of this run.
        models: the model of each kind; by default those of `kvmplan.kinds`.

    Returns:
        The desired state, None if there is any error (to keep going: if there is no stack); and
        every problem found.
    """
    from kvmplan.spec.stack import load_stack

    if models is None:
        from kvmplan.kinds import MODELS

        models = MODELS
    return load_stack(path, options, models)
