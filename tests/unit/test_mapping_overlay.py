"""Overlays: which element meets which."""

import pytest
from lxml.etree import _Element as Element

from kvmplan.mapping.document import parse, serialise
from kvmplan.mapping.overlay import left_out, merge, satisfied


@pytest.mark.parametrize(
    ("document", "fragment", "merged"),
    [
        ("<d><a>1</a></d>", "<d><a>2</a></d>", "<d><a>2</a></d>"),
        ("<d a='1' b='2'/>", "<d b='3'/>", '<d a="1" b="3"/>'),
        ("<d><a>1</a></d>", "<d>\n <a/>\n</d>", "<d><a>1</a></d>"),
        ("<domain><memory>1</memory></domain>", "<domain><memory unit='M'>2</memory></domain>",
         '<domain><memory unit="M">2</memory></domain>'),
        ("<devices><disk><target dev='a'/></disk><disk><target dev='b'/></disk></devices>",
         "<devices><disk><target dev='b'/><serial>s</serial></disk></devices>",
         '<devices><disk><target dev="a"/></disk>'
         '<disk><target dev="b"/><serial>s</serial></disk></devices>'),
        ("<devices><disk><target dev='a'/></disk><x/></devices>",
         "<devices><disk><target dev='b'/></disk></devices>",
         '<devices><disk><target dev="a"/></disk><disk><target dev="b"/></disk><x/></devices>'),
        ("<devices><controller type='usb' index='0'/></devices>",
         "<devices><controller type='scsi' index='0' model='m'/></devices>",
         '<devices><controller type="usb" index="0"/>'
         '<controller type="scsi" index="0" model="m"/></devices>'),
        ("<devices><hostdev type='pci'><source bus='1'/></hostdev></devices>",
         "<devices><hostdev type='pci'><source bus='2'/></hostdev></devices>",
         '<devices><hostdev type="pci"><source bus="1"/></hostdev>'
         '<hostdev type="pci"><source bus="2"/></hostdev></devices>'),
        ("<devices><memballoon model='virtio'/></devices>",
         "<devices><memballoon model='none'/></devices>",
         '<devices><memballoon model="none"/></devices>'),
        ("<devices><disk><alias name='ua-x'/></disk></devices>",
         "<devices><disk><alias name='ua-x'/><serial>s</serial></disk></devices>",
         '<devices><disk><alias name="ua-x"/><serial>s</serial></disk></devices>'),
        ("<commandline><arg value='-device'/><arg value='z'/></commandline>",
         "<commandline><arg value='-device'/><arg value='x'/><arg value='-device'/></commandline>",
         '<commandline><arg value="-device"/><arg value="z"/><arg value="-device"/>'
         '<arg value="x"/><arg value="-device"/></commandline>'),
        ("<os><boot dev='hd'/></os>", "<os><boot dev='cdrom'/></os>",
         '<os><boot dev="hd"/><boot dev="cdrom"/></os>'),
        ("<d><!--kept--></d>", "<d><!--not ours--><a/></d>", "<d><!--kept--><a/></d>"),
    ],
)  # fmt: skip
def test_merge(document: str, fragment: str, merged: str) -> None:
    root, overlay = parse(document), parse(fragment)
    assert satisfied(root, overlay) is (serialise(parse(document)) == merged)
    merge(root, overlay)
    assert serialise(root) == merged
    assert satisfied(root, overlay)
    merge(root, overlay)
    assert serialise(root) == merged


def test_what_the_fragment_before_added_goes_with_it() -> None:
    host = "<hostdev type='pci'><source bus='{}'/></hostdev>"
    disk = "<disk><target dev='vda'/><serial>{}</serial></disk>"
    root = parse(
        f"<domain><devices>{host.format(9)}<disk><target dev='vda'/></disk></devices></domain>"
    )
    one = parse(
        f"<domain><devices>{host.format(1)}{host.format(2)}{disk.format('a')}</devices></domain>"
    )
    two = parse(f"<domain><devices>{host.format(2)}{host.format(3)}</devices></domain>")
    merge(root, one)
    merge(root, two, one)
    assert [node.get("bus") for node in root.iter("source")] == ["9", "2", "3"]
    assert root.find("devices/disk/serial") is not None
    merge(root, two, one)
    assert [node.get("bus") for node in root.iter("source")] == ["9", "2", "3"]


@pytest.mark.parametrize(
    ("new", "merged", "left"),
    [
        ("<domain/>", False, ["@type", "devices", "title"]),
        (
            "<domain type='qemu'><title>b</title><devices><hostdev><source bus='2'/></hostdev>"
            "</devices></domain>",
            True,
            ["devices/disk"],
        ),
        (
            "<domain type='kvm'><title>a</title><devices>"
            "<disk><target dev='vda'/></disk></devices></domain>",
            False,
            ["devices/disk/serial", "devices/hostdev"],
        ),
    ],
)
def test_what_has_left_a_fragment_and_stays_is_told(
    new: str, merged: bool, left: list[str]
) -> None:
    past = parse(
        "<domain type='kvm'><title>a</title><devices><hostdev><source bus='1'/></hostdev>"
        "<disk><target dev='vda'/><serial>s</serial></disk></devices></domain>"
    )
    assert left_out(parse(new), past, merged=merged) == left


def test_arguments_that_have_left_are_told_unless_the_others_are_merged_anew() -> None:
    def arguments(*values: str) -> Element:
        inner = "".join(f"<arg value='{value}'/>" for value in values)
        return parse(f"<domain><commandline>{inner}</commandline></domain>")

    past = arguments("-a", "-b")
    assert left_out(arguments("-a"), past, merged=False) == ["commandline/arg"]
    assert left_out(arguments("-c"), past, merged=True) == []
    assert left_out(arguments("-a", "-b"), past, merged=False) == []


def test_foreign_namespaces_meet_whatever_their_prefix() -> None:
    root = parse("<d xmlns:q='urn:q'><q:x a='1'/></d>")
    overlay = parse("<d xmlns:p='urn:q'><p:x a='1'/></d>")
    assert satisfied(root, overlay)
    assert not satisfied(root, parse("<d><x a='1'/></d>"))
