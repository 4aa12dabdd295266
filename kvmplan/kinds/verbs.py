"""Verbs: what can be done to a host. Few and dumb; `kvmplan.host.actuators` has a function each.

The arguments of each verb are JSON values, listed beside it. ``scope`` is a `Scope`.
"""

from __future__ import annotations

from enum import StrEnum


class Scope(StrEnum):
    """Which definitions of a domain or network a verb changes."""

    LIVE = "live"
    CONFIG = "config"
    BOTH = "both"


class Verb(StrEnum):
    """The closed set of operations that change a host."""

    DEFINE = "define"
    """Network, pool, domain: ``xml``. A redefine carries the uuid inside."""
    UNDEFINE = "undefine"
    """Network, pool, domain (NVRAM, TPM state: ``keep_state``, snapshots' metadata go)."""
    START = "start"
    """Network, pool, domain."""
    STOP = "stop"
    """Network, pool: stop; domain: power off at once."""
    SHUTDOWN = "shutdown"
    """Domain: ``timeout`` seconds, ``force``: ask agent or ACPI, wait, power off where forced."""
    AWAIT = "await"
    """Domain: ``timeout`` seconds, ``agent``: running after a start, and its agent answers."""
    WAIT_FOR = "wait-for"
    """Domain: ``what`` (address, agent, tcp, cloud-init), ``port`` of tcp, ``timeout`` seconds: one
    look; `NotReady` if it is not so yet. ``old``: leases from before its start, which do not
    count."""
    EJECT = "eject"
    """Domain: ``target``, ``path``: unplug the disk there, now and for good, if it holds that file.
    Its step waits until cloud-init has finished, and names the seed's volume."""
    RESUME = "resume"
    """Domain: resume what was paused."""
    SET_AUTOSTART = "set-autostart"
    """Network, pool, domain: ``on``."""
    RENAME = "rename"
    """Domain that is off: ``name``. UEFI variables stay where they are, and are named there."""
    BUILD = "build"
    """Pool: make its directory; ``format``: its file system, partition table or volume
    group; ``again``: which may be there from a run that was cut."""
    REFRESH = "refresh"
    """Pool: read its volumes again."""
    SET_VCPUS = "set-vcpus"
    """Domain: ``count``, ``scope``."""
    SET_MEMORY = "set-memory"
    """Domain: ``bytes``, ``scope``."""
    SET_TITLE = "set-title"
    """Domain: ``text`` (None removes), ``scope``."""
    SET_DESCRIPTION = "set-description"
    """Domain: ``text`` (None removes), ``scope``."""
    SET_METADATA = "set-metadata"
    """Domain: ``namespace``, ``prefix``, ``xml`` (None removes), ``scope``."""
    ATTACH = "attach-device"
    """Domain: ``xml``, ``scope``."""
    DETACH = "detach-device"
    """Domain: ``xml`` (the live element), ``scope``, ``find`` and ``key`` (``{"dev": "vdb"}``): the
    device is gone when no element at ``find`` in the running document has those attributes."""
    SET_DISK_LIMITS = "set-disk-limits"
    """Domain: ``disk`` (its target), ``values`` (by libvirt's names; None: no limit), ``scope``."""
    SET_CPU_TUNING = "set-cpu-tuning"
    """Domain: ``values``, ``scope``."""
    SET_MEMORY_LIMITS = "set-memory-limits"
    """Domain: ``values`` in bytes (None: no limit), ``scope``."""
    SET_BLOCK_TUNING = "set-block-tuning"
    """Domain: ``values`` and, by the host's device, ``devices`` of values; ``scope``."""
    SET_IOTHREADS = "set-iothreads"
    """Domain: ``count``, ``scope``."""
    SET_PINNING = "set-pinning"
    """Domain: ``thread`` (vcpu N, iothread N, emulator), ``cpus`` (such as 0-3,7), ``scope``."""
    SET_LIFECYCLE = "set-lifecycle"
    """Domain: ``event`` (on_poweroff, on_reboot, on_crash), ``action``, ``scope``."""
    UPDATE_DEVICE = "update-device"
    """Domain: ``xml``, ``scope``."""
    UPDATE_NETWORK = "update-network"
    """Network: ``command`` (add-last, modify, delete), ``section`` (dns-host, ip-dhcp-host,
    ip-dhcp-range, dns-txt, dns-srv, portgroup), ``parent`` index, ``xml``, ``scope``."""
    RESTART_NETWORK = "restart-network"
    """Network: ``users``: stop it and start it; refused if other running domains than these are on
    it. One that does not start again is brought back as it ran."""
    RECONNECT = "reconnect"
    """Network: ``users``: plug NICs of these running domains that it has lost in again."""
    CREATE_VOLUME = "create-volume"
    """Volume: ``xml``."""
    CLONE_VOLUME = "clone-volume"
    """Volume: ``xml``, ``source`` (POOL/NAME)."""
    UPLOAD = "upload"
    """Volume: ``data``, a file of this machine by its `Path`, or bytes: what it holds from its
    beginning on; ``told`` is called with how many bytes of it are done."""
    RESIZE_VOLUME = "resize-volume"
    """Volume: ``bytes``, ``shrink``."""
    RESIZE_DISK = "resize-disk"
    """Domain: ``target``, ``bytes``: grow a volume in use through the running guest."""
    DELETE_VOLUME = "delete-volume"
    """Volume."""
