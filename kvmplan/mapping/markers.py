"""Markers: the words of the field language, used in ``Annotated[TYPE | None, MARKER, …]``.

Each field has exactly one *place* (`Xml`, `Presence`, `Is`, `Group`, `Items`, `Pairs`, `Foreign`,
`Through`, `Runtime`, `Policy`, `Overlay`) and any of the modifiers below. Paths are relative to the
element of the enclosing model: ``./a/b`` (text), ``./a/@b`` (attribute), ``.`` (the element's own
text); a step may carry ``[@name='value']`` predicates, which are written when it is created.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lxml.etree import _Element as Element

from kvmplan.mapping.codecs import Codec


@dataclass(frozen=True, slots=True)
class Xml:
    """A text or an attribute.

    Attributes:
        codec: between text and value; by default from the field's type.
        unit: the unit numbers are written in (``KiB``); values are bytes, any unit is read.
        absent: where the value stands when libvirt leaves the node out (``vcpu/@current``).
        omitted: the value that a missing node means; writing it removes the node.
        many: all nodes at the path, as a tuple, in order.
        clears: paths that lose their meaning when this one changes; they go before it is written.
        removes: the node that goes when the value does; by default the path's own.
        skeleton: the template of the first element on the path, when that must be made.
        beside: where sizes stand that libvirt counts in, and the value does not.
    """

    path: str
    codec: Codec | None = None
    unit: str | None = None
    beside: str | None = None
    absent: str | None = None
    omitted: Any = None
    many: bool = False
    clears: tuple[str, ...] = ()
    removes: str | None = None
    skeleton: str | None = None


@dataclass(frozen=True, slots=True)
class Presence:
    """A boolean that is an element's being there: ``<acpi/>``, a console, an agent's channel."""

    path: str
    skeleton: str | None = None
    also: tuple[str, ...] = ()
    """Elements that go with it (a console's serial port)."""


@dataclass(frozen=True, slots=True)
class Is:
    """A boolean that is an attribute having a value: ``type='user'``.

    Attributes:
        clears: paths that lose their meaning when it becomes true.
    """

    path: str
    value: str
    clears: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """A nested model at one element; ``.`` is the enclosing element itself."""

    path: str = "."
    skeleton: str | None = None


@dataclass(frozen=True, slots=True)
class Companion:
    """What an item cannot do without: a SCSI disk its controller. Made where there is none.

    Attributes:
        when: a path below the item and the value that makes it need one.
        path: where one stands, from the element that holds the collection.
        skeleton: the template of a new one, or of the path's first step: what is there of that
            stays, and gets what it lacks.
    """

    when: tuple[str, str]
    path: str
    skeleton: str


@dataclass(frozen=True, slots=True)
class Items:
    """A collection of elements, keyed, never positional.

    Attributes:
        key: the item's field that is its key; with several, the first that is given.
        joined: whether all of these fields are its key: ``ldap/tcp/web``.
        named: keys are names of the user's own; `Context.names` pairs them with the item's `key`.
        skeleton: the template of a new item; by default the bare element.
        companion: what some items need beside them.
        furnished: whether an object is born with some that nobody has asked for, and libvirt adds
            others for what needs them. Those are no strangers: neither told of nor removed.
    """

    path: str
    key: tuple[str, ...]
    named: bool = False
    joined: bool = False
    skeleton: str | None = None
    companion: Companion | None = None
    furnished: bool = False


@dataclass(frozen=True, slots=True)
class Pairs:
    """A mapping of scalars: one element each, key and value in its attributes."""

    path: str
    key: str
    value: str


@dataclass(frozen=True, slots=True)
class Foreign:
    """A mapping namespace -> XML text: the children of one element, one for each namespace."""

    path: str


@dataclass(frozen=True, slots=True)
class Through:
    """Where a value is more than one node: its own small reader and writer.

    ``read(element, context)`` gives the value or None; ``write(element, value, context)`` writes it
    (None: takes it out).
    """

    read: Callable[[Element, Any], Any]
    write: Callable[[Element, Any, Any], None]
    path: str
    """For the reference page."""
    omitted: Any = None
    """What `read` gives where nothing is written."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """A fact of the object that its document does not hold: autostart, active, state."""

    name: str


@dataclass(frozen=True, slots=True)
class Policy:
    """For kvmplan only: neither read nor compared."""


@dataclass(frozen=True, slots=True)
class Overlay:
    """An XML fragment merged over the document, and compared as well as written."""


Place = Xml | Presence | Is | Group | Items | Pairs | Foreign | Through | Runtime | Policy | Overlay


@dataclass(frozen=True, slots=True)
class Case:
    """A variant: the field has a meaning only while the node at `tag` has one of `values`.

    Writing the field sets the tag to the first value and, when that changes it, removes `clears`.
    """

    tag: str
    values: tuple[str, ...]
    clears: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Belongings:
    """What is known of the thing that an element is on, and goes when it is put on another.

    Attributes:
        to: paths whose values tell which thing that is.
        nodes: paths of what is true of that thing only; no field writes them.
    """

    to: tuple[str, ...]
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ref:
    """The value names another resource: an edge in the graph, checked for existence."""

    kind: str


@dataclass(frozen=True, slots=True)
class Secret:
    """Never shown, logged, stored or hashed; compared in memory."""


@dataclass(frozen=True, slots=True)
class Same:
    """When a live value is as good as the wanted one: ``same(live, wanted, context)``."""

    test: Callable[[Any, Any, Any], bool]


@dataclass(frozen=True, slots=True)
class AtLeast:
    """The value follows a sibling: equal at birth, kept later, raised when it is too low."""

    sibling: str


@dataclass(frozen=True, slots=True)
class NotRunning:
    """Not compared between running and persistent: libvirt expands it in the running document.

    The boot note tells what an apply has edited of it since the guest was started.
    """


@dataclass(frozen=True, slots=True)
class Free:
    """Nothing else in the document depends on the text: it goes where it goes, as it is.

    Documents of new objects that differ in such texts only are filled in, not made one by one.
    """


@dataclass(frozen=True, slots=True)
class NoDefault:
    """A fresh object has no value of its own here that ``!default`` could give back.

    Attributes:
        why: in one sentence, from "a new one …" or the like.
        picked: whether libvirt picks a value anew each time it finds none. Then an enclosing group
            without an element of its own has no default either.
    """

    why: str
    picked: bool = False


@dataclass(frozen=True, slots=True)
class Birth:
    """The birth default of a field that no skeleton holds."""

    value: Any


@dataclass(frozen=True, slots=True)
class On:
    """How a change of the field (or of a member of the collection) reaches its object."""

    change: Any
    """A `Strategy`."""
    added: Any = None
    """Strategy for a new member, or for a device of its own (a `Group` with a skeleton)."""
    removed: Any = None
    """Strategy for one that goes."""
