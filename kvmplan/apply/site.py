"""A site: one host while a plan is applied to it, and what was learnt of its volumes on the way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from lxml.etree import _Element as Element

from kvmplan.address import Address, Kind
from kvmplan.apply.likeness import Likenesses
from kvmplan.apply.mould import Moulds
from kvmplan.apply.port import Host
from kvmplan.apply.schema import Schemas
from kvmplan.apply.transfers import Transfers
from kvmplan.inventory import Inventory, Record
from kvmplan.kinds.context import HostContext, VolumeFacts
from kvmplan.mapping.document import parse_to_read
from kvmplan.plan.born import Births, uuid_of
from kvmplan.plan.intent import Intent
from kvmplan.spec.desired import Resource

if TYPE_CHECKING:
    from kvmplan.images.fetch import Images


class Site:
    """One host during an apply. Any thread may call any method.

    Attributes:
        inventory: what the plan was made from.
        stack: the stack's uid.
        schemas, moulds, likenesses: what is known of documents that were made in this run.
        transfers: where bytes on their way are reported to.
    """

    def __init__(
        self,
        host: Host,
        inventory: Inventory,
        births: Births,
        stack: str,
        images: Images | None = None,
        transfers: Transfers | None = None,
    ) -> None:
        self.host, self.inventory, self.births, self.stack = host, inventory, births, stack
        self.transfers = transfers if transfers is not None else Transfers()
        self._images = images
        self.schemas, self.moulds = Schemas(inventory.facts.uri), Moulds()
        self.likenesses = Likenesses()
        self._volumes: dict[str, VolumeFacts] = {}
        self._planned: dict[str, VolumeFacts] = {}
        self._moved: set[str] = set()
        self._paths: dict[str, str] = {}
        self._uuids: dict[Address, str] = {}

    @property
    def images(self) -> Images:
        """What fetches the images of new volumes. LookupError in a run that fetches none."""
        if self._images is None:
            raise LookupError("this run fetches no images")
        return self._images

    @cached_property
    def _domains(self) -> frozenset[str] | None:
        """The domains that there were when the first was to be made."""
        return self.host.domains()

    def is_free(self, address: Address) -> bool:
        """Whether nothing has the name of what will be made.

        For domains one look does for all: to define one whose name another has taken since is
        refused by libvirt itself, since the other's uuid is not the one that ours gets.
        """
        if address.kind is Kind.DOMAIN and self._domains is not None:
            return address.name not in self._domains
        return self.host.record(address) is None

    def is_anothers(self, intent: Intent, record: Record) -> bool:
        """Whether what has a new object's name by now is not what this run makes."""
        uuid = self.uuid_for(intent)
        return bool(uuid) and record.key != uuid

    def volume(self, name: str) -> VolumeFacts | None:
        """The facts of ``POOL/NAME``, as the host has it now; None if there is no such volume."""
        known = self._volumes.get(name)
        if known is not None:
            return known
        record = self.host.record(Address(self.inventory.host, Kind.VOLUME, name))
        return None if record is None else self.learn(record)

    def planned_volume(self, name: str) -> VolumeFacts | None:
        """The facts of ``POOL/NAME``, as it was when planned unless this run has touched it.

        Enough for a disk: where a volume is and its format are facts of its birth, and a guest
        whose disk has vanished does not start. A base must be there: see `volume`.
        """
        if name in self._volumes or name in self._moved:
            return self.volume(name)
        facts = self._planned.get(name)
        if facts is None:
            known = self.inventory.record(Address(self.inventory.host, Kind.VOLUME, name))
            if known is None:
                return self.volume(name)
            facts = self._planned[name] = _facts(known)
        return facts

    def expect(self, name: str, facts: VolumeFacts) -> None:
        """Take a volume to be there as it will be, for documents that are only shown."""
        self._planned[name] = facts

    def look_at(self, resources: Iterable[Resource]) -> None:
        """Have at hand what is known of the volumes that these refer to.

        Before threads ask, that is: where several take turns at Python, parsing one of these short
        documents takes ten times as long as here.
        """
        targets = {it.target for resource in resources for it in resource.references}
        for target in targets:
            if target.kind is Kind.VOLUME and self.inventory.record(target) is not None:
                self.planned_volume(target.name)

    def learn(self, record: Record) -> VolumeFacts:
        """Remember a volume that was just read."""
        facts = self._volumes[record.address.name] = _facts(record)
        self._paths[facts.path] = record.address.name
        return facts

    def forget(self, name: str) -> None:
        """A volume has changed or is gone: ask again next time."""
        self._moved.add(name)
        facts = self._volumes.pop(name, None)
        if facts is not None:
            self._paths.pop(facts.path, None)

    def volume_at(self, path: str) -> str | None:
        """The ``POOL/NAME`` of a path, volumes made by this run included."""
        return self._paths.get(path) or self.inventory.volume_by_path.get(path)

    def context(self, intent: Intent, runtime: Mapping[str, Any] | None = None) -> HostContext:
        """The context to read and write an intent's document with, now."""
        base = intent.context or self.births.context(self.inventory, names=intent.names)
        return replace(
            base,
            volume=self.planned_volume if intent.address.kind is Kind.DOMAIN else self.volume,
            volume_at=self.volume_at,
            runtime=base.runtime if runtime is None else runtime,
        )

    def uuid_for(self, intent: Intent) -> str:
        """The uuid that a new object gets; ``""`` for a volume, which has none."""
        if intent.address.kind is Kind.VOLUME:
            return ""
        address = intent.address
        known = intent.tree.get("uuid") or self._uuids.get(address)
        if known is None:
            known = uuid_of(self.stack, self.inventory.facts.uuid, address)
            self._uuids[address] = known
        return str(known)

    def base_capacity(self, name: str) -> str | None:
        """The capacity in bytes of a volume; None if there is none of that name."""
        record = self.host.record(Address(self.inventory.host, Kind.VOLUME, name))
        return None if record is None else capacity_of(parse_to_read(record.document))


def _facts(record: Record) -> VolumeFacts:
    root = parse_to_read(record.document)
    path = root.findtext("target/path") or record.key
    target = root.find("target/format")
    format_ = target.get("type", "raw") if target is not None else "raw"
    return VolumeFacts(root.get("type") or "file", path, format_)


def capacity_of(volume: Element) -> str | None:
    """The capacity in a volume's document; libvirt writes it in bytes."""
    return volume.findtext("capacity")
