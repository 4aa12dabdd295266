"""What docs/least-privilege.md and its rules say, against libvirt's own access control."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from tests.integration.polkit import ROOT, Guarded
from tests.integration.support import Run, SecretRef, Stack, idle_domain, subnet
from tests.privatehost import PrivateHost

RULES = ROOT / "docs" / "polkit" / "50-kvmplan.rules"
DATA = ("--allow-data-loss", "volume.*")
PASSWORD = {"VNC_PASSWORD": "pw-One17"}


def listed(name: str) -> set[str]:
    """The permissions in one of the lists of the rules."""
    found = re.search(rf"var {name} = \[(.*?)\]", RULES.read_text(), re.DOTALL)
    assert found is not None
    return set(re.findall(r'"([^"]+)"', found[1]))


def write(made: Stack, second: bool) -> None:
    """A stack that needs every kind of change on its way from the first version to the second."""
    tag, net = made.tag, subnet() if not made.specs.get("networks") else ""
    lan = made.specs.setdefault(
        "networks",
        {
            f"{tag}-lan": {
                "forward": "none",
                "bridge": f"{tag}b",
                "ips": [{"address": f"{net}.1/24", "dhcp": {"hosts": []}}],
            }
        },
    )[f"{tag}-lan"]
    dhcp = lan["ips"][0]["dhcp"]
    dhcp["hosts"] = [{"mac": "52:54:00:aa:00:01", "ip": lan["ips"][0]["address"][:-4] + "7"}]
    dhcp["hosts"] *= second
    size = "2MiB" if second else "1MiB"
    made.specs["pools"] = {tag: {"path": str(made.directory / "pool"), "autostart": second}}
    made.specs["volumes"] = {
        f"{tag}/used.img": {"format": "raw", "capacity": size},
        f"{tag}/free.img": {"format": "raw", "capacity": size},
        f"{tag}/copy.img": {"clone": f"{tag}/free.img"},
        f"{tag}/text": {"content": "what is uploaded\n"},
    }
    vnc = {"type": "vnc", "listen": "127.0.0.1", "password": SecretRef("VNC_PASSWORD")}
    made.specs["domains"] = {
        f"{tag}-web": idle_domain(
            state="running",
            shutdown_timeout="1s",
            force=True,
            vcpus={"current": 1 + second, "maximum": 2},
            title="second" if second else "first",
            disks={"vda": f"{tag}/used.img"},
            interfaces={f"eth{n}": f"{tag}-lan" for n in range(1 + second)},
            graphics=[vnc],
        )
    }
    made.write()


def test_nobody_needs_more_than_the_page_says(own_host: PrivateHost, tmp_path: Path) -> None:
    guarded, made = Guarded(own_host), Stack(own_host.directory, None)
    guarded.make_users()
    write(made, second=False)

    def run(user: str, *arguments: Any) -> Run:
        return guarded.kvmplan(user, *arguments, env=PASSWORD)

    # Without any right libvirt's read-only socket is left.
    unprivileged = run("planner", "plan", made.path)
    assert (unprivileged.code, "Plan: 7 to add" in unprivileged.out) == (0, True), str(unprivileged)
    refused = run("planner", "apply", "--auto-approve", made.path)
    assert (refused.code, "KVP514" in refused.err) == (1, True), str(refused)

    guarded.guard(RULES)
    done = run("operator", "apply", "--auto-approve", made.path)
    assert done.code == 0, str(done)
    looks(made, run)
    assert guarded.asked("planner") == listed("LOOK") | listed("LOOK_AT_SECRETS")

    own_host.run(["virsh", "suspend", f"{made.tag}-web"])
    write(made, second=True)
    refused = run("planner", "apply", "--auto-approve", made.path)
    assert (refused.code, "KVP503" in refused.err) == (1, True), str(refused)
    assert len(own_host.run(["virsh", "-q", "secret-list"]).stdout.split()) == 3, "the claims alone"
    changed = run("operator", "apply", "--auto-approve", made.path)
    assert changed.code == 0, str(changed)
    gone = run("operator", "destroy", "--auto-approve", made.path, *DATA)
    assert gone.code == 0, str(gone)
    everything = listed("LOOK") | listed("LOOK_AT_SECRETS") | listed("CHANGE")
    assert guarded.asked("operator") == everything


def looks(made: Stack, run: Any) -> None:
    """Who may only look sees everything but secrets, and is told so."""
    for command in ("plan", "status", "drift", "orphans"):
        seen = run("planner", command, made.path)
        assert seen.code == 0, str(seen)
        hidden = f"the secrets of domain.{made.tag}-web cannot be read"
        assert hidden in seen.err, str(seen)
    plan = run("planner", "plan", made.path)
    assert "No changes." in plan.out, str(plan)
    shown = run("planner", "show", f"domain.{made.tag}-web", "--specs", made.path)
    assert yaml.safe_load(shown.out.partition("\n")[2])["title"] == "first"
    assert run("planner", "lock", "--specs", made.path).code == 0
