"""The read floor: list and read every wanted document with bare libvirt-python, output discarded.

Run as ``python tests/benchmarks/floor.py URI``; prints the seconds it took without its start-up.
"""

import sys
import time
from concurrent.futures import ThreadPoolExecutor

import libvirt

THREADS, CONNECTIONS = 8, 2


def main(uri: str) -> None:
    begun = time.perf_counter()
    connections = [libvirt.open(uri) for _ in range(CONNECTIONS)]
    domains = connections[0].listAllDomains()
    volumes = [v for pool in connections[0].listAllStoragePools() for v in pool.listAllVolumes()]
    other = {d.UUIDString(): d for d in connections[1].listAllDomains()}
    other_volumes = {
        v.key(): v for pool in connections[1].listAllStoragePools() for v in pool.listAllVolumes()
    }
    jobs = [
        lambda d=d: d.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
        for d in [*domains[::2], *(other[d.UUIDString()] for d in domains[1::2])]
    ]
    jobs += [
        lambda v=v: v.XMLDesc()
        for v in [*volumes[::2], *(other_volumes[v.key()] for v in volumes[1::2])]
    ]
    with ThreadPoolExecutor(THREADS) as threads:
        for _ in threads.map(lambda job: job(), jobs, chunksize=16):
            pass
    print(f"{time.perf_counter() - begun:.6f}")


main(sys.argv[1])
