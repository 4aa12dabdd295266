"""Guards: what apply refuses before its first write. Shown by plan, one small class each.

libvirt hardly guards anything itself: it deletes disks under running guests and destroys networks
in use. A guard sees one change and the whole situation, and answers with a refusal or nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from kvmplan.address import Address, Kind
from kvmplan.inventory import Inventory
from kvmplan.mapping.impact import Impact
from kvmplan.plan.change import Action, Change, Guarded, Reason
from kvmplan.plan.options import PlanOptions
from kvmplan.plan.strangers import standing
from kvmplan.plan.users import Users, carried, unplugged
from kvmplan.spec.desired import Resource


@dataclass(frozen=True)
class Scene:
    """All that a guard may look at.

    Attributes:
        changes: every change of the plan.
        users: host -> who uses what there.
        detached: domains and volumes or networks that this plan separates.
        kept: those of them that a running guest lets go of at its next stop only.
        moment: when the plan is made, ISO 8601, UTC.
    """

    changes: Mapping[Address, Change]
    resources: Mapping[Address, Resource]
    inventories: Mapping[str, Inventory]
    users: Mapping[str, Users]
    options: PlanOptions
    detached: frozenset[tuple[Address, Address]] = field(default_factory=frozenset)
    kept: frozenset[tuple[Address, Address]] = field(default_factory=frozenset)
    moment: str = ""

    def goes(self, address: Address) -> bool:
        """Whether this plan deletes an object (or replaces it)."""
        change = self.changes.get(address)
        return change is not None and change.action in (Action.DELETE, Action.REPLACE)

    def cut_off(self, change: Change) -> tuple[Address, ...]:
        """The running domains that are off a network while it restarts; of domains, none."""
        address = change.address
        record = self.inventories[address.host].record(address)
        if not change.restarts or address.kind is not Kind.NETWORK or record is None:
            return ()
        names = unplugged(self.users[address.host], record)
        return tuple(self.domain(address.host, name) for name in names)

    def domain(self, host: str, name: str) -> Address:
        """A domain's address on a host."""
        return Address(host, Kind.DOMAIN, name)


def shrinks(change: Change) -> bool:
    """Whether a volume gets smaller."""
    return any(f.path == ("capacity",) and f.impact is Impact.DATA_LOSS for f in change.fields)


class Guard(Protocol):
    """One safety rule."""

    code: ClassVar[str]

    def check(self, change: Change, scene: Scene) -> Guarded | None:
        """A refusal, or nothing."""
        ...


class PreventDestroy:
    """What is protected is not deleted or replaced, also when its line has left the spec."""

    code: ClassVar[str] = "KVP210"

    def check(self, change: Change, scene: Scene) -> Guarded | None:
        """Refuse deletes of protected objects; what a cut run has left was none yet."""
        if not scene.goes(change.address) or change.reason is Reason.TORN:
            return None
        resource = scene.resources.get(change.address)
        claim = scene.inventories[change.address.host].claim(change.address)
        protected = (
            resource.lifecycle.prevent_destroy if resource else claim is not None and claim.protect
        )
        if not protected:
            return None
        summary = f"{change.address.short} has prevent_destroy and would be deleted"
        remedy = "apply it with `lifecycle: {prevent_destroy: false}` first, or --exclude it"
        return Guarded(self.code, change.address, summary, remedy)


class DataLoss:
    """Bytes are lost only where the user has written so for this address."""

    code: ClassVar[str] = "KVP211"

    def check(self, change: Change, scene: Scene) -> Guarded | None:
        """Refuse data loss without its word."""
        if change.impact is not Impact.DATA_LOSS or scene.options.allows_data_loss(change.address):
            return None
        what = (
            "would be deleted with all its bytes"
            if scene.goes(change.address)
            else "would lose bytes"
        )
        shrink = next((f for f in change.fields if f.impact is Impact.DATA_LOSS), None)
        reason = f": {shrink.reason}" if shrink and shrink.reason else ""
        if change.address.kind is Kind.DOMAIN:
            what = "would go with what its guest has written"
        if change.address.kind is Kind.POOL:
            what, reason = "would format its devices", ": what is on them is lost"
        remedy = f"--allow-data-loss {change.address.short} if that is meant"
        return Guarded(self.code, change.address, f"{change.address.short} {what}{reason}", remedy)


class Restart:
    """A guest or a network goes down and up only where the user has written so for it."""

    code: ClassVar[str] = "KVP217"

    def check(self, change: Change, scene: Scene) -> Guarded | None:
        """Refuse restarts without their word."""
        if not change.restarts or scene.options.allows_restart(change.address):
            return None
        summary = f"{change.address.short} would be restarted"
        names = ", ".join(domain.short for domain in scene.cut_off(change))
        summary += f", which cuts off {names}" if names else ""
        remedy = f"--allow-restart {change.address.short} if now is the time, or --exclude it"
        return Guarded(self.code, change.address, summary, remedy)


class InUse:
    """What anything outside the plan uses is not deleted or stopped; the users are named."""

    code: ClassVar[str] = "KVP212"

    def check(self, change: Change, scene: Scene) -> Guarded | None:
        """Refuse deletes and stops under users that stay."""
        resized = any(field.path == ("capacity",) for field in change.fields)
        resized = resized and change.address.kind is Kind.VOLUME
        below = set(self._below(change, scene)) if resized else set[str]()
        others = set(self._users(change, scene))
        users = sorted(others | below)
        if not users:
            return None
        if not others:
            return self._in_snapshot(change, users)
        verb = "deleted" if scene.goes(change.address) else "resized" if resized else "stopped"
        verb = "restarted" if change.restarts else verb
        summary = f"{change.address.short} cannot be {verb}: used by {', '.join(users)}"
        remedy = "take it out of use first, or let the same plan remove its users"
        return Guarded(self.code, change.address, summary, remedy)

    def _in_snapshot(self, change: Change, users: Iterable[str]) -> Guarded:
        """QEMU has it open to be read only: what the guest sees is the overlay's size."""
        names = ", ".join(users)
        summary = f"{change.address.short} cannot be resized: it is in a snapshot, the running "
        summary += f"{names} writes to an overlay over it"
        remedy = "merge the overlay into it first (virsh blockcommit --active --pivot)"
        return Guarded(self.code, change.address, summary, remedy)

    def _users(self, change: Change, scene: Scene) -> Iterator[str]:
        address, users = change.address, scene.users[change.address.host]
        removed = scene.goes(address)
        if address.kind is Kind.VOLUME and shrinks(change):
            yield from self._shrunk(address, scene)
        for domain in scene.cut_off(change):
            yield from self._not_to_be_cut_off(domain, scene)
        stopped = any(f.path == ("active",) and f.after is False for f in change.fields)
        if not (removed or stopped):
            return
        if address.kind is Kind.NETWORK:
            record = scene.inventories[address.host].record(address)
            on_it = users.networks.get(address.name, ())
            names = on_it if removed or record is None else carried(users, record)
            yield from self._domains(names, address, scene)
        elif address.kind is Kind.VOLUME:
            for use in users.volumes.get(address.name, ()):
                if use.snapshot and not scene.goes(scene.domain(address.host, use.domain)):
                    yield use.user
                elif (
                    use.running and (scene.domain(address.host, use.domain), address) in scene.kept
                ):
                    yield f"{use.user} (until its next stop)"
                elif not use.snapshot:
                    yield from self._domains((use.domain,), address, scene)
            yield from self._overlays(address, scene)
        elif address.kind is Kind.POOL and removed:
            for volume, uses in users.volumes.items():
                if volume.partition("/")[0] == address.name:
                    yield from self._domains((use.domain for use in uses), address, scene)

    def _shrunk(self, address: Address, scene: Scene) -> Iterator[str]:
        """Who would lose what it relies on: also a guest of ours, unless it is simply stopped."""
        for use in scene.users[address.host].volumes.get(address.name, ()):
            domain = scene.domain(address.host, use.domain)
            ours = domain in scene.resources and use.top
            if use.running or use.saved or use.snapshot or not (ours or scene.goes(domain)):
                yield use.user
        yield from self._overlays(address, scene)

    def _overlays(self, address: Address, scene: Scene) -> Iterator[str]:
        path = scene.inventories[address.host].volume_paths.get(address.name, "")
        for overlay in scene.users[address.host].overlays.get(path, ()):
            if not scene.goes(Address(address.host, Kind.VOLUME, overlay)):
                yield f"volume.{overlay}"

    def _not_to_be_cut_off(self, domain: Address, scene: Scene) -> Iterator[str]:
        """A guest that is not this stack's, or that somebody holds."""
        why = standing(domain, scene.inventories[domain.host], scene.moment)
        if why:
            yield f"{domain.short} ({why})"

    def _below(self, change: Change, scene: Scene) -> Iterator[str]:
        """Running guests that have a volume below their disk's top layer: QEMU holds it then."""
        uses = scene.users[change.address.host].volumes.get(change.address.name, ())
        for use in uses:
            if use.running and not (use.top or use.copy) and not scene.goes(change.address):
                yield scene.domain(change.address.host, use.domain).short

    def _domains(self, names: Iterable[str], used: Address, scene: Scene) -> Iterator[str]:
        for name in names:
            domain = scene.domain(used.host, name)
            if not scene.goes(domain) and (domain, used) not in scene.detached:
                yield domain.short


class UnknownUsers:
    """What cannot be seen because a pool is off is not lost on a guess.

    That is the volume itself, or the disks of stopped domains: they may be overlays of it.
    """

    code: ClassVar[str] = "KVP213"

    def check(self, change: Change, scene: Scene) -> Guarded | None:
        """Refuse deletes of volumes that could not be read, or whose overlays could not be."""
        address = change.address
        if address.kind is not Kind.VOLUME or not (scene.goes(address) or shrinks(change)):
            return None
        verb = "deleted" if scene.goes(address) else "made smaller"
        pool = Address(address.host, Kind.POOL, address.pool)
        record = scene.inventories[address.host].record(pool)
        if record is not None and not record.active:
            why = "its pool is not active, so its users are unknown"
            summary = f"{address.short} cannot be {verb}: {why}"
            return Guarded(self.code, address, summary, f"start {pool.short} first")
        for off, names in sorted(scene.users[address.host].unknown.items()):
            domains = (scene.domain(address.host, name) for name in sorted(names))
            stay = ", ".join(domain.short for domain in domains if not scene.goes(domain))
            if stay:
                why = f"disks of {stay} are in pool.{off}, which is not active: whose overlays"
                summary = f"{address.short} cannot be {verb}: {why} they are is unknown"
                return Guarded(self.code, address, summary, f"start pool.{off} first")
        return None


class NoClaims:
    """Where no claims can be kept, nobody knows whose an object is: nothing is deleted."""

    code: ClassVar[str] = "KVP225"

    def check(self, change: Change, scene: Scene) -> Guarded | None:
        """Refuse all deletes and replacements on hosts without secrets."""
        address = change.address
        if not scene.goes(address) or scene.inventories[address.host].facts.has_secrets:
            return None
        summary = f"{address.short} cannot be deleted: its host can keep no claims"
        return Guarded(self.code, address, summary, "delete it there by other means")


GUARDS: tuple[Guard, ...] = (
    PreventDestroy(),
    DataLoss(),
    Restart(),
    InUse(),
    UnknownUsers(),
    NoClaims(),
)
"""All guards, in the order they are asked."""


def refusals(scene: Scene) -> tuple[Guarded, ...]:
    """Everything that stands against a plan."""
    acting = [
        change for _, change in sorted(scene.changes.items()) if change.action is not Action.NOOP
    ]
    found = (guard.check(change, scene) for change in acting for guard in GUARDS)
    return tuple(refusal for refusal in found if refusal is not None)
