"""What goes wrong with real hosts: sentences and exit codes, no traceback, nothing half-written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import libvirt
import pytest

from kvmplan.cli import apply as apply_command
from kvmplan.host import open_host
from kvmplan.host.live import LibvirtHost
from kvmplan.kinds.verbs import Verb
from tests.integration.support import Run, Stack, connection, idle_domain, kvmplan, stack
from tests.privatehost import PrivateHost

POOL_BYTES = 8 * 1024**2


def said(run: Run, code: int, *words: str) -> None:
    """The run ended with this code and said these words; no bug was met on the way."""
    text = run.out + run.err
    assert run.code == code, str(run)
    assert "Traceback" not in text, text
    assert "KVP9" not in text, text
    for word in words:
        assert word in text, text


@pytest.fixture
def made(private_host: PrivateHost, tmp_path: Path) -> Iterator[Stack]:
    with stack(tmp_path, private_host) as it:
        yield it


@pytest.mark.parametrize("command", ["plan", "apply", "destroy", "lock", "show"])
@pytest.mark.parametrize(
    "uri",
    [
        "qemu+unix:///system?socket=/nowhere/libvirt-sock",
        "qemu+tcp://127.0.0.1:1/system",
        "qemu:///nonsense",
        "nonsense:///system",
        "not a uri",
    ],
)
def test_a_host_that_cannot_be_reached(uri: str, command: str, tmp_path: Path) -> None:
    one = Stack(tmp_path, None, {"networks": {"lan": {"forward": "none"}}})
    one.write()
    arguments: dict[str, list[str | Path]] = {"lock": [], "show": ["network.lan"]}
    flags = ["--auto-approve"] if command in ("apply", "destroy") else []
    run = kvmplan(command, *arguments.get(command, [one.path]), *flags, "--connect", uri)
    said(run, 1, "error[KVP50")


def test_a_socket_that_nobody_listens_on(own_host: PrivateHost, tmp_path: Path) -> None:
    own_host.kill()
    one = Stack(tmp_path, own_host, {"networks": {"lan": {"forward": "none"}}})
    said(one.run("plan"), 1, "error[KVP50", own_host.uri)
    said(one.run("apply", "--auto-approve"), 1, "error[KVP50")


@pytest.mark.parametrize("command", ["plan", "apply"])
def test_references_in_a_circle(made: Stack, tmp_path: Path, command: str) -> None:
    tag, pool = made.tag, tmp_path / "pool"
    made.specs |= {
        "pools": {tag: {"path": str(pool)}},
        "volumes": {
            f"{tag}/a.qcow2": {"backing": {"path": f"{pool}/b.qcow2", "format": "qcow2"}},
            f"{tag}/b.qcow2": {"backing": {"volume": f"{tag}/a.qcow2"}},
        },
    }
    flags = ["--auto-approve"] if command == "apply" else []

    said(
        made.run(command, *flags),
        1,
        "error[KVP121]",
        "references form a cycle",
        f"volume.{tag}/a.qcow2 ->",
    )
    assert not pool.exists()


def test_files_of_the_stack_are_made_first(made: Stack, tmp_path: Path) -> None:
    tag, pool = made.tag, tmp_path / "pool"
    disks: dict[str, dict[str, dict[str, Any]]] = {
        name: {"vda": {"file": f"{pool}/{name}.qcow2", "format": "qcow2"}} for name in "yz"
    }
    disks["z"]["vda"]["readonly"] = True  # it is a base, too
    made.specs |= {
        "pools": {tag: {"path": str(pool)}},
        "volumes": {
            f"{tag}/{name}.qcow2": {"capacity": "1MiB", **more}
            for name, more in (
                ("y", {}),
                ("z", {}),
                ("a", {"backing": {"path": f"{pool}/z.qcow2", "format": "qcow2"}}),
            )
        },
        "domains": {
            f"{tag}-on": idle_domain(disks=disks["y"], state="running"),
            f"{tag}-off": idle_domain(disks=disks["z"]),
        },
    }
    made.settle()
    made.in_sync()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"machine": "pc-q35-99"}, ("KVP139", "no machine 'pc-q35-99'")),
        ({"arch": "sparc"}, ("KVP139", "no QEMU for the architecture sparc")),
        ({"disks": {"vda": {}}}, ("KVP123", "it is on nothing")),
    ],
    ids=str,
)
def test_what_the_host_has_not_is_told_before(
    made: Stack, wrong: dict[str, Any], words: tuple[str, ...]
) -> None:
    tag = made.tag
    made.specs |= {
        "networks": {tag: {"forward": "none", "bridge": f"{tag}b"}},
        "domains": {tag: idle_domain(**wrong)},
    }
    said(made.plan("--read-only"), 1, *words, "stack.yaml:")
    said(made.run("apply", "--auto-approve"), 1, *words)
    assert made.host is not None
    with connection(made.host) as conn:
        assert tag not in conn.listNetworks()


def test_read_only_plans_and_never_writes(made: Stack) -> None:
    made.specs["domains"] = {f"{made.tag}-a": idle_domain(title="one")}
    said(made.plan("--read-only"), 2, "1 to add")
    refused = made.run("apply", "--auto-approve", "--read-only")
    said(refused, 1, "error[KVP", "read-only")
    made.settle()
    made.domains[f"{made.tag}-a"]["title"] = "two"
    said(made.plan("--read-only"), 2, "1 to change")
    said(made.run("apply", "--auto-approve", "--read-only"), 1, "read-only")
    assert made.host is not None
    with connection(made.host) as conn:
        assert "one" in conn.lookupByName(f"{made.tag}-a").XMLDesc(0)
    made.apply()


def test_a_pool_that_is_full(own_host: PrivateHost, tmp_path: Path) -> None:
    folder = own_host.directory / "small"
    folder.mkdir()
    own_host.run(["mount", "-t", "tmpfs", "-o", f"size={POOL_BYTES}", "tmpfs", str(folder)])
    with stack(tmp_path, own_host) as one:
        one.specs["pools"] = {one.tag: {"path": str(folder)}}
        name = f"{one.tag}/big.img"
        whole = {"format": "raw", "capacity": "64MiB", "allocation": "64MiB"}
        small = {"format": "raw", "capacity": "1MiB"}
        one.specs["volumes"] = {name: whole, f"{one.tag}/small.img": small}
        one.specs["domains"] = {f"{one.tag}-a": idle_domain(disks={"vda": {"volume": name}})}
        run = one.run("apply", "--auto-approve")
        said(
            run, 5, "volume." + name, "Apply incomplete! Resources: 2 added", "1 failed, 1 skipped"
        )
        with connection(own_host) as conn:
            pool = conn.storagePoolLookupByName(one.tag)
            pool.refresh()
            assert [volume.name() for volume in pool.listAllVolumes()] == ["small.img"]
            assert conn.listAllDomains() == []
        known = one.run("apply", "--auto-approve")
        said(known, 7, "KVP240", "writes 64MiB to it at once", "Nothing was done")
        one.volumes[name] = small
        one.settle()


STRANGE_NAMES = [
    "x" * 300,
    "x" * 251,
    "x" * 240,
    "ä" * 120,
    "..",
    ".",
    "a b",
    "ä&<'\"",
    "-rf",
    "%s%n",
    "a:b",
    "$(id)",
]


@pytest.mark.parametrize("kind", ["networks", "pools", "domains", "volumes"])
@pytest.mark.parametrize("name", STRANGE_NAMES)
def test_strange_names_work_or_are_refused_in_words(
    kind: str, name: str, made: Stack, tmp_path: Path
) -> None:
    tag = made.tag
    specs: dict[str, Any] = {
        "networks": {f"{name}{tag}": {"forward": "none", "active": False}},
        "pools": {f"{name}{tag}": {"path": str(tmp_path / "pool")}},
        "domains": {f"{name}{tag}": idle_domain()},
        "volumes": {f"{tag}/{name}": {"capacity": "1MiB"}},
    }
    made.specs[kind] = specs[kind]
    if kind == "volumes":
        made.specs["pools"] = {tag: {"path": str(tmp_path / "pool")}}
    run = made.run("apply", "--auto-approve")
    assert run.code in (0, 1, 5), str(run)
    said(run, run.code)
    if run.code == 0:
        made.in_sync()
    else:
        assert "KVP" in run.out + run.err, str(run)
        del made.specs[kind]  # so that the rest can be destroyed
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        {made.path.name, *(["pool"] if (tmp_path / "pool").exists() else [])}
    )


def before_execution(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Do something behind an apply's back, after it has planned and before it begins."""
    execute = apply_command._execute

    def late(*arguments: Any) -> int:
        monkeypatch.setattr(apply_command, "_execute", execute)
        act()
        return execute(*arguments)

    monkeypatch.setattr(apply_command, "_execute", late)


def test_an_object_that_changes_between_plan_and_apply(
    made: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = f"{made.tag}-a", f"{made.tag}-b"
    made.specs["domains"] = {first: idle_domain(title="one"), second: idle_domain(title="one")}
    made.settle()
    made.domains[first]["title"] = made.domains[second]["title"] = "two"
    assert made.host is not None
    with connection(made.host) as conn:
        domain = conn.lookupByName(first)
        config = libvirt.VIR_DOMAIN_AFFECT_CONFIG
        before_execution(
            monkeypatch,
            lambda: domain.setMetadata(
                libvirt.VIR_DOMAIN_METADATA_TITLE, "by hand", None, None, config
            ),
        )
        run = made.run("apply", "--auto-approve")
        said(run, 5, "stale", "changed since it was planned: title", f"domain.{first}")
        assert "by hand" in domain.XMLDesc(0)
        assert "two" in conn.lookupByName(second).XMLDesc(0)
    made.settle()


def test_an_object_that_comes_or_goes_between_plan_and_apply(
    made: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = f"{made.tag}-old", f"{made.tag}-new"
    made.specs["networks"] = {old: {"forward": "none", "active": False, "autostart": False}}
    made.settle()
    made.specs["networks"][old]["autostart"] = True
    made.specs["networks"][new] = {"forward": "none", "active": False}
    assert made.host is not None
    with connection(made.host) as conn:

        def swap() -> None:
            conn.networkLookupByName(old).undefine()
            conn.networkDefineXML(f"<network><name>{new}</name></network>")

        before_execution(monkeypatch, swap)
        run = made.run("apply", "--auto-approve")
        said(run, 5, "stale", "gone since it was planned", "exists now")
        stranger = conn.networkLookupByName(new)
        assert "kvmplan" not in stranger.XMLDesc(0)
        stranger.undefine()
    made.settle()


def _unlock(host: PrivateHost) -> None:
    """Remove the lock that a run left behind when its host died."""
    opened = open_host(uri=host.uri)
    try:
        for lock in opened.locks():
            assert kvmplan("force-unlock", lock.id, "--connect", host.uri).code == 0
    finally:
        opened.close()


@pytest.mark.parametrize("after", range(1, 8))
def test_libvirtd_killed_during_apply(
    after: int, own_host: PrivateHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stack(tmp_path, own_host) as one:
        tag = one.tag
        one.specs |= {
            "networks": {tag: {"forward": "none", "autostart": False}},
            "pools": {tag: {"path": str(tmp_path / "pool")}},
            "volumes": {f"{tag}/a.qcow2": {"capacity": "8MiB"}},
            "domains": {
                f"{tag}-a": idle_domain(
                    disks={"vda": {"volume": f"{tag}/a.qcow2"}}, interfaces={"eth0": tag}
                )
            },
        }
        perform, calls = LibvirtHost.perform, iter(range(1, 1000))

        def deadly(self: LibvirtHost, verb: Verb, address: Any, arguments: Any) -> None:
            if next(calls) == after:
                own_host.kill()
            perform(self, verb, address, arguments)

        with monkeypatch.context() as patched:
            patched.setattr(LibvirtHost, "perform", deadly)
            run = one.run("apply", "--auto-approve", "--parallelism", "1")
        own_host.restart()
        said(run, 5, "KVP602", "the connection was lost", "Apply incomplete!")
        _unlock(own_host)
        one.apply()
        one.in_sync()
