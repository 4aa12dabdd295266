"""Strangers: objects of somebody else on the same host, which no fault may touch."""

from __future__ import annotations

import subprocess
from pathlib import Path

import libvirt

from tests.integration.support import connection, subnet
from tests.privatehost import PrivateHost

SIZE = 6 * 1024**2


class Strangers:
    """A network, a pool with two volumes and a domain, none of them a stack's.

    Attributes:
        gold: the volume that clones are made of.
        media: two disc images.
    """

    def __init__(self, host: PrivateHost, directory: Path, tag: str) -> None:
        self._host, self._name = host, f"x{tag}"
        self._folder = directory / f"strange-{tag}"
        self._folder.mkdir()
        self.media = (self._folder / "one.iso", self._folder / "two.iso")
        for medium in self.media:
            medium.write_bytes(medium.name.encode() * 65536)
        self.gold = f"{self._name}/gold.img"
        (self._folder / "gold.img").write_bytes(bytes(range(256)) * (SIZE // 256))
        (self._folder / "kept.img").write_bytes(b"kept" * 65536)
        self._make()
        self._before = self._dump()

    def _make(self) -> None:
        name, net = self._name, subnet()
        network = (
            f"<network><name>{name}</name><forward mode='nat'/><dns><host ip='{net}.9'>"
            f"<hostname>k</hostname></host></dns><ip address='{net}.1' prefix='24'/></network>"
        )
        target = f"<target><path>{self._folder}</path></target>"
        disk = (
            f"<disk type='file'><driver name='qemu' type='raw'/>"
            f"<source file='{self._folder}/kept.img'/><target dev='vda' bus='virtio'/></disk>"
        )
        nic = f"<interface type='network'><source network='{name}'/></interface>"
        domain = (
            f"<domain type='qemu'><name>{name}</name><memory unit='MiB'>64</memory>"
            "<metadata><n:a xmlns:n='urn:n'><!-- k --></n:a></metadata><os><type>hvm</type></os>"
            f"<devices>{disk}{nic}</devices></domain>"
        )
        with connection(self._host) as conn:
            conn.networkDefineXML(network).create()
            pool = f"<pool type='dir'><name>{name}</name>{target}</pool>"
            conn.storagePoolDefineXML(pool).create()
            conn.defineXML(domain)

    def remove(self) -> None:
        """Take them away."""
        with connection(self._host) as conn:
            conn.lookupByName(self._name).undefine()
            for thing in (
                conn.networkLookupByName(self._name),
                conn.storagePoolLookupByName(self._name),
            ):
                thing.destroy()
                thing.undefine()

    def check(self) -> None:
        """They must be as they were."""
        now = self._dump()
        assert now == self._before, f"strangers were touched: {now} / {self._before}"

    def check_copy(self, copy: Path) -> None:
        """A clone of `gold` must hold its bytes."""
        gold = self._folder / "gold.img"
        command = ["qemu-img", "compare", "-U", str(gold), str(copy)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"torn: {done.stdout}{done.stderr}"

    def _dump(self) -> tuple[object, ...]:
        with connection(self._host) as conn:
            network = conn.networkLookupByName(self._name)
            domain = conn.lookupByName(self._name)
            pool = conn.storagePoolLookupByName(self._name)
            files = tuple((f.name, hash(f.read_bytes())) for f in sorted(self._folder.iterdir()))
            return (
                network.XMLDesc(libvirt.VIR_NETWORK_XML_INACTIVE),
                network.isActive(),
                domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE),
                domain.isActive(),
                pool.isActive(),
                files,
            )
