"""Followers: `AtLeast` at birth, later, inside groups and collections."""

from typing import Annotated, Any

import pytest

from kvmplan.mapping.complete import complete
from kvmplan.mapping.markers import AtLeast, Group, Items, Xml
from kvmplan.mapping.model import Mapped


class Count(Mapped):
    """A count and its maximum."""

    top: Annotated[int | None, Xml("./n"), AtLeast("now")] = None
    """The most."""
    now: Annotated[int | None, Xml("./n/@now", absent="./n")] = None
    """Now."""


class Named(Count):
    """An item."""

    name: Annotated[str, Xml("./@name")]
    """Its key, which is a field's name too."""


class Holder(Mapped):
    """Groups and items."""

    count: Annotated[Count | None, Group(".")] = None
    """A group."""
    items: Annotated[dict[str, Named] | None, Items("./i", key=("name",))] = None
    """Items."""


@pytest.mark.parametrize(
    ("desired", "live", "expected"),
    [
        ({"now": 2}, None, {"now": 2, "top": 2}),
        ({"now": 2}, {"top": 4, "now": 4}, {"now": 2}),
        ({"now": 6}, {"top": 4, "now": 4}, {"now": 6, "top": 6}),
        ({"now": 6}, {}, {"now": 6, "top": 6}),
        ({"now": 6, "top": 8}, {"top": 4}, {"now": 6, "top": 8}),
        ({"top": 8}, None, {"top": 8, "now": 8}),
        ({"top": 8}, {"top": 4, "now": 4}, {"top": 8}),
        ({"top": 2}, {"top": 4, "now": 4}, {"top": 2, "now": 2}),
        ({}, None, {}),
        ({}, {"top": 1, "now": 1}, {}),
    ],
)
def test_followers(desired: Any, live: Any, expected: Any) -> None:
    assert complete(Count, desired, live) == expected
    holder = None if live is None else {"count": live}
    assert complete(Holder, {"count": desired}, holder) == {"count": expected}


def test_items_are_completed_each_against_its_own() -> None:
    desired = {"items": {"top": {"name": "top", "now": 5}, "b": {"name": "b", "now": 1}, "c": None}}
    live = {"items": {"top": {"name": "top", "top": 3, "now": 3}, "b": {"top": 3, "now": 3}}}
    assert complete(Holder, desired, live)["items"] == {
        "top": {"name": "top", "now": 5, "top": 5},
        "b": {"name": "b", "now": 1},
        "c": None,
    }


def test_a_group_of_a_real_kind_gets_its_follower() -> None:
    from kvmplan.kinds.domain import Domain

    assert complete(Domain, {"memory": {"current": 5}}, None) == {
        "memory": {"current": 5, "maximum": 5}
    }
