"""cloud-init: what a guest is told at its first boot, by a seed that its kernel finds.

https://docs.cloud-init.io/en/latest/reference/datasources/nocloud.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, WithJsonSchema

from kvmplan.mapping.markers import Policy, Secret
from kvmplan.mapping.model import Mapped
from kvmplan.mapping.types import Name, SecretText


def _document(value: Any) -> Any:
    if isinstance(value, str | SecretText | Mapping):
        return value
    raise ValueError("it takes a text, a mapping, or {template: FILE, vars: {…}}")


Document = Annotated[
    Any, BeforeValidator(_document), WithJsonSchema({"type": ["string", "object"]})
]
"""A document of cloud-init's: its text, or what it says as a mapping; secrets may be in it."""

TARGET = "vdz"
"""The seed's disk: behind all others, so that the guest's own keep their names at its birth. On
virtio: kernels for the cloud have no driver for SATA, and would ignore it without a word."""
INSTANCE = "instance-id"
"""In the JSON of a seed, beside its files: the id that goes into its meta-data. Apart from them,
since it follows from the other documents and from what an edit does: it is no edit itself."""
SEED_SUFFIX = "-seed.iso"
"""What the names of seeds end with, behind their domains'."""


class CloudInit(Mapped):
    """A NoCloud seed: a small volume of the stack's own, on a read-only disk of the guest."""

    pool: Annotated[Name | None, Policy()] = None
    """The pool that its volume is made in. By default that of the guest's first disk."""
    user_data: Annotated[Document | None, Policy(), Secret()] = None
    """What the guest shall be: a mapping, which becomes ``#cloud-config``, or any text that
    cloud-init takes."""
    meta_data: Annotated[Document | None, Policy(), Secret()] = None
    """Who it is. ``instance-id`` and ``local-hostname`` are given where it does not say them."""
    network_config: Annotated[Document | None, Policy(), Secret()] = None
    """Its network, version 1 or 2; without it every interface asks for a lease."""
    vendor_data: Annotated[Document | None, Policy(), Secret()] = None
    """Defaults that user_data stands over."""
    on_change: Annotated[Literal["reseed", "replace", "keep"] | None, Policy()] = None
    """What an edit does: ``reseed`` (by default) writes the seed anew, for the same instance;
    ``replace`` makes the guest begin from nothing: the domain is replaced, and with it those of its
    disks that the short way makes from an image, which needs its word; ``keep`` leaves the seed as
    it was born, and the plan says so."""
    eject_after: Annotated[Literal["done"] | None, Policy()] = None
    """``done``: once cloud-init has finished, as the guest's agent tells, its disk is unplugged,
    and stays so until the seed is edited. Waited for as long as `wait_for` says, else 5m."""
