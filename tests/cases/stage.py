"""The stage of a case: hosts as its page describes them, without any daemon.

A page says what lives by documents (``live/domain.web.xml``) or by the specs that were applied
before (``was/x.yaml``): what these declare and no document shows is born from them, as apply does.
All that is declared is ours, with a mark of what was applied, unless ``live.json`` says otherwise:

    {"domain.web": {"state": "paused", "reason": "user", "autostart": true, "owned": false}}

Keys of an entry: state, reason, autostart, managed_save, owned (true, false, or another stack's
name), also_owned (another stack that has claimed it, too), mark (false: none), applied (what a mark
or claim remembers), names (of NICs, by MAC), former (of NICs, by a MAC that only what runs has),
phase, protect, born, waiting, key, claimed_key, hold (who), ports (ids of what is plugged into a
network), persistent (false: undefined while it runs), claimed_as (the address that it was claimed
with), lost (true: its claim was, its mark was not).
``interfaces.json`` lists the hosts' own: mac, addresses.
``saved/domain.web.xml`` is what a managed save image holds.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lxml import etree

from kvmplan.address import LOCAL, Address, Kind, parse_address
from kvmplan.apply.documents import MARKED, mark_of, new_document
from kvmplan.apply.site import Site
from kvmplan.inventory import (
    Claim,
    Claims,
    GuestFacts,
    Hold,
    HostFacts,
    HostInterface,
    Inventory,
    Record,
    State,
)
from kvmplan.kinds.mark import applied_fields, read_mark, write_mark
from kvmplan.kinds.models import MODELS
from kvmplan.kinds.skeletons import skeletons
from kvmplan.mapping.document import parse, serialise
from kvmplan.plan.born import Births
from kvmplan.plan.chains import known_bases
from kvmplan.plan.intent import Intent, intend
from kvmplan.plan.origin import origin_of
from kvmplan.plan.torn import UNFINISHED
from kvmplan.spec import Desired, LoadOptions, Resource, load
from tests.cases.page import Page

STACK = """\
stack:
  name: lab
  uid: 0d9f3c1e-6c1f-4c4f-9a53-0f6a8a3a2b11
"""
"""The stack of pages that give none."""

SECRETS = {"VNC_PASSWORD": "c4n4ry-n", "OLD_PASSWORD": "c4n4ry-o"}
"""The environment of every case; nothing of it may appear in any output."""

SKELETON = skeletons()

_GUEST = GuestFacts(
    types=("qemu", "kvm"),
    machines={"q35": "pc-q35-7.2", "pc": "pc-i440fx-7.2", "pc-q35-7.2": "pc-q35-7.2"},
    emulator="/usr/bin/qemu-system-x86_64",
)
_NAMESPACE = uuid.UUID("7b0f8d5e-52a1-5c86-9a55-7fd7c6f7a001")


def facts_of(host: str) -> HostFacts:
    """What every host of the cases is."""
    return HostFacts(
        uri="qemu:///system" if host == LOCAL else f"qemu+ssh://root@{host}/system",
        uuid=str(uuid.uuid5(_NAMESPACE, host)),
        libvirt_version="9.0.0",
        hypervisor_version="7.2.0",
        guests={"x86_64": _GUEST},
        cpu_features=frozenset({"vmx"}),
    )


def specs_of(page: Page, folder: str, at: Path) -> tuple[Desired | None, Any]:
    """The specs below a folder of the page, loaded as a command would from `at`."""
    texts = page.below(folder)
    if not any("stack:" in text for text in texts.values()):
        texts["stack.yaml"] = STACK
    for name, text in texts.items():
        file = at / folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return load(Path(folder), LoadOptions(environ=SECRETS, keep_going=True))


@dataclass(frozen=True)
class Stage:
    """The hosts of a case.

    Attributes:
        full: by host, all that there is.
        bare: by host, the documents without marks, by address.
        interfaces: what every host has of its own; None: they do not tell.
    """

    full: Mapping[str, Inventory]
    bare: Mapping[Address, str]
    interfaces: Mapping[str, HostInterface] | None = None

    def first(self, desired: Desired) -> dict[str, Inventory]:
        """What a plan reads first: networks and pools, and what is declared or claimed."""
        return {host: _asked(inventory, desired) for host, inventory in self.full.items()}

    def complete(self, host: str, inventory: Inventory, pools: Set[str]) -> Inventory:
        """What a plan reads when something will change: all domains, and the volumes of `pools`."""
        more = {
            address: record
            for address, record in self.full[host].records.items()
            if address.kind is Kind.DOMAIN
            or (address.kind is Kind.VOLUME and {address.pool, address.name} & pools)
        }
        return replace(
            inventory,
            records={**inventory.records, **more},
            complete=True,
            interfaces=self.interfaces,
        )

    def site(self, inventory: Inventory, births: Births, stack: str) -> Site:
        """Where documents are made for this host."""
        host: Any = SimpleNamespace(record=lambda address, secure=False: inventory.record(address))
        return Site(host, inventory, births, stack)


def _asked(inventory: Inventory, desired: Desired) -> Inventory:
    claimed = inventory.claims.entries if inventory.claims else {}
    records = {
        address: record
        for address, record in inventory.records.items()
        if address.kind in (Kind.NETWORK, Kind.POOL)
        or address in desired.resources
        or any(address.name in names for names in desired.moved.values())
        or address.short in claimed
    }
    return replace(inventory, records=records)


def set_stage(page: Page, now: Desired, was: Desired) -> Stage:
    """Build the hosts of a page: what `was` applied, under what the page shows of it."""
    hosts = tuple(now.stack.hosts) or (LOCAL,)
    said = _said(page)
    given = {
        parse_address(name.removesuffix(".xml")): parse(text)
        for name, text in page.below("live").items()
    }
    born = was.resources if page.below("was") else {}
    known = {*now.resources, *was.resources}
    full: dict[str, Inventory] = {}
    bare: dict[Address, str] = {}
    for host in hosts:
        documents = {a: root for a, root in given.items() if a.host == host}
        builder = _Builder(host, page, was, said, known)
        for address in _in_order(born, host):
            if address in documents:
                continue
            if said.get(address, {}).get("live") is not False:
                documents[address] = builder.birth(address, documents)
        full[host] = builder.inventory(documents)
        bare |= {address: serialise(root) for address, root in documents.items()}
    return Stage(full, bare, _interfaces(page))


def _interfaces(page: Page) -> dict[str, HostInterface] | None:
    import json

    text = page.texts.get("interfaces.json")
    if text is None:
        return None
    return {
        name: HostInterface(said.get("mac", ""), tuple(said.get("addresses", ())))
        for name, said in json.loads(text).items()
    }


def _said(page: Page) -> dict[Address, dict[str, Any]]:
    import json

    return {
        parse_address(name): entry
        for name, entry in json.loads(page.texts.get("live.json", "{}")).items()
    }


def _in_order(resources: Mapping[Address, Resource], host: str) -> list[Address]:
    """Networks, pools, volumes (bases first), domains."""
    kinds = list(Kind)

    def rank(address: Address) -> tuple[int, bool, Address]:
        over = getattr(resources[address].model, "backing", None) is not None
        return kinds.index(address.kind), over, address

    return sorted((address for address in resources if address.host == host), key=rank)


class _Builder:
    """Builds one host's inventory."""

    def __init__(
        self,
        host: str,
        page: Page,
        was: Desired,
        said: Mapping[Address, Mapping[str, Any]],
        known: set[Address],
    ) -> None:
        self._host, self._page, self._was = host, page, was
        self._said, self._known = said, known
        self._facts = facts_of(host)

    def birth(self, address: Address, others: Mapping[Address, Any]) -> Any:
        """The document that apply makes of a resource, with what libvirt adds to a volume's."""
        inventory = self._without_claims(others)
        births = Births(SKELETON, self._was, {self._host: inventory})
        intent = intend(self._was.resources[address], inventory, self._was.stack.uid, births)
        site = self._site(inventory, births)
        root = new_document(site, intent)
        for mark in root.iterfind("metadata/{https://kvmplan.org/ns/mark/1}object"):
            metadata = mark.getparent()
            assert metadata is not None
            metadata.remove(mark)
            if not len(metadata):
                root.remove(metadata)
        if address.kind is Kind.VOLUME:
            self._settle(root, address, inventory)
        return root

    def _settle(self, root: Any, address: Address, inventory: Inventory) -> None:
        pool = inventory.record(Address(self._host, Kind.POOL, address.pool))
        folder = parse(pool.document).findtext("target/path") if pool else f"/{address.pool}"
        path = f"{folder}/{address.leaf}"
        root.set("type", "file")
        key = etree.Element("key")
        key.text = path
        root.insert(1, key)
        node = etree.Element("path")
        node.text = path
        root.find("target").insert(0, node)

    def _site(self, inventory: Inventory, births: Births) -> Site:
        host: Any = SimpleNamespace(record=lambda address, secure=False: inventory.record(address))
        return Site(host, inventory, births, self._was.stack.uid)

    def inventory(self, documents: Mapping[Address, Any]) -> Inventory:
        """The host with these documents, marked and claimed."""
        bare = self._without_claims(documents)
        births = Births(SKELETON, self._was, {self._host: bare})
        site = self._site(bare, births)
        records, claims, foreign = {}, dict[str, Claim](), dict[str, dict[str, Claim]]()
        for address, record in bare.records.items():
            entry = self._said.get(address, {})
            owned = entry.get("owned", address in self._known)
            resource = self._was.resources.get(address)
            uid = self._was.stack.uid
            intent = intend(resource, bare, uid, births) if resource else None
            pool = bare.record(Address(self._host, Kind.POOL, address.pool))
            if address.kind is not Kind.VOLUME or pool is None or pool.active:
                records[address] = record
            if "claimed_as" in entry:
                claim = self._claim(record, None, entry)
                claims[entry["claimed_as"]] = replace(claim, address=entry["claimed_as"])
            elif owned is True:
                if address.kind in MARKED and entry.get("mark", True):
                    records[address] = self._marked(record, site, intent, entry)
                if not entry.get("lost"):
                    claims[address.short] = self._claim(record, intent, entry)
            elif owned:
                claim = self._claim(record, intent, entry)
                foreign.setdefault(owned, {})[address.short] = claim
            if "also_owned" in entry:
                claim = Claim(address.short, record.key)
                foreign.setdefault(entry["also_owned"], {})[address.short] = claim
        stack = self._was.stack
        return replace(
            bare,
            records=records,
            claims=Claims(stack.uid, stack.name, claims) if claims else None,
            foreign_claims=tuple(
                Claims(str(uuid.uuid5(_NAMESPACE, name)), name, entries)
                for name, entries in sorted(foreign.items())
            ),
        )

    def _marked(
        self, record: Record, site: Site, intent: Intent | None, entry: Mapping[str, Any]
    ) -> Record:
        if intent is None:
            return record
        mark = mark_of(site, intent, record.key)
        if "names" in entry:
            mark = replace(mark, keys={("interfaces",): entry["names"]})
        if "former" in entry:
            mark = replace(mark, former={("interfaces",): entry["former"]})
        if "applied" in entry:
            mark = replace(mark, applied=entry["applied"])
        texts: list[str | None] = []
        for text in (record.document, record.running):
            if text is None:
                texts.append(None)
                continue
            root = parse(text)
            if read_mark(root) is None:
                write_mark(root, mark)
            texts.append(serialise(root))
        return replace(record, document=texts[0] or "", running=texts[1])

    def _claim(self, record: Record, intent: Intent | None, entry: Mapping[str, Any]) -> Claim:
        applied = entry.get("applied")
        born = dict(entry.get("born", {}))
        said = intent.resource.lifecycle if intent is not None else None
        if intent is not None:
            whole = entry.get("phase") not in UNFINISHED
            if record.address.kind not in MARKED and applied is None and whole:
                applied = applied_fields(intent.model, intent.tree)
            born = {**origin_of(intent.tree), **born}
        return Claim(
            address=record.address.short,
            key=entry.get("claimed_key", record.key),
            phase=entry.get("phase", "done"),
            born=born,
            applied=applied,
            protect=entry.get("protect", said.prevent_destroy if said else False),
            hold=Hold(entry["hold"]) if "hold" in entry else None,
            waiting=entry.get("waiting", {}),
        )

    def _without_claims(self, documents: Mapping[Address, Any]) -> Inventory:
        found = [self._record(a, root) for a, root in documents.items()]
        texts = {it.key: it.document for it in found if it.address.kind is Kind.VOLUME}
        records = {
            it.address: replace(it, bases=known_bases(it.document, it.running, texts.get))
            for it in found
        }
        names: dict[Kind, dict[str, str]] = {kind: {} for kind in Kind}
        for address, record in records.items():
            pool = records.get(Address(self._host, Kind.POOL, address.pool))
            if address.kind is not Kind.VOLUME or pool is None or pool.active:
                names[address.kind][address.name] = record.key
        return Inventory(host=self._host, facts=self._facts, records=records, names=names)

    def _record(self, address: Address, root: Any) -> Record:
        entry = self._said.get(address, {})
        resource = self._was.resources.get(address)
        running = self._page.texts.get(f"running/{address.short}.xml") or self._page.texts.get(
            f"running/{address}.xml"
        )
        saved = self._page.texts.get(f"saved/{address.short}.xml")
        standing = address.kind in (Kind.NETWORK, Kind.POOL)
        state = State(entry.get("state", "running" if standing or running else "stopped"))
        if address.kind is Kind.VOLUME:
            key = root.findtext("key") or root.findtext("target/path") or address.name
        else:
            key = root.findtext("uuid") or str(uuid.uuid5(_NAMESPACE, str(address)))
        text = serialise(root)
        active = state in (State.RUNNING, State.PAUSED, State.SUSPENDED)
        shown = address.kind in MARKED and active
        model = resource.model if resource else MODELS[address.kind]
        told = getattr(model, "autostart", None) if resource else None
        return Record(
            address=address,
            key=key,
            document=text,
            running=(running or text) if shown else None,
            state=state,
            reason=entry.get("reason", ""),
            autostart=entry.get("autostart", standing if told is None else told),
            persistent=entry.get("persistent", True),
            managed_save=entry.get("managed_save", saved is not None),
            saved=saved,
            secure=address.kind is Kind.DOMAIN,
            ports=frozenset(entry["ports"]) if "ports" in entry else None,
        )
