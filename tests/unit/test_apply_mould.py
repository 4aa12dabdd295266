"""Moulds and likenesses: what they give is what the usual way gives, or they give nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kvmplan.address import LOCAL, Address, Kind
from kvmplan.apply.documents import new_document, new_text
from kvmplan.apply.likeness import ATTEMPTS, Filling, Likenesses
from kvmplan.apply.mould import WORTH_IT, LookedInto, Moulds, Stage, StandIn, cast_of
from kvmplan.apply.site import Site
from kvmplan.inventory import Inventory, Record, State
from kvmplan.kinds.models import MODELS
from kvmplan.kinds.skeletons import SOURCE_TREE, skeletons
from kvmplan.mapping.document import serialise
from kvmplan.mapping.model import Mapped, bindings
from kvmplan.plan.born import Births
from kvmplan.plan.intent import Intent, intend
from kvmplan.spec import LoadOptions, load
from tests.cases.stage import facts_of
from tests.unit.fakehost import STACK

VOLUME = (
    "<volume type='{type}'><key>{path}</key>"
    "<target><path>{path}</path><format type='{format}'/></target></volume>"
)
SPECS = """\
stack: {{name: lab, uid: {uid}}}
pools: {{vms: {{path: /vms}}}}
domains: {domains}
"""


class Bench:
    """Makes the documents of domains, on the usual way and from moulds."""

    def __init__(self, folder: Path, templates: Path | None = None) -> None:
        self._folder, self._templates = folder, templates
        self.volumes: dict[str, tuple[str, str, str]] = {}

    def _inventory(self) -> Inventory:
        records = {}
        for name, (type_, path, format_) in self.volumes.items():
            address = Address(LOCAL, Kind.VOLUME, name)
            text = VOLUME.format(type=type_, path=path, format=format_)
            records[address] = Record(address, path, text, None, State.STOPPED)
        return Inventory(LOCAL, facts_of(LOCAL), records, {})

    def made(self, domains: Mapping[str, Any]) -> list[bool]:
        """Whether each of the domains was filled in; it is the same as on the usual way."""
        specs = self._folder / "specs"
        specs.mkdir(exist_ok=True)
        (specs / "all.yaml").write_text(SPECS.format(uid=STACK, domains=json.dumps(domains)))
        desired, found = load(specs, LoadOptions(keep_going=True))
        assert desired is not None, [item.summary for item in found]
        inventory = self._inventory()
        births = Births(skeletons(self._templates), desired, {LOCAL: inventory})
        host: Any = SimpleNamespace(record=lambda address, **_: inventory.record(address))
        site = Site(host, inventory, births, STACK)
        filled = []
        for name in domains:
            resource = desired.resources[Address(LOCAL, Kind.DOMAIN, name)]
            intent = intend(resource, inventory, STACK, births)
            text, filling = new_text(site, intent)
            assert text == serialise(new_document(site, intent)), name
            filled.append(filling is not None)
        return filled


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


USUAL, FILLED = [False] * WORTH_IT, [True] * 3


def several(make: Callable[[int], dict[str, Any]], count: int = WORTH_IT + 3) -> dict[str, Any]:
    return {f"vm{number}": make(number) for number in range(count)}


def disk_of(bench: Bench, number: int, type_: str = "file", format_: str = "raw") -> dict[str, Any]:
    bench.volumes[f"vms/d{number}"] = (type_, f"/vms/d{number}", format_)
    return {"vda": {"volume": f"vms/d{number}"}}


def test_domains_that_differ_in_free_texts_are_filled_in(bench: Bench) -> None:
    def make(number: int) -> dict[str, Any]:
        disks = {**disk_of(bench, number), "vdb": {"file": f"/srv/{number}.raw", "format": "raw"}}
        macs = [f"52:54:00:00:{number:02x}:{last:02x}" for last in (2, 1)]
        interfaces = {
            "eth0": {"network": "lan", "mac": macs[0]},
            "eth1": {"user": True, "mac": macs[1]},
        }
        return {
            "uuid": f"00000000-0000-4000-8000-{number:012x}",
            "title": f"machine {number}",
            "description": f"the one with number {number}",
            "memory": "1GiB",
            "disks": disks,
            "interfaces": interfaces,
            "boot": ["hd", "network"],
            "metadata": {"urn:x": "<x:a xmlns:x='urn:x'>1 &amp; 2</x:a>"},
        }

    assert bench.made(several(make)) == USUAL + FILLED


def test_every_free_field_comes_through_a_mould() -> None:
    found = set[str]()
    todo: list[type[Mapped]] = list(MODELS.values())
    seen = set[type[Mapped]]()
    while todo:
        model = todo.pop()
        seen.add(model)
        for name, binding in bindings(model).items():
            found |= {f"{model.__name__}.{name}"} if binding.free else set()
            if binding.item is not None and binding.item not in seen:
                todo.append(binding.item)
    tested = {"uuid", "title", "description"}
    assert found == {f"Domain.{name}" for name in tested} | {
        "Disk.volume",
        "Disk.file",
        "Interface.mac",
    }, "test_domains_that_differ_in_free_texts_are_filled_in has to have it, too"


@pytest.mark.parametrize(
    "title", ["a & b", "<b>", 'say "x"', "it's", "ä", " led", "two  blanks", "a\\b", "50%", ""]
)
def test_texts_that_need_more_than_writing_are_written(bench: Bench, title: str) -> None:
    titles = ["one", "two", "three", title, "five"]
    made = bench.made(several(lambda n: {"title": titles[n]}, len(titles)))
    assert made[:3] == USUAL
    assert made[4]


def test_other_values_have_other_moulds(bench: Bench) -> None:
    sizes = ["1GiB", "1GiB", "1GiB", "2GiB", "1GiB", "2GiB", "2GiB", "2GiB"]
    made = bench.made(several(lambda n: {"memory": sizes[n]}, len(sizes)))
    assert made == [False, False, False, False, True, False, False, True]


def test_the_format_of_a_volume_is_no_text(bench: Bench) -> None:
    formats = ["raw", "raw", "raw", "qcow2", "raw", "qcow2", "qcow2", "qcow2", "qcow2"]
    made = bench.made(
        several(lambda n: {"disks": disk_of(bench, n, format_=formats[n])}, len(formats))
    )
    assert made == [False, False, False, False, True, False, False, True, True]


@pytest.mark.parametrize(
    "more", [{"xml": "<domain><title>x</title></domain>"}, {"graphics": {"vnc": {"password": "p"}}}]
)
def test_what_depends_on_more_is_made_on_the_usual_way(bench: Bench, more: dict[str, Any]) -> None:
    assert not any(bench.made(several(lambda n: more)))


def test_a_disk_on_a_device_is_nothing_that_schemas_take_as_it_comes(bench: Bench) -> None:
    assert not any(bench.made(several(lambda n: {"disks": disk_of(bench, n, "block")})))


def test_the_order_of_macs_is_part_of_the_mould(bench: Bench) -> None:
    def make(number: int) -> dict[str, Any]:
        macs = [f"52:54:00:00:{number:02x}:{last:02x}" for last in (1, 2)]
        first, second = macs if number % 3 else reversed(macs)
        return {
            "interfaces": {"a": {"user": True, "mac": first}, "b": {"user": True, "mac": second}}
        }

    made = bench.made(several(make, 12))
    assert made[:4] == [False] * 4
    assert made[-4:] == [True] * 4


def test_one_mac_twice_is_nothing_for_a_mould(bench: Bench) -> None:
    mac = "52:54:00:00:00:01"
    both = {"a": {"user": True, "mac": mac}, "b": {"user": True, "mac": mac}}
    assert not any(bench.made(several(lambda n: {"interfaces": both})))


def test_own_templates_may_depend_on_anything(tmp_path: Path) -> None:
    own = tmp_path / "templates"
    own.mkdir()
    template = (SOURCE_TREE / "domain.xml.j2").read_text()
    long = "{% if name|length > 3 %}<title>long</title>{% endif %}\n  <memory unit"
    (own / "domain.xml.j2").write_text(template.replace("<memory unit", long, 1))
    bench = Bench(tmp_path, own)
    assert not any(bench.made(several(lambda n: {}, 12)))


LOOKS: list[Callable[[Any], Any]] = [
    lambda it: it == "a",
    lambda it: it != "a",
    lambda it: it < "a",
    lambda it: "a" in it,
    len,
    hash,
    list,
    lambda it: it[0],
    lambda it: it + "a",
    lambda it: it % (),
    lambda it: f"{it:>3}",
    lambda it: it.startswith("a"),
    lambda it: it.lower(),
    lambda it: {it: 1},
    repr,
]


@pytest.mark.parametrize("look", LOOKS)
def test_a_stand_in_cannot_be_looked_into(look: Callable[[Any], Any]) -> None:
    with pytest.raises(LookedInto):
        look(StandIn("text"))


def test_a_stand_in_can_be_written() -> None:
    one = StandIn("text")
    assert str(one) == "text"
    assert bool(one)
    assert one not in ("", None)
    assert json.dumps({"a": one}) == '{"a": "text"}'


def test_what_goes_wrong_with_stand_ins_is_no_error() -> None:
    domain: Any = MODELS[Kind.DOMAIN]
    moulds, trees = Moulds(), ({"title": "one"},)
    cast = cast_of(domain, trees, "web", STACK)

    def break_(_: Stage) -> str:
        raise ValueError

    for _ in range(WORTH_IT):
        moulds.learn(cast, "<domain/>", domain, trees, break_, lambda _: None)
    assert moulds.filled(cast, lambda _: None) is None


def filled(*texts: str, mould: str = "m") -> Filling:
    return Filling(mould, texts)


def test_a_third_document_like_two_others_is_known() -> None:
    known = Likenesses()
    for name in "ab":
        assert not known.holds(filled(name * 3, "x"), f"<n>{name * 3}</n><t>x</t><m>1</m>")
        known.learn(filled(name * 3, "x"), f"<n>{name * 3}</n><t>x</t><m>1</m>")
    assert known.holds(filled("ccc", "x"), "<n>ccc</n><t>x</t><m>1</m>")
    assert not known.holds(filled("ccc", "x"), "<n>ccc</n><t>x</t><m>2</m>")
    assert not known.holds(filled("ccc", "x"), "<n>ddd</n><t>x</t><m>1</m>")
    assert not known.holds(filled("ccc", "y"), "<n>ccc</n><t>y</t><m>1</m>")
    assert not known.holds(filled("ccc", "x", mould="n"), "<n>ccc</n><t>x</t><m>1</m>")


def test_documents_that_differ_in_more_are_not_alike() -> None:
    known = Likenesses()
    for number in range(ATTEMPTS + 3):
        known.learn(filled(f"n{number}"), f"<n>n{number}</n><random>{number * 7}</random>")
    assert not known.holds(filled("n99"), "<n>n99</n><random>21</random>")


def test_equal_fillings_teach_nothing() -> None:
    known = Likenesses()
    for _ in range(ATTEMPTS + 3):
        known.learn(filled("a"), "<n>a</n>")
    assert not known.holds(filled("a"), "<n>a</n>")


def test_an_intent_beside_a_record_is_no_new_one(bench: Bench) -> None:
    def replaced(intent: Intent) -> Intent:
        address = intent.address
        return replace(intent, record=Record(address, STACK, "<domain/>", None, State.STOPPED))

    from kvmplan.apply import documents

    site: Any = SimpleNamespace()
    domain: Any = MODELS[Kind.DOMAIN]
    resource: Any = SimpleNamespace(address=Address(LOCAL, Kind.DOMAIN, "web"))
    assert documents._cast(site, replaced(Intent(resource, domain, {})), ()) is None
