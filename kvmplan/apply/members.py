"""Devices and members as libvirt's device and network verbs want them: one element at a time."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lxml.etree import _Element as Element

from kvmplan.apply.problems import Stale
from kvmplan.diff import at, diff
from kvmplan.kinds.context import HostContext
from kvmplan.kinds.verbs import Scope
from kvmplan.mapping.document import parse, serialise
from kvmplan.mapping.lens import Edit, keyed, lacking, make_item, patch, read
from kvmplan.mapping.markers import Group, Items, Xml
from kvmplan.mapping.model import Binding, Mapped, bindings, chain
from kvmplan.mapping.paths import find, split
from kvmplan.plan.change import FieldChange, Path
from kvmplan.plan.fields import ignored
from kvmplan.plan.intent import Intent


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a collection, or a device of its own, in a document.

    Attributes:
        path: ``("disks", "vda")``, ``("watchdog",)``.
        node: its live element; None if the document has none.
    """

    intent: Intent
    context: HostContext
    path: Path
    binding: Binding
    place: Items | Group
    node: Element | None

    def made(self) -> str:
        """A new element of it, as wanted."""
        item = at(self.intent.tree, self.path)
        if not isinstance(item, Mapping):
            raise Stale(f"{'.'.join(self.path)} is not wanted any more")
        return serialise(make_item(self.binding, self.place, item, self.context, self.path))

    def live(self) -> str:
        """Its live element."""
        return _alone(self._there())

    def changed(self, changes: Sequence[FieldChange]) -> str:
        """Its live element with the changes written into it."""
        assert self.binding.item is not None
        node = copy.deepcopy(self._there())
        node.tail = None
        edits: list[Edit] = [(change.path[len(self.path) :], change.after) for change in changes]
        wanted = at(self.intent.tree, self.path)
        patch(self.binding.item, node, edits, self.context, wanted, self.path)
        return serialise(node)

    def differs(self, running: Member, changes: Sequence[FieldChange]) -> bool:
        """Whether what runs is another in more than what is changed: some of it waits."""
        assert self.binding.item is not None
        mine, its = (
            read(self.binding.item, member._there(), self.context, None, self.path)
            for member in (self, running)
        )
        changed = [change.path[len(self.path) :] for change in changes]
        return any(
            not ignored(path, changed)
            and not any(link.secret for link in chain(self.binding.item, path))
            for path, _, _ in diff(mine, its)
        )

    def companion(self, root: Element) -> str | None:
        """What a new one needs beside it and the document lacks, such as its controller."""
        if not isinstance(self.place, Items):
            return None
        found = lacking(self.place, parse(self.made()), root, self.context)
        return None if found is None else serialise(found[1])

    def identity(self) -> tuple[str, dict[str, str]]:
        """Where what tells it apart stands (``./devices/disk/target``) and says (``dev: vda``).

        By its key, else by its address, which no two devices share.
        """
        assert self.binding.item is not None
        node = self._there()
        for name in self.place.key if isinstance(self.place, Items) else ():
            place = bindings(self.binding.item)[name].place
            inner, attribute = split(place.path) if isinstance(place, Xml) else ("", None)
            holder = find(node, inner)
            value = holder.get(attribute) if holder is not None and attribute is not None else None
            if attribute is not None and value is not None:
                return f"{self.place.path}/{inner}".rstrip("/"), {attribute: value}
        address = node.find("address")
        if address is None:
            raise LookupError(f"{'.'.join(self.path)} has nothing that it can be looked for by")
        return f"{self.place.path}/address", {str(k): str(v) for k, v in address.attrib.items()}

    def _there(self) -> Element:
        if self.node is None:
            raise Stale(f"{'.'.join(self.path)} is not there any more")
        return self.node


def locate(intent: Intent, root: Element, path: Path, context: HostContext) -> Member:
    """Find a member or device in a document, through the groups and collections above it."""
    element: Element | None = root
    model: type[Mapped] | None = intent.model
    done: Path = ()
    while model is not None:
        name = path[len(done)]
        binding = bindings(model)[name]
        place = binding.place
        if isinstance(place, Items):
            key = path[len(done) + 1]
            element = _keyed(binding, place, element, context, (*done, name), key)
            done = (*done, name, key)
            if done == path:
                return Member(intent, context, path, binding, place, element)
        else:
            assert isinstance(place, Group)
            element = find(element, split(place.path)[0]) if element is not None else None
            done = (*done, name)
            if done == path:
                return Member(intent, context, path, binding, place, element)
        model = binding.item
    raise LookupError(f"{'.'.join(path)} is neither a member of a collection nor a device")


def _keyed(
    binding: Binding,
    place: Items,
    element: Element | None,
    context: HostContext,
    above: Path,
    key: str,
) -> Element | None:
    if element is None:
        return None
    nodes = keyed(binding, place, element, context, above)
    return next((node for node, found in nodes if found == key), None)


def network_updates(
    member: Member,
    root: Element,
    running: Element | None,
    changes: Sequence[FieldChange],
    arguments: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """What `Verb.UPDATE_NETWORK` is called with, one call after the other.

    Sections that libvirt cannot modify have the member taken out and put back. libvirt finds an
    address by its position, which is another in what runs as long as one before it waits.

    Args:
        member: as it is defined.
        root: the network as it is defined.
        running: as it runs; None if it does not.
        changes: what is to be changed of the member.
        arguments: of the step.
    """
    scope, defined = arguments["scope"], _parent(member, root)
    runs = defined if running is None or scope == Scope.CONFIG else _parent(member, running)
    places = [(scope, runs)]
    if scope == Scope.BOTH and runs != defined:
        places = [(Scope.LIVE, runs), (Scope.CONFIG, defined)]
    whole = next((change for change in changes if change.path == member.path), None)
    if whole is not None and whole.before is None:
        commands = [("add-last", member.made())]
    elif whole is not None and whole.after is None:
        commands = [("delete", member.live())]
    elif arguments.get("modify"):
        commands = [("modify", member.changed(changes))]
    else:
        commands = [("delete", member.live()), ("add-last", member.changed(changes))]
    section = arguments["section"]
    return [
        {"command": command, "xml": xml, "section": section, "scope": where, "parent": parent}
        for command, xml in commands
        for where, parent in places
    ]


def _parent(member: Member, root: Element) -> int:
    """The position of the ``<ip>`` that a DHCP section belongs to; -1 for other sections."""
    if member.path[0] != "ips":
        return -1
    above = locate(member.intent, root, member.path[:2], member.context)
    if above.node is None:
        raise Stale(f"{'.'.join(member.path[:2])} is not there any more")
    return root.findall("ip").index(above.node)


def _alone(node: Element) -> str:
    alone = copy.deepcopy(node)
    alone.tail = None
    return serialise(alone)
