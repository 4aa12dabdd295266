"""``kvmplan init``: a stack file with a fresh uid and a first example; never overwrites."""

from __future__ import annotations

import re
import uuid
from pathlib import Path

import click

from kvmplan.diagnostics import fail

STACK = """\
# What this repository owns on a host is owned in this name. The uid was made once; keep it.
stack:
  name: {stack}
  uid: {uid}
"""

EXAMPLE = """\
# A first example: a network, a pool, a disk and a machine. `kvmplan plan` shows what it would do.
# The network and its subnet keep clear of libvirt's own `default` (virbr0, 192.168.122.0/24).
networks:
  {name}-lan:
    forward: nat
    bridge: vbr-{short}
    ips:
      - address: 10.87.{octet}.1/24
        dhcp: {{ranges: [10.87.{octet}.100-10.87.{octet}.199]}}

pools:
  {name}: {{path: /var/lib/libvirt/images/{name}}}

volumes:
  {name}/vm1.qcow2: {{capacity: 20GiB}}

domains:
  {name}-vm1:
    vcpus: {{current: 1, maximum: 4}}
    memory: {{current: 1GiB, maximum: 4GiB}}
    disks: {{vda: {{volume: {name}/vm1.qcow2}}}}
    interfaces: {{eth0: {{network: {name}-lan}}}}
    shutdown_timeout: 20s
    graphics: [vnc]
    video: virtio
"""


@click.command()
@click.argument(
    "directory", required=False, default=".", metavar="[DIR]", type=click.Path(file_okay=False)
)
def init(directory: str) -> None:
    """Make DIR/specs with a stack file, a fresh uid and a first example. Never overwrites."""
    folder = Path(directory)
    specs = folder / "specs"
    existing = list(specs.rglob("*.y*ml")) if specs.is_dir() else []
    if existing:
        raise fail(
            "KVP160",
            f"{specs} holds spec files already",
            remedy="nothing was written; init is for an empty place",
        )
    uid = uuid.uuid4()
    name = re.sub(r"[^a-z0-9-]+", "-", folder.resolve().name.lower()).strip("-") or "stack"
    name = name[:40].rstrip("-")
    # A folder may be called 2024 or null: that is a name too, and YAML must see it as a text.
    stack = name if name[0].isalpha() and name not in ("null", "true", "false") else f'"{name}"'
    values = {
        "stack": stack,
        "name": name,
        "uid": uid,
        "short": uid.hex[:6],
        "octet": uid.bytes[0] % 200 + 20,
    }
    try:
        specs.mkdir(parents=True, exist_ok=True)
        for file, text in (("stack.yaml", STACK), ("example.yaml", EXAMPLE)):
            with (specs / file).open("x", encoding="utf-8") as out:
                out.write(text.format(**values))
    except OSError as error:
        raise fail("KVP161", f"cannot write below {specs}: {error.strerror}") from error
    click.echo(f"Made {specs / 'stack.yaml'} and {specs / 'example.yaml'}.")
    click.echo(f"Next: {'' if folder == Path() else f'cd {folder} && '}kvmplan plan")
