"""The kinds: the only place where fields are declared. Each module is one kind or one device.

What is exported here is loaded on first use: whoever needs a verb's name pays for no model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kvmplan.kinds.models import MODELS
    from kvmplan.kinds.words import describe, key_fields

__all__ = ["MODELS", "describe", "key_fields"]


def __getattr__(name: str) -> Any:
    if name == "MODELS":
        from kvmplan.kinds.models import MODELS

        return MODELS
    if name == "describe":
        from kvmplan.kinds.words import describe

        return describe
    if name == "key_fields":
        from kvmplan.kinds.words import key_fields

        return key_fields
    raise AttributeError(name)
