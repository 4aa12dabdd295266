"""Guests that are waited for: addresses, agents, ports, cloud-init, and what depends on them."""

from __future__ import annotations

import base64
import json
import sys
import threading
from pathlib import Path
from typing import Any

import libvirt
import libvirt_qemu
import pytest

from tests.integration.support import (
    Stack,
    connection,
    console_of,
    kvmplan,
    network,
    stack,
    subnet,
    tiny_domain,
    wait_until,
)
from tests.privatehost import PrivateHost, TinyGuest

pytestmark = [pytest.mark.guest, pytest.mark.xdist_group("guest")]


def ask(domain: libvirt.virDomain, command: str, **arguments: Any) -> Any:
    """Ask a guest's agent."""
    asked = json.dumps({"execute": command, "arguments": arguments})
    return json.loads(libvirt_qemu.qemuAgentCommand(domain, asked, 10, 0))["return"]


def write_inside(domain: libvirt.virDomain, path: str, text: str) -> None:
    """Write a file in the guest, and its directory."""
    parent = str(Path(path).parent)
    pid = ask(domain, "guest-exec", path="/bin/mkdir", arg=["-p", parent])["pid"]
    wait_until(lambda: ask(domain, "guest-exec-status", pid=pid)["exited"], "the directory is made")
    handle = ask(domain, "guest-file-open", path=path, mode="w")
    data = base64.b64encode(text.encode()).decode()
    ask(domain, "guest-file-write", handle=handle, **{"buf-b64": data})
    ask(domain, "guest-file-close", handle=handle)


def apply_inside(made: Stack, host: PrivateHost, *flags: str) -> Any:
    """Apply by a process in the host's own network, from which its guests can be reached."""
    made.write()
    command = [sys.executable, "-m", "kvmplan", "apply", str(made.path), "--connect", host.uri]
    root = str(Path(__file__).parents[2])
    done = host.run(
        ["env", f"PYTHONPATH={root}", *command, "--auto-approve", *flags], check=False, timeout=180
    )
    return done


def test_guests_are_waited_for(
    private_host: PrivateHost, tiny_guest: TinyGuest, tmp_path: Path
) -> None:
    with stack(tmp_path, private_host) as made, connection(private_host) as conn:
        tag = made.tag
        first, second, prefix = f"{tag}a", f"{tag}b", subnet()

        def guest(name: str, **more: Any) -> dict[str, Any]:
            console = tmp_path / f"{name}.console"
            return tiny_domain(tiny_guest, name, console, **more)

        made.specs |= {
            "networks": {tag: network(prefix)},
            "domains": {
                first: guest(
                    first,
                    interfaces={"lan": {"network": tag, "ip": f"{prefix}.10"}},
                    wait_for={"address": "2m", "agent": "2m", "tcp": 80},
                ),
                second: guest(
                    second,
                    interfaces={"lan": tag},
                    wait_for={"cloud_init": "5s"},
                    depends_on=[f"domain.{first}"],
                ),
            },
        }
        planned = made.plan()
        assert "waits for an address (up to 2m), its agent (up to 2m), port 80" in " ".join(
            planned.out.split()
        )
        done = apply_inside(made, private_host)
        assert done.returncode == 6, done
        lines = done.stdout.splitlines()
        told = [line.split()[:2] for line in lines if line.startswith(("ok", "ready", "UNREADY"))]
        assert told == [
            ["ok", f"network.{tag}"],
            ["ok", f"domain.{first}"],
            *[["ready", f"domain.{first}"]] * 3,
            ["ok", f"domain.{second}"],
            ["UNREADY", f"domain.{second}:"],
        ]
        assert "within 5s of its start [KVP611]" in done.stdout
        assert "        | " in done.stdout or "its console is silent so far" in done.stdout
        assert f"waiting domain.{first}: port 80, up to 5m" in done.stderr
        assert lines[-1] == "Apply complete! Resources: 3 added, 0 changed, 0 destroyed."

        leases = conn.networkLookupByName(tag).DHCPLeases()
        assert (f"{prefix}.10", first) in {(it["ipaddr"], it["hostname"]) for it in leases}

        made.in_sync()  # a wait is no change, and not waited for again
        made.domains[second]["wait_for"] = {"cloud_init": "1m"}
        made.domains[second]["interfaces"] = {"lan": {"network": tag, "ip": f"{prefix}.11"}}
        planned = made.settle()
        assert f"~ network.{tag}" in planned.out
        assert f"~ domain.{second}" not in planned.out
        domain = conn.lookupByName(second)
        console_of(tmp_path, second).wait_ready()
        wait_until(lambda: _answers(domain), "the agent answers")
        writer = threading.Timer(2, _finish_cloud_init, (domain,))
        writer.start()
        try:
            waited = made.apply("--wait")
        finally:
            writer.join()
        assert f"ready   domain.{second}" in waited.out, waited
        assert waited.last == "Apply complete! Resources: 0 added, 0 changed, 0 destroyed."

        _check_outputs(made, first, second, prefix)

        _write_result(domain, {"v1": {"errors": ["runcmd: exit 1"]}})
        events = made.apply("--wait", "--json", code=6).events
        (problem,) = [event for event in events if event["type"] == "diagnostic"]
        assert "finished with errors: runcmd: exit 1" in problem["diagnostic"]["summary"]
        assert any("KP-READY" in line for line in problem["console"]), problem
        assert events[-1]["unready"] == [f"local:domain.{second}"]


def _check_outputs(made: Stack, first: str, second: str, prefix: str) -> None:
    """What the stack tells of two running guests, and in other tools' formats."""
    made.specs["outputs"] = {
        "url": f"http://{{{{ domain.{first}.address }}}}/",
        "all": {
            "value": {
                "ips": f"{{{{ domain.{second}.addresses }}}}",
                "mac": f"{{{{ domain.{first}.interfaces.lan.mac }}}}",
                "lan": f"{{{{ network.{made.tag}.address }}}}",
                "vnc": f"{{{{ domain.{first}.graphics | length }}}}",
            },
            "description": "facts",
        },
    }
    made.write()

    def output(*flags: str) -> Any:
        assert made.host is not None
        return kvmplan("output", *flags, "--specs", made.path, "--connect", made.host.uri)

    told = json.loads(output("--json").out)
    assert told["url"]["value"] == f"http://{prefix}.10/"
    everything = told["all"]["value"]
    # The guest has its lease from before, until it asks again.
    assert [ip.rpartition(".")[0] for ip in everything["ips"]] == [prefix] * len(everything["ips"])
    assert (everything["lan"], everything["vnc"]) == (f"{prefix}.1", 0)
    assert everything["mac"].startswith("52:54:00:")
    assert output("url", "--raw").out == f"http://{prefix}.10/"
    hosts = output("--format", "hosts").out.splitlines()
    assert hosts[0] == f"{prefix}.10\t{first}"
    assert len(hosts) == 2

    made.specs["outputs"]["bad"] = f"{{{{ domain.{first}.adress }}}}"
    made.write()
    wrong = output()
    assert wrong.code == 1
    assert f'url = "http://{prefix}.10/"' in wrong.out
    assert "did you mean 'address'?" in wrong.err, wrong
    del made.specs["outputs"]


def _answers(domain: libvirt.virDomain) -> bool:
    try:
        domain.getTime()
    except libvirt.libvirtError:
        return False
    return True


def _finish_cloud_init(domain: libvirt.virDomain) -> None:
    _write_result(domain, {"v1": {"datasource": "DataSourceNoCloud", "errors": []}})


def _write_result(domain: libvirt.virDomain, result: dict[str, Any]) -> None:
    write_inside(domain, "/run/cloud-init/result.json", json.dumps(result))
