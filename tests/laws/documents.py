"""Real documents, as libvirt wrote them, and a context without a host."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lxml.etree import _Element as Element

from kvmplan.address import Kind
from kvmplan.kinds import MODELS
from kvmplan.kinds.context import HostContext, VolumeFacts
from kvmplan.kinds.skeletons import skeletons
from kvmplan.mapping.document import parse, serialise
from kvmplan.mapping.lens import patch, read
from kvmplan.mapping.markers import Items, Runtime
from kvmplan.mapping.model import bindings, key_of, walk

FOLDER = Path(__file__).parent.parent / "documents"
NAMES = sorted(path.stem for path in FOLDER.glob("*.xml"))
SKELETONS = skeletons()
BIRTH: Mapping[Kind, Mapping[str, Any]] = {
    Kind.NETWORK: {"name": "new", "uuid": "", "forward": "nat"},
    Kind.POOL: {"name": "new", "uuid": "", "type": "dir"},
    Kind.VOLUME: {"name": "new", "format": "qcow2", "capacity": 1024, "sparse": True},
    Kind.DOMAIN: {
        "name": "new",
        "uuid": "",
        "type": "qemu",
        "arch": "x86_64",
        "machine": "q35",
        "cpu": "maximum",
        "firmware": "",
        "pcie": True,
        "root_ports": 2,
        "acpi": False,
    },
}


def kind_of(name: str) -> Kind:
    """The kind of a stored document, from its name."""
    return Kind(name.partition("-")[0])


def text_of(name: str) -> str:
    """A stored document; ``KIND`` alone gives the skeleton of that kind."""
    if name in set(Kind):
        return serialise(SKELETONS(name, BIRTH[Kind(name)]))
    return (FOLDER / f"{name}.xml").read_text()


def context(kind: Kind, desired: Mapping[str, Any]) -> HostContext:
    """A context that knows the desired names and facts, and volumes below ``/pools``."""
    names: dict[tuple[str, ...], dict[str, str]] = {
        (field,): {
            str(key_of(binding.place, item)): key
            for key, item in (desired.get(field) or {}).items()
            if "#" not in key
        }
        for field, binding in bindings(MODELS[kind]).items()
        if isinstance(binding.place, Items) and binding.place.named
    }
    runtime = {
        binding.place.name: value
        for _, binding, value in walk(MODELS[kind], desired)
        if isinstance(binding.place, Runtime)
    }
    return HostContext(
        skeleton=SKELETONS,
        names=names,
        runtime=runtime,
        volume=lambda name: VolumeFacts("file", f"/pools/{name}", "qcow2"),
        volume_at=lambda path: path.removeprefix("/pools/") if path.startswith("/pools/") else None,
    )


def lens(name: str, desired: Mapping[str, Any]) -> "Lens":
    """A lens over a fresh copy of a stored document."""
    return Lens(kind_of(name), parse(text_of(name)), desired)


class Lens:
    """Reading and patching one document towards one desired tree."""

    def __init__(self, kind: Kind, root: Element, desired: Mapping[str, Any]) -> None:
        self.model = MODELS[kind]
        self.root = root
        self.desired = desired
        self.context = context(kind, desired)

    def read(self, like: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The fields of the document, as a host that wrote and read it again would show them."""
        return read(self.model, parse(serialise(self.root)), self.context, like)

    def differences(self) -> list[Any]:
        """What leads from the document to the desired tree."""
        from kvmplan.diff import diff

        return diff(self.read(self.desired), self.desired)

    def patch(self, differences: list[Any]) -> None:
        """Write differences."""
        edits = [(path, after) for path, _, after in differences]
        patch(self.model, self.root, edits, self.context, self.desired)
