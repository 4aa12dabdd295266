"""Every marker, read and written; and what must not happen beside it."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import pytest
from lxml import etree
from lxml.etree import _Element as Element
from pydantic import Field

from kvmplan.diagnostics import Failure
from kvmplan.mapping.codecs import LOWER, YES_NO
from kvmplan.mapping.document import parse, parse_to_read, serialise
from kvmplan.mapping.lens import Context, patch, read
from kvmplan.mapping.markers import (
    AtLeast,
    Case,
    Foreign,
    Group,
    Is,
    Items,
    Overlay,
    Pairs,
    Policy,
    Presence,
    Runtime,
    Same,
    Secret,
    Through,
    Xml,
)
from kvmplan.mapping.model import Mapped
from kvmplan.mapping.types import ForeignXml, SecretStr, SecretText, XmlText

SOURCE = ("./source",)


def read_pair(element: Element, _: Any) -> str | None:
    node = element.find("pair")
    return None if node is None else f"{node.get('a')}-{node.get('b')}"


def write_pair(element: Element, value: str | None, _: Any) -> None:
    for node in element.findall("pair"):
        element.remove(node)
    if value is not None:
        a, _dash, b = value.partition("-")
        etree.SubElement(element, "pair", a=a, b=b)


class Inner(Mapped):
    """A group."""

    first: Annotated[str | None, Xml("./first")] = None
    """Before the second."""
    second: Annotated[str | None, Xml("./second")] = None
    """After the first."""


class Card(Mapped):
    """An item with variants."""

    exclusive: ClassVar[tuple[tuple[str, ...], ...]] = (("file", "block", "net", "user"),)
    mac: Annotated[str, Xml("./mac/@address", codec=LOWER)]
    """Its key."""
    file: Annotated[
        str | None, Case("./@type", ("file",), SOURCE), Xml("./source/@file", removes="./source")
    ] = None
    """A file."""
    block: Annotated[
        str | None, Case("./@type", ("block",), SOURCE), Xml("./source/@dev", removes="./source")
    ] = None
    """A device."""
    net: Annotated[str | None, Case("./@type", ("net",), SOURCE), Xml("./source/@net")] = None
    """A network."""
    user: Annotated[bool | None, Is("./@type", "user", clears=SOURCE)] = None
    """None of them."""
    group: Annotated[str | None, Xml("./source/@group")] = None
    """Beside the source."""
    boot: Annotated[int | None, Xml("./boot/@order")] = None
    """Its turn."""


class Box(Mapped):
    """Everything."""

    yields: ClassVar[tuple[tuple[str, str], ...]] = (("./os/boot", "./cards/*/boot"),)
    title: Annotated[str | None, Xml("./title")] = None
    """A text."""
    flag: Annotated[bool | None, Xml("./@flag", codec=YES_NO)] = None
    """A boolean."""
    link: Annotated[str | None, Xml("./link/@state", omitted="up")] = None
    """Omitted when up."""
    top: Annotated[int | None, Xml("./n"), AtLeast("now")] = None
    """The most."""
    now: Annotated[int | None, Xml("./n/@now", absent="./n")] = None
    """As many as the most when not written."""
    size: Annotated[
        int | None,
        Xml("./size", unit="KiB"),
        Same(lambda live, want, _: live == -(-want // 1024) * 1024),
    ] = None
    """In whole KiB."""
    order: Annotated[
        tuple[str, ...] | None,
        Field(strict=False),
        Xml("./os/boot/@dev", many=True, clears=("./cards/*/boot",)),
    ] = None
    """A list."""
    mode: Annotated[str | None, Xml("./cpu/@mode", clears=("./cpu/model",))] = None
    """Clears the model."""
    model: Annotated[str | None, Xml("./cpu/model")] = None
    """Cleared by the mode."""
    console: Annotated[bool | None, Presence("./console", also=("./serial",))] = None
    """There or not."""
    agent: Annotated[bool | None, Presence("./channel[target/@name='agent']", skeleton="agent")] = (
        None
    )
    """There or not, one of several."""
    here: Annotated[Inner | None, Group(".")] = None
    """In the element itself."""
    sub: Annotated[Inner | None, Group("./sub")] = None
    """In an element of its own."""
    device: Annotated[Inner | None, Group("./device", skeleton="device")] = None
    """A thing."""
    video: Annotated[str | None, Xml("./video/model/@type", skeleton="video")] = None
    """Made from a skeleton."""
    cards: Annotated[
        dict[str, Card] | None, Items("./cards/card", key=("mac",), named=True, skeleton="card")
    ] = None
    """Named items."""
    pins: Annotated[dict[str, str] | None, Pairs("./tune/pin", key="@cpu", value="@set")] = None
    """Pairs."""
    meta: Annotated[ForeignXml | None, Foreign("./metadata")] = None
    """Foreign elements."""
    pair: Annotated[str | None, Through(read_pair, write_pair, "./pair")] = None
    """More than one node."""
    password: Annotated[SecretStr | None, Xml("./@passwd"), Secret()] = None
    """A secret."""
    active: Annotated[bool | None, Runtime("active")] = None
    """Of the object."""
    policy: Annotated[str | None, Policy()] = None
    """Of ours."""
    xml: Annotated[XmlText | None, Overlay()] = None
    """The rest."""


SKELETONS = {
    "agent": "<channel type='unix'><target name='agent'/></channel>",
    "device": "<device made='yes'/>",
    "video": "<video><model type='vga'/></video>",
    "card": "<card type='file'><model/></card>",
}


def skeleton(name: str, _: Mapping[str, Any]) -> Element:
    return parse(SKELETONS[name])


CONTEXT = Context(skeleton, {("cards",): {"aa:1": "eth0"}}, {"active": True})


def get(text: str, like: Any = None) -> dict[str, Any]:
    return read(Box, parse(text), CONTEXT, like)


def put(text: str, *edits: Any, desired: Any = None) -> str:
    root = parse(text)
    patch(Box, root, [(tuple(path.split(".")), value) for path, value in edits], CONTEXT, desired)
    return serialise(root)


@pytest.mark.parametrize(
    ("field", "value", "before", "after"),
    [
        ("title", "a<b", "<b/>", "<b><title>a&lt;b</title></b>"),
        ("title", "", "<b><title>x</title></b>", "<b/>"),
        ("title", None, "<b><title>x</title></b>", "<b/>"),
        ("flag", False, "<b/>", '<b flag="no"/>'),
        ("link", "down", "<b/>", '<b><link state="down"/></b>'),
        ("link", "up", "<b><link state='down'/></b>", "<b/>"),
        ("size", 2048, "<b><size unit='bytes'>1</size></b>", '<b><size unit="KiB">2</size></b>'),
        ("size", 1025, "<b/>", '<b><size unit="KiB">2</size></b>'),
        ("order", ("hd",), "<b/>", '<b><os><boot dev="hd"/></os></b>'),
        (
            "order",
            ("net", "hd"),
            "<b><os><x/><boot dev='hd' k='1'/><boot dev='cd'/></os></b>",
            '<b><os><x/><boot dev="net"/><boot dev="hd" k="1"/></os></b>',
        ),
        ("order", (), "<b><os><boot dev='hd'/></os></b>", "<b/>"),
        ("console", True, "<b/>", "<b><console/></b>"),
        ("console", False, "<b><serial/><console/><x/></b>", "<b><x/></b>"),
        (
            "agent",
            True,
            "<b><channel><target name='spice'/></channel></b>",
            '<b><channel><target name="spice"/></channel>'
            '<channel type="unix"><target name="agent"/></channel></b>',
        ),
        ("here.first", "1", "<b><second>2</second></b>",
         "<b><first>1</first><second>2</second></b>"),
        ("here", None, "<b><first>1</first><x/></b>", "<b><x/></b>"),
        ("sub.second", "2", "<b/>", "<b><sub><second>2</second></sub></b>"),
        ("sub", None, "<b><sub><x/></sub></b>", "<b/>"),
        ("device", {}, "<b/>", '<b><device made="yes"/></b>'),
        ("device.first", "1", "<b/>", '<b><device made="yes"><first>1</first></device></b>'),
        ("video", "qxl", "<b/>", '<b><video><model type="qxl"/></video></b>'),
        ("video", "qxl", "<b><video><a/></video></b>",
         '<b><video><a/><model type="qxl"/></video></b>'),
        ("pins", {"1": "0-3"}, "<b/>", '<b><tune><pin cpu="1" set="0-3"/></tune></b>'),
        ("pins.1", None, "<b><tune><pin cpu='1' set='0'/></tune></b>", "<b/>"),
        ("pins.1", "2", "<b><tune><pin cpu='1' set='0' k='v'/></tune></b>",
         '<b><tune><pin cpu="1" set="2" k="v"/></tune></b>'),
        ("pins", None, "<b><tune><pin cpu='1' set='0'/><x/></tune></b>",
         "<b><tune><x/></tune></b>"),
        ("pair", "1-2", "<b/>", '<b><pair a="1" b="2"/></b>'),
        ("password", SecretText("p"), "<b/>", '<b passwd="p"/>'),
        ("active", False, "<b/>", "<b/>"),
        ("policy", "x", "<b/>", "<b/>"),
        ("xml", "<b><n>2</n></b>", "<b><n k='1'/></b>", '<b><n k="1">2</n></b>'),
    ],
)  # fmt: skip
def test_written(field: str, value: Any, before: str, after: str) -> None:
    assert put(before, (field, value)) == after
    assert put(after, (field, value)) == after


@pytest.mark.parametrize(
    ("text", "like", "value"),
    [
        ("<b><title> a\n</title></b>", {"title": " a\n"}, {"title": " a\n"}),
        ("<b/>", {"title": ""}, {"title": ""}),
        ("<b/>", {"title": "x", "order": ("hd",)}, {"title": None, "order": None}),
        ("<b/>", {"order": ()}, {"order": ()}),
        ("<b/>", {"link": "up"}, {"link": "up"}),
        ("<b/>", {"link": None, "console": None, "pins": None},
         dict.fromkeys(("link", "console", "pins"))),
        ("<b/>", {"here": None, "device": {}}, {"here": None, "device": None}),
        ("<b><first>1</first></b>", {"here": None}, {"here": {"first": "1"}}),
        ("<b><n>many</n></b>", {"top": 2}, {"top": "many"}),
        ("<b><n>4</n></b>", {"now": 2}, {"now": 4}),
        ("<b><n now='1'>4</n></b>", {"now": 2}, {"now": 1}),
        ("<b><size unit='MiB'>1</size></b>", {"size": 1 << 20}, {"size": 1 << 20}),
        ("<b><size>2</size></b>", {"size": 1025}, {"size": 1025}),
        ("<b><size unit='ell'>2</size></b>", {"size": 1}, {"size": "2ell"}),
        ("<b flag='maybe'/>", {"flag": True}, {"flag": "maybe"}),
        ("<b/>", {"active": False, "policy": "x"}, {"active": True, "policy": "x"}),
        ("<b><n>2</n></b>", {"xml": "<b><n>2</n></b>"}, {"xml": "<b><n>2</n></b>"}),
        ("<b><n>2</n></b>", {"xml": "<b><n>3</n></b>"}, {"xml": None}),
    ],
)  # fmt: skip
def test_read_like(text: str, like: Any, value: Any) -> None:
    assert get(text, like) == value


def test_read_whole_leaves_out_what_is_not_there() -> None:
    assert get("<b/>") == {"link": "up", "console": False, "agent": False, "active": True}


def test_a_follower_is_pinned_only_below_its_ceiling() -> None:
    assert put("<b><n>4</n></b>", ("top", 8)) == '<b><n now="4">8</n></b>'
    assert put("<b><n>4</n></b>", ("top", 2)) == "<b><n>2</n></b>"
    assert put("<b><n now='1'>4</n></b>", ("top", 8)) == '<b><n now="1">8</n></b>'


def test_what_is_cleared_and_wanted_is_written_again() -> None:
    text = "<b><cpu mode='custom'><model fallback='no'>m</model><x/></cpu></b>"
    assert put(text, ("mode", "host")) == '<b><cpu mode="host"><x/></cpu></b>'
    kept = put(text, ("mode", "other"), desired={"mode": "other", "model": "m"})
    assert get(kept, {"model": "m"}) == {"model": "m"}


CARDS = (
    "<b><os><boot dev='hd'/></os><cards>"
    "<card type='file'><mac address='AA:1'/><source file='/f'/><kept/></card>"
    "<card type='net'><mac address='aa:2'/><source net='n' group='g'/></card></cards></b>"
)


def test_named_items_are_paired_by_their_natural_key() -> None:
    assert get(CARDS)["cards"] == {
        "eth0": {"mac": "aa:1", "file": "/f"},
        "aa:2": {"mac": "aa:2", "net": "n", "group": "g"},
    }


def test_the_same_key_twice_is_two_items() -> None:
    twice = CARDS.replace("aa:2", "aa:1")
    assert list(get(twice)["cards"]) == ["eth0", "eth0#2"]
    assert list(get(put(twice, ("cards.eth0#2", None)))["cards"]) == ["eth0"]


def test_items_are_added_changed_and_removed() -> None:
    added = put(CARDS, ("cards.x", {"mac": "aa:3", "block": "/d"}))
    assert '<card type="block"><model/><mac address="aa:3"/><source dev="/d"/></card>' in added
    assert put(added, ("cards.aa:3", None)) == serialise(parse(CARDS))
    assert get(put(CARDS, ("cards", None))).get("cards") is None
    late = put(CARDS, ("cards.x.net", "n"), desired={"cards": {"x": {"mac": "aa:4"}}})
    assert get(late)["cards"]["aa:4"] == {"mac": "aa:4", "net": "n"}


@pytest.mark.parametrize(
    "edits",
    [
        [("cards.eth0.file", None), ("cards.eth0.block", "/d")],
        [("cards.eth0.block", "/d"), ("cards.eth0.file", None), ("cards.eth0.net", None)],
    ],
)
def test_variants_replace_each_other(edits: list[Any]) -> None:
    changed = put(CARDS, *edits)
    assert get(changed)["cards"]["eth0"] == {"mac": "aa:1", "block": "/d"}
    assert '<card type="block"><mac address="AA:1"/><kept/><source dev="/d"/></card>' in changed


def test_a_variant_clears_before_others_are_written() -> None:
    changed = put(CARDS, ("cards.eth0.group", "g"), ("cards.eth0.net", "n"))
    assert get(changed)["cards"]["eth0"] == {"mac": "aa:1", "net": "n", "group": "g"}
    user = put(CARDS, ("cards.aa:2.user", True))
    assert '<card type="user"><mac address="aa:2"/></card>' in user
    assert put(user, ("cards.aa:2.user", True)) == user
    assert put(CARDS, ("cards.eth0.user", False)) == serialise(parse(CARDS))


def test_what_yields_goes_when_the_other_comes() -> None:
    ordered = put(CARDS, ("cards.eth0.boot", 1))
    assert "<os>" not in ordered
    assert 'order="1"' in ordered
    back = put(ordered, ("order", ("hd",)))
    assert "order=" not in back
    both = CARDS.replace("<kept/>", "<boot order='1'/>")
    assert "<os>" in put(both, ("title", "x")), "what no change names is not touched"


def test_foreign_elements_meet_by_namespace() -> None:
    text = "<b><metadata><!--c--><o:x xmlns:o='urn:o'><y/></o:x></metadata></b>"
    like = {"meta": {"urn:n": "<note>ours</note>"}}
    written = put(text, ("meta", like["meta"]))
    assert "<!--c--><o:x" in written
    assert get(written, like) == like
    assert get(written, {"meta": {"urn:o": "<x><y/></x>"}})["meta"]["urn:o"] == "<x><y/></x>"
    assert get(text)["meta"] == {"urn:o": '<o:x xmlns:o="urn:o"><y></y></o:x>'}
    replaced = put(text, ("meta.urn:o", "<z xmlns='urn:o'/>"))
    assert '<z xmlns="urn:o"/>' in replaced
    assert "o:x" not in replaced
    assert put(written, ("meta.urn:n", None)) == serialise(parse(text))
    assert put("<b/>", ("meta.urn:n", None)) == "<b/>"


def test_fragments_are_checked_when_they_are_validated() -> None:
    for broken in (
        {"xml": "<b>"},
        {"meta": {"urn:a": "<b"}},
        {"meta": {"urn:a": "<b xmlns='c'/>"}},
    ):
        with pytest.raises(ValueError, match="XML"):
            Box.model_validate(broken)


def test_secrets_never_show() -> None:
    import copy
    import json
    import pickle

    box = Box.model_validate({"password": "hunter2"})
    secret = box.password
    shown = [repr(box), str(box), repr(secret), f"{secret}", repr({"p": secret}), repr((secret,))]
    assert not any("hunter2" in text for text in shown)
    assert secret == SecretText("hunter2") == copy.deepcopy(secret)
    assert get("<b passwd='hunter2'/>")["password"] == secret
    for leak in (lambda: pickle.dumps(secret), lambda: json.dumps(secret), box.model_dump_json):
        with pytest.raises((TypeError, ValueError)) as caught:
            leak()
        assert "hunter2" not in str(caught.value)


def test_parse_says_where() -> None:
    with pytest.raises(ValueError, match="line 2"):
        parse("<a>\n<b></a>")
    bomb = "<!DOCTYPE a [<!ENTITY e SYSTEM 'file:///etc/hostname'>]><a>&e;</a>"
    assert parse(bomb).text in (None, "")


def test_what_the_host_gives_as_xml_is_told_if_it_is_none() -> None:
    with pytest.raises(Failure) as failure:
        parse_to_read("<domain><name>web</domain>")
    (problem,) = failure.value.diagnostics
    assert (problem.code, "is not XML" in problem.summary) == ("KVP517", True)
