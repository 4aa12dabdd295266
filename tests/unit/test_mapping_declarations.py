"""A mistake in a declaration is a TypeError when its class is made."""

from typing import Annotated, Any, ClassVar, Literal

import pytest
from pydantic import ValidationError, create_model

from kvmplan.mapping.codecs import YES_NO
from kvmplan.mapping.docs import field_doc
from kvmplan.mapping.markers import (
    AtLeast,
    Belongings,
    Case,
    Foreign,
    Group,
    Is,
    Items,
    On,
    Pairs,
    Policy,
    Presence,
    Ref,
    Runtime,
    Same,
    Secret,
    Xml,
)
from kvmplan.mapping.model import Mapped, bindings, strategy_of
from kvmplan.mapping.strategy import born, live, next_boot


class Leaf(Mapped):
    """A leaf."""

    name: Annotated[str | None, Xml("./@name")] = None
    """Its name."""


def declare(type_: Any, *marks: Any) -> type[Mapped]:
    from pydantic import Field

    annotated = Annotated[(type_ | None, *marks, Field(description="A field."))]
    return create_model("Probe", __base__=Mapped, field=(annotated, None))


@pytest.mark.parametrize(
    ("type_", "marks", "message"),
    [
        (str, (), "one place marker needed, found 0"),
        (str, (Xml("./a"), Policy()), "one place marker needed, found 2"),
        (Leaf, (Xml("./a"),), "needs Group or Items"),
        (str, (Group("./a"),), "Group needs a Mapped type"),
        (str, (Presence("./a"),), "for booleans"),
        (str, (Is("./@a", "b"),), "for booleans"),
        (bool, (Xml("./a"),), "needs a codec"),
        (Leaf, (Items("./a", key=("name",)),), "needs a dict"),
        (dict[str, Leaf], (Items("./a", key=("nope",)),), "is no field of Leaf"),
        (dict[str, Leaf], (Items("./a", key=()),), "is no field of Leaf"),
        (dict[str, Leaf], (Items("./@a", key=("name",)),), "stands at an element"),
        (str, (Pairs("./a", "@k", "@v"),), "needs a dict"),
        (dict[str, str], (Pairs("./a", "k", "@v"),), "are attributes"),
        (str, (Foreign("./a"),), "needs a dict"),
        (dict[str, str], (Xml("./a"),), "not for a dict"),
        (str, (Xml("./a", many=True),), "many=True goes with"),
        (tuple[str, ...], (Xml("./a"),), "many=True goes with"),
        (str, (Xml("./a", unit="KiB"),), "a unit is for"),
        (int, (Xml("./a", unit="furlong"),), "no unit"),
        (str, (Xml("a"),), "is not a path"),
        (str, (Xml("./a//b"),), "is not a path"),
        (str, (Xml("./@a/b"),), "is not a path"),
        (str, (Xml("./x:a"),), "is not a path"),
        (str, (Xml("./a[b]/c"),), "is not a path"),
        (str, (Xml("./a", absent="b c"),), "is not a path"),
        (str, (Xml("./a", clears=("..",)),), "is not a path"),
        (str, (Case("type", ("a",)), Xml("./a")), "is not a path"),
        (str, (Case("./@type", ()), Xml("./a")), "Case needs a value"),
        (str, (Case("./@type", ("a",)), Runtime("a")), "Case does not go with Runtime"),
        (bool, (Presence("./a[b/@c='d']"),), "needs a skeleton"),
        (str, (Xml("./*/a"),), "needs a skeleton"),
        (dict[str, str], (Foreign("./a"), Same(lambda *_: True)), "Same does not go with"),
        (dict[str, str], (Foreign("./a"), Ref("pool")), "Ref does not go with"),
        (bool, (Presence("./a"), Secret()), "Secret is for a text"),
        (str, (Xml("./a"), On(born()), On(born())), "two markers On"),
        (int, (Xml("./a"), AtLeast("other")), "no field beside it"),
    ],
)
def test_contradictions(type_: Any, marks: tuple[Any, ...], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        declare(type_, *marks)


def test_docstrings_below_fields_are_found_where_they_are_asked_for() -> None:
    class Told(Leaf):
        field: Annotated[str | None, Xml("./a")] = None
        """What it means,
        in two lines."""
        bare: Annotated[str | None, Xml("./b")] = None

    assert field_doc(Told, "field") == "What it means,\nin two lines."
    assert field_doc(Told, "name") == "Its name."
    with pytest.raises(TypeError, match=r"Told\.bare: no docstring"):
        field_doc(Told, "bare")


def test_class_attributes_name_fields_and_paths() -> None:
    with pytest.raises(TypeError, match="'nope' is no field"):

        class Scalar(Mapped):
            scalar: ClassVar[str] = "nope"

    with pytest.raises(TypeError, match="'gone' is no field"):

        class Exclusive(Mapped):
            exclusive: ClassVar[tuple[tuple[str, ...], ...]] = (("gone",),)

    with pytest.raises(TypeError, match="in yields is not a path"):

        class Yields(Mapped):
            yields: ClassVar[tuple[tuple[str, str], ...]] = (("a", "./b"),)

    with pytest.raises(TypeError, match="in belongings is not a path"):

        class Owns(Mapped):
            belongings: ClassVar[tuple[Belongings, ...]] = (Belongings(("./a",), ("b",)),)


def test_codecs_follow_the_type() -> None:
    for type_, text, value in [
        (int, "7", 7),
        (float, "0.5", 0.5),
        (str, "7", "7"),
        (Literal["a", "b"], "a", "a"),
    ]:
        assert bindings(declare(type_, Xml("./a")))["field"].codec.decode(text) == value
    assert bindings(declare(bool, Xml("./a", codec=YES_NO)))["field"].codec.decode("yes") is True


@pytest.mark.parametrize("value", ["a\x00b", "\x1b[0m", "\ud800", "\ufffe"])
def test_what_xml_cannot_hold_is_refused(value: str) -> None:
    with pytest.raises(ValidationError, match=r"cannot stand in XML|surrogates"):
        Leaf(name=value)


def test_the_innermost_strategy_speaks() -> None:
    inner, outer, added = live("set"), next_boot("outer"), live("attach")

    class Item(Mapped):
        """An item."""

        name: Annotated[str, Xml("./@name")]
        """Its key."""
        live: Annotated[str | None, Xml("./a"), On(inner)] = None
        """Changes live."""

    class Top(Mapped):
        """The top."""

        items: Annotated[
            dict[str, Item] | None, Items("./item", key=("name",)), On(outer, added=added)
        ] = None
        """Items."""

    def strategy(*path: str, added: bool = False, removed: bool = False) -> Any:
        return strategy_of(Top, path, added=added, removed=removed)

    assert strategy("items", "k", added=True) is added
    assert strategy("items", "k", removed=True) is outer
    assert strategy("items", "k", "live") is inner
    assert strategy("items", "k", "live", added=True) is inner
    assert strategy("items", "k", "name") is outer
