"""Resolve: one declaration -> validated resources.

Expand, render, normalise, merge profiles, extract, validate. What is wrong with one resource is
reported and hides nothing of the others; what is wrong with all instances of a declaration alike is
reported for the first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache, partial
from typing import Any

from pydantic import TypeAdapter, ValidationError

from kvmplan.address import LOCAL, Address, Kind
from kvmplan.diagnostics import Diagnostics, Place
from kvmplan.kinds.checks import contradictions
from kvmplan.kinds.pooltypes import pool_type
from kvmplan.mapping.model import Mapped
from kvmplan.mapping.types import Name, VolumeName
from kvmplan.spec import codes
from kvmplan.spec.desired import Resource
from kvmplan.spec.expand import Expander, Instance, body
from kvmplan.spec.extract import Extractor
from kvmplan.spec.lifecycle import read_lifecycle
from kvmplan.spec.merge import merge
from kvmplan.spec.names import Scope
from kvmplan.spec.node import BROKEN, Entry, Node, child, without
from kvmplan.spec.normalise import Normaliser
from kvmplan.spec.places import Places, nearest
from kvmplan.spec.references import depends_on, references
from kvmplan.spec.render import Renderer, Unrendered
from kvmplan.spec.secrets import Secrets
from kvmplan.spec.shortdisks import expand
from kvmplan.spec.suggest import did_you_mean
from kvmplan.spec.validate import at, validate, words

OWN_META = ("lifecycle", "depends_on")
DOMAIN_META = ("profile", *OWN_META)


class Resolver:
    """Resolves the declarations of a run.

    Args:
        models: the model of each kind.
        profiles: the declared profiles.
        hosts: as for `Expander`.
    """

    def __init__(
        self,
        models: Mapping[Kind, type[Mapped]],
        profiles: Mapping[str, Entry],
        hosts: tuple[str, ...] | None,
        expander: Expander,
        renderer: Renderer,
        secrets: Secrets,
        report: Diagnostics,
    ) -> None:
        self._models, self._declared_profiles = models, profiles
        self._known_hosts = hosts if hosts or hosts is None else (LOCAL,)
        self._several_hosts = hosts is not None and len(hosts) > 1
        self._expander, self._renderer, self._report = expander, renderer, report
        self._normaliser = Normaliser(report)
        self._extractor = Extractor(secrets, report)
        self._profiles: dict[str, Node] = {}
        self.resources: dict[Address, Resource] = {}

    def declaration(self, kind: Kind, key: str, entry: Entry) -> None:
        """Add the resources of one declaration."""
        subject = f"{kind}.{key}"
        model = self._models[kind]
        if entry.node.value is None:
            summary = f"{subject} is empty"
            self._report.error(codes.VALUE, summary, entry.place, "write {} or take it out")
            return
        shared = self._expander.is_multiple(entry.node)
        self._normaliser.shared = self._extractor.shared = shared
        checked = False
        try:
            for instance, node in self._instances(kind, key, entry, shared):
                checked = self._instance(kind, instance, entry, node) or checked
        except Unrendered:
            checked = False
        if not checked:
            # Nothing was made of it: its fields are checked as they are written.
            meta = DOMAIN_META if kind is Kind.DOMAIN else OWN_META
            self._normaliser.resource(body(entry.node), model, subject, meta)

    def unused_profiles(self) -> None:
        """Check the fields of profiles that no domain uses."""
        for name, entry in self._declared_profiles.items():
            if name not in self._profiles:
                self._normalised_profile(name, entry.node)

    def _instances(
        self, kind: Kind, key: str, entry: Entry, shared: bool
    ) -> Iterator[tuple[Instance, Node]]:
        """The instances and what they are made of; repeated problems are dropped in between."""
        node = body(entry.node)
        if shared and node.dynamic:
            node = self._settled(node)
        seen: set[tuple[str, Place | None]] = set()
        for instance in self._expander.instances(kind, key, entry):
            before = len(self._report.items)
            yield instance, node
            new = self._report.items[before:]
            if new:
                self._report.items[before:] = [d for d in new if (d.code, d.place) not in seen]
                seen.update((d.code, d.place) for d in new)

    def _instance(self, kind: Kind, instance: Instance, entry: Entry, node: Node) -> bool:
        """Add one resource if nothing is wrong with it; whether its fields could be checked."""
        address = Address(instance.host, kind, instance.name)
        subject = str(address) if self._several_hosts else address.short
        model = self._models[kind]
        wrong = _name_problem(kind, instance.name)
        if wrong is not None:
            self._report.error(codes.NAME, f"{subject}: {wrong}", entry.place)
        is_partial = False
        try:
            node = self._renderer.render(node, instance.scope)
        except Unrendered as error:
            if error.node is None or error.node.tag == BROKEN:
                return False
            node, is_partial = error.node, True
        if kind is Kind.DOMAIN:
            node = self._domain(node, model, subject, instance.scope)
            node, volumes = expand(
                node, address, partial(self._default_format, address.host), self._report
            )
            for volume in volumes:
                at = Address(address.host, Kind.VOLUME, volume.name)
                field = (address.name, "disks", volume.target, "volume")
                self._short_volume(at, volume.entry, field)
        else:
            node = self._normaliser.resource(node, model, subject, OWN_META)
        named = wrong is None
        self._resource(address, entry, node, subject, is_partial=is_partial, is_named=named)
        return True

    def _short_volume(self, address: Address, entry: Entry, stands_for: tuple[str, ...]) -> None:
        """Add the volume that a disk stands for, in the disk's place."""
        subject = str(address) if self._several_hosts else address.short
        wrong = _name_problem(Kind.VOLUME, address.name)
        if wrong is not None:
            self._report.error(codes.NAME, f"{subject}: {wrong}", entry.place)
            return
        model = self._models[Kind.VOLUME]
        node = self._normaliser.resource(entry.node, model, subject, OWN_META)
        self._resource(address, entry, node, subject, stands_for=stands_for)

    def _resource(
        self,
        address: Address,
        entry: Entry,
        node: Node,
        subject: str,
        *,
        is_partial: bool = False,
        is_named: bool = True,
        stands_for: tuple[str, ...] = (),
    ) -> None:
        """Validate a resource, and add it if it is whole and nothing is wrong with it."""
        model = self._models[address.kind]
        if not isinstance(node.value, dict):
            summary = f"{subject}: expected a mapping, got {words(node.value)}"
            self._report.error(codes.VALUE, summary, node.place, None, address)
            return
        fields = without(node, OWN_META)
        extracted = self._extractor.resource(fields, model, subject)
        value = validate(
            model, extracted.raw, fields, subject, self._report, address, partial=is_partial
        )
        places = Places(entry, fields)
        lifecycle = read_lifecycle(address, model, child(node, "lifecycle"), self._report)
        after = depends_on(address, child(node, "depends_on"), self._known_hosts, self._report)
        if value is None or is_partial or not is_named:
            return
        defaults = frozenset(extracted.defaults)
        for clash in contradictions(value, address.name, defaults):
            summary = f"{at(subject, clash.path)}: {clash.summary}"
            place = nearest(places, clash.path)
            self._report.error(codes.CONTRADICTION, summary, place, clash.remedy, address)
        found = references(address, model, extracted.raw, entry, places, self._report)
        place = entry.place
        made = Resource(
            address, value, defaults, place, places, lifecycle, after, found, stands_for
        )
        self._add(made, subject)

    def _default_format(self, host: str, pool: str) -> str:
        """What volumes of a pool are born as; of one that no spec declares, as in a directory."""
        declared = self.resources.get(Address(host, Kind.POOL, pool))
        type_ = getattr(declared.model, "type", None) if declared is not None else None
        return pool_type(type_).formats[0]

    def _add(self, resource: Resource, subject: str) -> None:
        other = self.resources.setdefault(resource.address, resource)
        if other is not resource:
            first = f"the first is at {other.place}"
            summary = f"{subject} is declared twice"
            self._report.error(codes.DUPLICATE, summary, resource.place, first, resource.address)

    def _domain(self, node: Node, model: type[Mapped], subject: str, scope: Scope) -> Node:
        """A domain's own fields over its profiles."""
        own = self._normaliser.resource(node, model, subject, DOMAIN_META)
        profile = child(own, "profile")
        if profile is None:
            return without(own, ("profile",))
        merged: Node | None = None
        for name, below in self._chosen(profile, subject, scope):
            over = self._normalised_profile(name, below)
            merged = over if merged is None else merge(merged, over)
        own = without(own, ("profile",))
        return own if merged is None else merge(merged, own)

    def _chosen(self, profile: Node, subject: str, scope: Scope) -> Iterator[tuple[str, Node]]:
        """The profiles a domain names, rendered with the domain's own names."""
        for item in profile.value if isinstance(profile.value, list) else [profile]:
            name = item.value
            if item.tag == BROKEN:
                continue
            if not isinstance(name, str):
                summary = f"profile of {subject} is {words(name)}"
                self._report.error(codes.PROFILE, summary, item.place, "write a name or a list")
            elif name not in self._declared_profiles:
                remedy = did_you_mean(name, self._declared_profiles, "profiles")
                summary = f"unknown profile '{name}' in {subject}"
                self._report.error(codes.PROFILE, summary, item.place, remedy or "declare it")
            else:
                yield name, self._rendered_profile(self._settled_profile(name), scope)

    def _rendered_profile(self, settled: Node, scope: Scope) -> Node:
        try:
            return self._renderer.render(settled, scope)
        except Unrendered as error:
            return error.node or settled

    def _settled(self, node: Node) -> Node:
        """A node with what is the same for all its instances evaluated, as far as it can be."""
        try:
            return self._renderer.settle(node, self._expander.base)
        except Unrendered as error:
            return error.node or node

    def _settled_profile(self, name: str) -> Node:
        if name not in self._profiles:
            node = self._declared_profiles[name].node
            self._profiles[name] = self._settled(node)
        return self._profiles[name]

    def _normalised_profile(self, name: str, node: Node) -> Node:
        subject = f"profile '{name}'"
        shared, self._normaliser.shared = self._normaliser.shared, True
        full = self._normaliser.resource(node, self._models[Kind.DOMAIN], subject, OWN_META)
        self._normaliser.shared = shared
        if not isinstance(full.value, dict):
            summary = f"{subject}: expected a mapping, got {words(full.value)}"
            self._report.error(codes.VALUE, summary, full.place, "write {FIELD: VALUE}")
            return full._replace(value={})
        return full


@cache
def _name_adapter(kind: Kind) -> TypeAdapter[Any]:
    return TypeAdapter(VolumeName if kind is Kind.VOLUME else Name)


def _name_problem(kind: Kind, name: str) -> str | None:
    """Why a key cannot be a resource's name; None if it can."""
    try:
        _name_adapter(kind).validate_python(name)
    except ValidationError as error:
        return error.errors()[0]["msg"].partition(", ")[2]
    return None
