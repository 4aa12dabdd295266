"""Random stacks, and random edits of them: specs that are right, in every shape that costs little.

Names are letters; `named` gives them a test's own prefix and directory, so that a stack that was
found on one host can be made on any.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

Tree = dict[str, Any]
NETWORKS, VOLUMES, DOMAINS = ("n", "m"), ("a", "b", "c"), ("x", "y", "z")
TARGETS = ("vda", "vdb", "sda")


@st.composite
def networks(draw: st.DrawFn) -> Tree:
    """Networks that no two tests fight over: without addresses of the host."""
    tree: Tree = {"forward": "none", "active": draw(st.booleans())}
    if draw(st.booleans()):
        tree["autostart"] = draw(st.booleans())
    if draw(st.booleans()):
        tree["domain"] = draw(st.sampled_from(["one.example", "two.example"]))
    if draw(st.booleans()):
        hosts = draw(st.lists(st.integers(1, 4), unique=True, max_size=3))
        tree["dns"] = {"hosts": [{"ip": f"10.9.8.{n}", "names": [f"h{n}"]} for n in hosts]}
    if draw(st.booleans()):
        tree["mtu"] = draw(st.sampled_from([1400, 1500]))
    return tree


@st.composite
def volumes(draw: st.DrawFn, names: list[str]) -> Tree:
    """Volumes: whole ones, overlays and clones of those before them."""
    found: Tree = {}
    for name in names:
        way = draw(st.sampled_from(["whole", "whole", "raw", "backing", "clone"]))
        sources = [other for other in found if "backing" not in found[other]]
        if way in ("backing", "clone") and sources:
            found[name] = {way: draw(st.sampled_from(sources))}
        else:
            found[name] = {"capacity": draw(st.sampled_from(["1MiB", "2MiB"]))}
            found[name] |= {"format": "raw"} if way == "raw" else {}
    return found


@st.composite
def domains(draw: st.DrawFn, nets: list[str], disks: list[str]) -> Tree:
    """A domain without a system, stopped; `disks` are volumes that nobody else uses."""
    maximum = draw(st.integers(1, 4))
    tree: Tree = {
        "type": "qemu",
        "state": "stopped",
        "memory": draw(st.sampled_from(["32MiB", "64MiB"])),
        "vcpus": {"current": draw(st.integers(1, maximum)), "maximum": maximum},
    }
    for name, values in (
        ("title", ["one", "two ä&<'\"", "{# {% kept"]),
        ("description", ["a", "b\nc"]),
        ("autostart", [True, False]),
        ("cpu", ["qemu64", "maximum"]),
        ("rng", ["/dev/urandom", "/dev/random"]),
        ("boot", [["hd"], ["network", "hd"]]),
    ):
        if draw(st.booleans()):
            tree[name] = draw(st.sampled_from(values))
    if nets:
        chosen = draw(st.lists(st.sampled_from(nets), max_size=2))
        nics = {f"eth{n}": {"network": net} for n, net in enumerate(chosen)}
        tree |= {"interfaces": nics} if nics else {}
    chosen = draw(st.lists(st.sampled_from(disks), unique=True, max_size=3)) if disks else []
    if chosen:
        tree["disks"] = {
            TARGETS[n]: {"volume": name} | ({"bus": "sata"} if n == 2 else {})
            for n, name in enumerate(chosen)
        }
    return tree


@st.composite
def stacks(draw: st.DrawFn) -> Tree:
    """A whole stack, by its short names."""
    nets = draw(st.lists(st.sampled_from(NETWORKS), unique=True))
    names = sorted(draw(st.lists(st.sampled_from(VOLUMES), unique=True)))
    made = draw(volumes(names))
    free = [name for name in names if not _is_source(name, made)]
    tree: Tree = {
        "networks": {name: draw(networks()) for name in nets},
        "volumes": made,
        "domains": {},
    }
    for name in draw(st.lists(st.sampled_from(DOMAINS), unique=True)):
        tree["domains"][name] = draw(domains(nets, free))
        used = [disk["volume"] for disk in tree["domains"][name].get("disks", {}).values()]
        free = [name for name in free if name not in used]
    return tree


@st.composite
def edits(draw: st.DrawFn, before: Tree) -> Tree:
    """Another stack that keeps much of one: what goes takes its users along or is taken from them.

    A volume stays what it was born as, and never shrinks.
    """
    after = copy.deepcopy(before)
    other = draw(stacks())
    for section in ("networks", "domains"):
        for name in sorted(other[section].keys() | after[section].keys()):
            match draw(st.sampled_from(["keep", "keep", "other", "gone"])):
                case "other" if name in other[section]:
                    after[section][name] = other[section][name]
                case "gone":
                    after[section].pop(name, None)
    for name in sorted(after["volumes"]):
        match draw(st.sampled_from(["keep", "grow", "gone"])):
            case "grow" if "capacity" in after["volumes"][name]:
                after["volumes"][name]["capacity"] = "4MiB"
            case "gone" if not _is_source(name, after["volumes"]):
                del after["volumes"][name]
    for name, domain in after["domains"].items():
        # A collection that is not named any more is released: its members would stay in use.
        for collection in {"disks", "interfaces"} & before["domains"].get(name, {}).keys():
            domain.setdefault(collection, {})
    _settle(after, before)
    return after


def _is_source(name: str, made: Tree) -> bool:
    return any(name in (tree.get("backing"), tree.get("clone")) for tree in made.values())


def _settle(tree: Tree, before: Tree) -> None:
    """Take out what refers to nothing, and the second user of a disk.

    A disk that another domain had is not taken over in one plan: that is an error, as the other
    one has it until it is gone.
    """
    owners = {
        disk["volume"]: name
        for name, domain in before["domains"].items()
        for disk in domain.get("disks", {}).values()
    }
    used = {tree["volumes"][name].get("backing") for name in tree["volumes"]}
    for name, domain in tree["domains"].items():
        nics = domain.get("interfaces", {})
        for key in [key for key, nic in nics.items() if nic["network"] not in tree["networks"]]:
            del nics[key]
        disks = domain.get("disks", {})
        for key in list(disks):
            volume = disks[key]["volume"]
            theirs = owners.get(volume, name) != name
            if volume not in tree["volumes"] or volume in used or theirs:
                del disks[key]
            used.add(volume)


def named(short: Tree, tag: str, directory: Path) -> Tree:
    """The specs' sections of a stack, with a test's own names."""
    tree = copy.deepcopy(short)
    for volume in tree["volumes"].values():
        for way in ("backing", "clone"):
            if way in volume:
                volume[way] = f"{tag}/{volume[way]}"
    for domain in tree["domains"].values():
        for nic in domain.get("interfaces", {}).values():
            nic["network"] = f"{tag}-{nic['network']}"
        for disk in domain.get("disks", {}).values():
            disk["volume"] = f"{tag}/{disk['volume']}"
    for name, net in tree["networks"].items():
        net["bridge"] = f"{tag}{name}"
    return {
        "networks": {f"{tag}-{name}": net for name, net in tree["networks"].items()},
        "pools": {tag: {"path": str(directory / f"pool-{tag}")}},
        "volumes": {f"{tag}/{name}": volume for name, volume in tree["volumes"].items()},
        "domains": {f"{tag}-{name}": domain for name, domain in tree["domains"].items()},
    }


def uses(specs: Tree, *, made: bool) -> Iterator[tuple[str, str]]:
    """(user, used) pairs of addresses, as the specs say it; with what is only needed to be made."""
    for name, volume in specs["volumes"].items():
        yield f"volume.{name}", f"pool.{name.partition('/')[0]}"
        for way in ("backing", "clone") if made else ("backing",):
            if way in volume:
                yield f"volume.{name}", f"volume.{volume[way]}"
    for name, domain in specs["domains"].items():
        for nic in domain.get("interfaces", {}).values():
            yield f"domain.{name}", f"network.{nic['network']}"
        for disk in domain.get("disks", {}).values():
            yield f"domain.{name}", f"volume.{disk['volume']}"
