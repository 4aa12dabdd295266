"""A host in memory that keeps documents, records every call and fails where it is told to."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterable, Mapping, Set
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from lxml import etree

from kvmplan.address import LOCAL, Address, Kind
from kvmplan.apply.port import ConsoleTail, HostError, Lock, NotReady, Vanished
from kvmplan.inventory import (
    EMPTY,
    Claims,
    GuestAddress,
    GuestFacts,
    HostFacts,
    Inventory,
    LockInfo,
    Record,
    State,
    Wanted,
)
from kvmplan.kinds.models import MODELS
from kvmplan.kinds.skeletons import skeletons
from kvmplan.kinds.verbs import Scope, Verb
from kvmplan.mapping.model import declared, has_secrets, walk
from kvmplan.plan.options import PlanOptions
from kvmplan.plan.planner import Planned, Planner
from kvmplan.spec.desired import Desired, Lifecycle, Reference, Resource, Stack
from tests.elements import attributes, the

T = TypeVar("T")

STACK = "0d9f3c1e-6c1f-4c4f-9a53-0f6a8a3a2b11"
FACTS = HostFacts(
    uri="fake:///",
    uuid="5d1c2e3f-0000-4000-8000-000000000001",
    guests={
        "x86_64": GuestFacts(("qemu",), {"q35": "pc-q35-7.2", "pc": "pc-i440fx-7.2"}),
    },
)


@dataclass
class Thing:
    """One object of the fake host."""

    document: str
    key: str
    running: str | None = None
    active: bool = False
    autostart: bool = False
    content: Any = None


@dataclass
class FakeHost:
    """Implements `kvmplan.apply.port.Host` on dictionaries.

    Attributes:
        calls: what was performed, in order.
        refuse: (verb, address.short) -> the error to raise instead of performing.
        busy: address.short -> what each look for jobs finds, in turn; nothing when it is empty.
        unready: address.short -> how many looks find its guest not ready.
        keyed: the stack's key.
        starts: how many objects were started: the id of the domain that was last.
        before: called with (verb, address) before each performance, outside of any lock.
    """

    name: str = LOCAL
    facts: HostFacts = FACTS
    things: dict[Address, Thing] = field(default_factory=dict)
    calls: list[tuple[Verb, str, dict[str, Any]]] = field(default_factory=list)
    reads: list[str] = field(default_factory=list)
    refuse: dict[tuple[Verb, str], HostError] = field(default_factory=dict)
    before: Callable[[Verb, Address], None] = lambda verb, address: None
    busy: dict[str, list[tuple[str, ...]]] = field(default_factory=dict)
    unready: dict[str, int] = field(default_factory=dict)
    keyed: bytes = b""
    starts: int = 0
    claims: Claims | None = None
    claim_writes: list[Claims] = field(default_factory=list)
    claims_refused: HostError | None = None
    guard: threading.RLock = field(default_factory=threading.RLock)

    # -------------------------------------------------------------- reading

    def inventory(self, wanted: Wanted) -> Inventory:
        names: dict[Kind, dict[str, str]] = {kind: {} for kind in Kind}
        for address, thing in self.things.items():
            names[address.kind][address.name] = thing.key
        records = {
            address: replace(self._record(address), secure=address in wanted.secure)
            for address in sorted(self.things)
        }
        found = Inventory(self.name, self.facts, records, names, self.claims, complete=True)
        return replace(found, key=self.keyed)

    def complete(self, inventory: Inventory, *_: Any) -> Inventory:
        return inventory

    def record(
        self, address: Address, *, secure: bool = False, brief: bool = False
    ) -> Record | None:
        with self.guard:
            self.reads.append(address.short)
            if address not in self.things:
                return None
            return replace(self._record(address), secure=secure)

    def _record(self, address: Address) -> Record:
        thing = self.things[address]
        return Record(
            address,
            thing.key,
            thing.document,
            running=thing.running if thing.active else None,
            state=State.RUNNING if thing.active else State.STOPPED,
            autostart=thing.autostart,
        )

    def domains(self) -> frozenset[str] | None:
        with self.guard:
            return frozenset(a.name for a in self.things if a.kind is Kind.DOMAIN)

    def jobs(self, address: Address) -> tuple[str, ...]:
        with self.guard:
            left = self.busy.get(address.short)
            if not left:
                return ()
            return left.pop(0)

    def addresses(self, address: Address) -> tuple[GuestAddress, ...]:
        return ()

    def leases(self, address: Address) -> tuple[GuestAddress, ...]:
        return ()

    def console_tail(self, address: Address, lines: int) -> ConsoleTail:
        return ConsoleTail("/log", (f"{address.name} login:",))

    def locks(self) -> tuple[LockInfo, ...]:
        return ()

    def close(self) -> None:
        pass

    # -------------------------------------------------------------- writing

    def attend(self, work: Callable[[], T], doing: str) -> T:
        return work()

    def perform(self, verb: Verb, address: Address, arguments: Mapping[str, Any]) -> None:
        self.before(verb, address)
        with self.guard:
            self.calls.append((verb, address.short, dict(arguments)))
            error = self.refuse.get((verb, address.short))
            if error is not None and arguments.get("scope") != "config":
                raise error
            self._do(verb, address, dict(arguments))

    def _do(self, verb: Verb, address: Address, arguments: dict[str, Any]) -> None:
        match verb:
            case Verb.DEFINE:
                self._define(address, arguments["xml"])
                return
            case Verb.CREATE_VOLUME | Verb.CLONE_VOLUME:
                self._new_volume(address, arguments["xml"])
                return
        thing = self.things.get(address)
        if thing is None:
            raise Vanished("no such object", code=42, name="VIR_ERR_NO_DOMAIN")
        match verb:
            case Verb.UNDEFINE | Verb.DELETE_VOLUME:
                del self.things[address]
            case Verb.RENAME:
                del self.things[address]
                self.things[Address(self.name, Kind.DOMAIN, arguments["name"])] = thing
                self._edit(thing, lambda root: _text(root, "name", arguments["name"]))
            case Verb.START | Verb.RESUME:
                self.starts += 1
                thing.active, thing.running = True, thing.document
                if verb is Verb.START and address.kind is Kind.DOMAIN:
                    root = etree.fromstring(thing.document)
                    root.set("id", str(self.starts))
                    thing.running = etree.tostring(root, encoding="unicode")
            case Verb.STOP | Verb.SHUTDOWN:
                thing.active = False
            case Verb.SET_AUTOSTART:
                thing.autostart = arguments["on"]
            case Verb.RESIZE_VOLUME:
                self._edit(thing, lambda root: _text(root, "capacity", str(arguments["bytes"])))
            case Verb.SET_MEMORY:
                size = str(arguments["bytes"] // 1024)
                self._edit(thing, lambda root: _text(root, "currentMemory", size), live=False)
            case Verb.SET_VCPUS:
                count = str(arguments["count"])
                self._edit(thing, lambda root: root.find("vcpu").set("current", count))
            case Verb.SET_TITLE:
                self._edit(thing, lambda root: _text(root, "title", arguments["text"]))
            case Verb.SET_METADATA:
                self._edit(thing, lambda root: _metadata(root, arguments))
            case Verb.ATTACH:
                new = etree.fromstring(arguments["xml"])
                self._edit(thing, lambda root: root.find("devices").append(copy.deepcopy(new)))
            case Verb.DETACH:
                self._edit(thing, lambda root: _detach(root, arguments))
            case Verb.EJECT:
                key = {"dev": arguments["target"]}
                unplugged = {"find": "./devices/disk/target", "key": key}
                self._edit(thing, lambda root: _detach(root, unplugged))
            case Verb.UPDATE_DEVICE:
                scope = arguments["scope"]
                self._edit(thing, lambda root: _update(root, arguments["xml"]), scope=scope)
            case Verb.UPDATE_NETWORK:
                scope = arguments["scope"]
                self._edit(thing, lambda root: _update_network(root, arguments), scope=scope)
            case Verb.UPLOAD:
                thing.content = arguments["data"]
            case Verb.BUILD | Verb.REFRESH | Verb.AWAIT:
                pass
            case Verb.WAIT_FOR:
                if self.unready.get(address.short, 0) > 0:
                    self.unready[address.short] -= 1
                    raise NotReady(f"no {arguments['what']} yet")
            case _:
                raise AssertionError(verb)

    def _define(self, address: Address, xml: str) -> None:
        key = etree.fromstring(xml).findtext("uuid") or "no-uuid"
        thing = self.things.get(address)
        if thing is None:
            self.things[address] = Thing(xml, key)
        elif thing.key != key:
            raise HostError("it exists with another uuid", code=9, name="VIR_ERR_OPERATION_FAILED")
        else:
            thing.document = xml

    def _new_volume(self, address: Address, xml: str) -> None:
        root = etree.fromstring(xml)
        root.set("type", "file")
        path = f"/pools/{address.name}"
        etree.SubElement(the(root, "target"), "path").text = path
        self.things[address] = Thing(etree.tostring(root, encoding="unicode"), path)

    def _edit(
        self,
        thing: Thing,
        edit: Callable[[Any], Any],
        *,
        live: bool = True,
        scope: str = Scope.BOTH,
    ) -> None:
        if scope != Scope.LIVE:
            root = etree.fromstring(thing.document)
            edit(root)
            thing.document = etree.tostring(root, encoding="unicode")
        if thing.active and thing.running is not None and live and scope != Scope.CONFIG:
            root = etree.fromstring(thing.running)
            edit(root)
            thing.running = etree.tostring(root, encoding="unicode")

    def lock(self, stack_uid: str, operation: str, timeout: float) -> AbstractContextManager[Lock]:
        return nullcontext(FakeLock())

    def claims_key(self, stack_uid: str) -> bytes:
        return self.keyed

    def force_unlock(self, lock_id: str) -> bool:
        return False

    def write_claims(self, claims: Claims, *, over: Set[str] = frozenset()) -> None:
        with self.guard:
            if self.claims_refused is not None:
                raise self.claims_refused
            self.claims = claims
            self.claim_writes.append(claims)

    # -------------------------------------------------------------- for tests

    @property
    def verbs(self) -> list[tuple[str, str]]:
        """What was performed: verb and address."""
        return [(verb.value, short) for verb, short, _ in self.calls]


@dataclass
class FakeLock:
    """A lock that is lost after so many looks."""

    looks: int = 10**9
    info: LockInfo = field(default_factory=lambda: LockInfo("id", STACK, "me", "apply", "now"))

    def check(self) -> None:
        self.looks -= 1
        if self.looks < 0:
            raise HostError("the lock was lost: another run broke or removed it")


def _text(root: Any, path: str, text: str | None) -> None:
    node = root.find(path)
    if text is None:
        if node is not None:
            root.remove(node)
        return
    if node is None:
        node = etree.SubElement(root, path)
    node.text = text


def _metadata(root: Any, arguments: Mapping[str, Any]) -> None:
    holder = root.find("metadata")
    if holder is None:
        holder = etree.SubElement(root, "metadata")
    for node in list(holder):
        if etree.QName(node).namespace == arguments["namespace"]:
            holder.remove(node)
    if arguments["xml"] is None:
        return
    bare = etree.fromstring(arguments["xml"])
    assert etree.QName(bare).namespace is None, "libvirt declares the namespace itself"
    space = arguments["namespace"]
    node = etree.SubElement(
        holder, f"{{{space}}}{bare.tag}", attributes(bare), {arguments["prefix"]: space}
    )
    node.text = bare.text


def _detach(root: Any, arguments: Mapping[str, Any]) -> None:
    key = arguments["key"].items()
    for node in root.iterfind(arguments["find"]):
        if all(node.get(name) == value for name, value in key):
            root.find("devices").remove(node.getparent())


def _update(root: Any, xml: str) -> None:
    new = etree.fromstring(xml)
    inner = "target" if new.tag == "disk" else "mac"
    key = attributes(the(new, inner))
    for node in root.find("devices").findall(new.tag):
        if attributes(the(node, inner)) == key:
            node.getparent().replace(node, copy.deepcopy(new))


def _update_network(root: Any, arguments: Mapping[str, Any]) -> None:
    new = etree.fromstring(arguments["xml"])
    if arguments["section"].startswith("ip-"):
        ip = root.findall("ip")[arguments["parent"]]
        holder = ip.find("dhcp")
        if holder is None:
            holder = etree.SubElement(ip, "dhcp")
    elif arguments["section"].startswith("dns-"):
        holder = root.find("dns")
        if holder is None:
            holder = etree.SubElement(root, "dns")
    else:
        holder = root
    same = [n for n in holder.findall(new.tag) if _key(n) == _key(new)]
    match arguments["command"]:
        case "add-last":
            assert not same
            holder.append(new)
        case "delete":
            holder.remove(same[0])
        case "modify":
            holder.replace(same[0], new)


def _key(node: Any) -> Any:
    names = [name for name in ("mac", "ip", "name", "start") if node.get(name) is not None]
    return (names[0], node.get(names[0])) if names else None


# ------------------------------------------------------------------------------ wanted


def desired(
    resources: Mapping[str, Mapping[str, Any]],
    depends_on: Mapping[str, Iterable[str]] = EMPTY,
    **lifecycles: Lifecycle,
) -> Desired:
    """What specs would say: ``[HOST:]KIND.NAME`` -> fields in their normalised form."""
    from kvmplan.address import parse_address

    found = {}
    for text, fields in resources.items():
        address = parse_address(text)
        model = MODELS[address.kind].model_validate(fields)
        references = tuple(
            Reference(path, Address(address.host, Kind(binding.ref.kind), value), None)
            for path, binding, value in walk(type(model), declared(model))
            if binding.ref is not None and isinstance(value, str)
        )
        lifecycle = lifecycles.get(address.leaf, Lifecycle())
        after = tuple(
            Reference(("depends_on", str(index)), parse_address(other), None)
            for index, other in enumerate(depends_on.get(text, ()))
        )
        found[address] = Resource(
            address, model, frozenset(), None, {}, lifecycle, after, references
        )
    stack = Stack("lab", STACK, {}, False, 10, 25, None)
    return Desired(stack, found, ())


def planned(wanted: Desired, *hosts: FakeHost, options: PlanOptions | None = None) -> Planned:
    """The plan that leads the hosts to what is wanted."""
    secure = frozenset(a for a, one in wanted.resources.items() if has_secrets(one.model))
    everything = Wanted(frozenset(wanted.resources), secure, STACK)
    inventories = {host.name: host.inventory(everything) for host in hosts}
    return Planner(
        wanted,
        inventories,
        skeletons(),
        options or PlanOptions(),
        lambda name, inventory, *_: inventory,
    ).plan()


def short(text: str) -> Address:
    """``KIND.NAME`` on the local host."""
    kind, _, name = text.partition(".")
    return Address(LOCAL, Kind(kind), name)
