"""Small models and a loader for the tests of specs: they need no kind of the product."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pytest
from pydantic import Field

from kvmplan.address import Address, Kind, parse_address
from kvmplan.diagnostics import Diagnostic, Diagnostics
from kvmplan.mapping.markers import Group, Items, Overlay, Pairs, Policy, Ref, Secret, Xml
from kvmplan.mapping.model import Mapped
from kvmplan.mapping.types import IpInterface, Mac, SecretStr, Size
from kvmplan.spec import Desired, LoadOptions, Resource, load

STACK = "stack: {name: lab, uid: 0d9f3c1e-6c1f-4c4f-9a53-0f6a8a3a2b11}\n"


class Amount(Mapped):
    scalar: ClassVar[str | None] = "current"
    current: Annotated[Size | None, Xml("./currentMemory", unit="KiB")] = None
    """Current."""
    maximum: Annotated[Size | None, Xml("./memory", unit="KiB")] = None
    """Maximum."""


class Vcpus(Mapped):
    scalar: ClassVar[str | None] = "current"
    current: Annotated[int | None, Xml("./vcpu/@current"), Field(ge=1)] = None
    """Current."""
    maximum: Annotated[int | None, Xml("./vcpu"), Field(ge=1)] = None
    """Maximum."""


class Disk(Mapped):
    exclusive: ClassVar[tuple[tuple[str, ...], ...]] = (("volume", "file"),)
    target: Annotated[str | None, Xml("./target/@dev")] = None
    """Target."""
    volume: Annotated[str | None, Xml("./source/@volume"), Ref("volume")] = None
    """Volume."""
    file: Annotated[str | None, Xml("./source/@file")] = None
    """File."""
    bus: Annotated[Literal["virtio", "sata", "scsi"] | None, Xml("./target/@bus")] = None
    """Bus."""


class Interface(Mapped):
    network: Annotated[str | None, Xml("./source/@network"), Ref("network")] = None
    """Network."""
    mac: Annotated[Mac | None, Xml("./mac/@address")] = None
    """MAC."""


class Graphics(Mapped):
    scalar: ClassVar[str | None] = "type"
    type: Annotated[str | None, Xml("./@type")] = None
    """Type."""
    password: Annotated[SecretStr | None, Xml("./@passwd"), Secret()] = None
    """Password."""


class Domain(Mapped):
    vcpus: Annotated[Vcpus | None, Group()] = None
    """Vcpus."""
    memory: Annotated[Amount | None, Group()] = None
    """Memory."""
    title: Annotated[str | None, Xml("./title")] = None
    """Title."""
    boot: Annotated[tuple[str, ...] | None, Xml("./os/boot/@dev", many=True)] = None
    """Boot."""
    autostart: Annotated[bool | None, Policy()] = None
    """Autostart."""
    state: Annotated[Literal["running", "stopped"] | None, Policy()] = None
    """State."""
    features: Annotated[dict[str, str] | None, Pairs("./cpu/feature", "@name", "@policy")] = None
    """Features."""
    disks: Annotated[dict[str, Disk] | None, Items("./devices/disk", key=("target",))] = None
    """Disks."""
    interfaces: Annotated[
        dict[str, Interface] | None, Items("./devices/interface", key=("mac",), named=True)
    ] = None
    """Interfaces."""
    graphics: Annotated[dict[str, Graphics] | None, Items("./devices/graphics", key=("type",))] = (
        None
    )
    """Graphics."""
    xml: Annotated[str | None, Overlay()] = None
    """XML."""


class DhcpHost(Mapped):
    mac: Annotated[Mac | None, Xml("./@mac")] = None
    """MAC."""
    name: Annotated[str | None, Xml("./@name")] = None
    """Name."""


class Ip(Mapped):
    scalar: ClassVar[str | None] = "address"
    address: Annotated[IpInterface | None, Xml("./@address")] = None
    """Address."""
    hosts: Annotated[dict[str, DhcpHost] | None, Items("./dhcp/host", key=("mac", "name"))] = None
    """Hosts."""


class Network(Mapped):
    forward: Annotated[str | None, Xml("./forward/@mode")] = None
    """Forward."""
    bridge: Annotated[str | None, Xml("./bridge/@name")] = None
    """Bridge."""
    ips: Annotated[dict[str, Ip] | None, Items("./ip", key=("address",))] = None
    """Addresses."""


class Pool(Mapped):
    path: Annotated[str | None, Xml("./target/path")] = None
    """Path."""


class Volume(Mapped):
    capacity: Annotated[Size | None, Xml("./capacity", unit="B")] = None
    """Capacity."""
    backing: Annotated[str | None, Xml("./backingStore/path"), Ref("volume")] = None
    """Backing."""
    content: Annotated[str | None, Policy()] = None
    """Content."""


MODELS: dict[Kind, type[Mapped]] = {
    Kind.NETWORK: Network,
    Kind.POOL: Pool,
    Kind.VOLUME: Volume,
    Kind.DOMAIN: Domain,
}


class Loader:
    """Writes spec files and loads them."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, name: str, text: str | bytes) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    def load(self, text: str | None = None, **options: Any) -> tuple[Desired | None, Diagnostics]:
        if text is not None:
            self.write("specs/lab.yaml", text)
        return load(Path("specs"), LoadOptions(**options), MODELS)

    def good(self, text: str, **options: Any) -> Desired:
        """The desired state of a text that holds no error (a stack section is added)."""
        desired, report = self.load(text if "stack:" in text else STACK + text, **options)
        assert desired is not None, [f"{d.place}: {d.summary}" for d in report]
        return desired

    def resource(self, text: str, address: str, **options: Any) -> Resource:
        return self.good(text, **options).resources[parse_address(address)]

    def fields(self, text: str, address: str, **options: Any) -> dict[str, Any]:
        """What a resource says, given fields only."""
        return self.resource(text, address, **options).model.model_dump(exclude_unset=True)

    def problems(self, text: str, **options: Any) -> list[Diagnostic]:
        """The diagnostics of a text (a stack section is added as its first line)."""
        desired, report = self.load(text if "stack:" in text else STACK + text, **options)
        assert desired is None or not report.has_errors
        return list(report)

    def problem(self, text: str, **options: Any) -> Diagnostic:
        found = self.problems(text, **options)
        assert len(found) == 1, [(str(d.place), d.summary, d.remedy) for d in found]
        return found[0]


def loader_in(root: Path, monkeypatch: pytest.MonkeyPatch) -> Loader:
    """A loader whose repository is the working directory."""
    monkeypatch.chdir(root)
    return Loader(root)


def test_models_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desired = loader_in(tmp_path, monkeypatch).good("pools: {vms: {path: /srv}}")
    assert list(desired.resources) == [Address("local", Kind.POOL, "vms")]
