"""What kvmplan does not know in a document stays, through an update of something else."""

from __future__ import annotations

from pathlib import Path

import libvirt
from lxml import etree

from tests.integration.support import canonical, connection, document, idle_domain, stack
from tests.privatehost import PrivateHost

QEMU = "http://libvirt.org/schemas/domain/qemu/1.0"
METADATA = """<ex:app xmlns:ex='https://example.org/app' version='3'><!-- keep this -->
  <ex:owner>someone   else</ex:owner><ex:empty/>text<ex:tail/></ex:app>"""
DEVICES = """<watchdog model='i6300esb' action='poweroff'/>
<disk type='file' device='disk'><driver name='qemu' type='raw' io='threads'/>
  <source file='/nowhere/extra.img'/><target dev='vdx' bus='virtio'/><iotune>
  <total_iops_sec>500</total_iops_sec></iotune></disk>
<interface type='user'><mac address='52:54:00:0d:0e:0f'/><model type='e1000e'/></interface>
<hostdev mode='subsystem' type='usb' managed='yes'>
  <source startupPolicy='optional'><vendor id='0x1234'/><product id='0xbeef'/></source></hostdev>
<input type='tablet' bus='usb'/>"""
TUNING = "<cputune><shares>512</shares></cputune>"
COMMAND = f"""<q:commandline xmlns:q='{QEMU}'><q:arg value='-name'/>
<q:arg value='debug-threads=on'/><q:env name='KP' value='1'/></q:commandline>"""


def edited_behind_its_back(domain: libvirt.virDomain) -> str:
    """The domain's document with much that no spec of ours says."""
    root = document(domain)
    metadata = root.find("metadata")
    assert metadata is not None
    metadata.insert(0, etree.fromstring(METADATA))
    metadata.addnext(etree.fromstring(TUNING))
    devices = root.find("devices")
    for node in etree.fromstring(f"<list>{DEVICES}</list>"):
        devices.append(node)
    root.append(etree.fromstring(COMMAND))
    return etree.tostring(root).decode()


def test_an_update_keeps_what_others_wrote(private_host: PrivateHost, tmp_path: Path) -> None:
    with stack(tmp_path, private_host) as made, connection(private_host) as conn:
        pool = tmp_path / "pool"
        made.specs |= {
            "pools": {made.tag: {"path": str(pool)}},
            "volumes": {f"{made.tag}/disk.qcow2": {"capacity": "8MiB"}},
            "domains": {
                made.tag: idle_domain(
                    disks={"vda": f"{made.tag}/disk.qcow2"}, interfaces={"lan": {"user": True}}
                )
            },
        }
        made.apply()
        conn.defineXML(edited_behind_its_back(conn.lookupByName(made.tag)))
        reported = made.in_sync()
        assert "Unlisted" in reported.out
        assert "disks.vdx" in reported.out

        domain = conn.lookupByName(made.tag)
        conn.defineXML(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))  # libvirt's own reordering
        before = document(domain)
        changed = ("title", "memory", "currentMemory", "vcpu")
        kept = canonical(before, *changed)
        for word in ("keep this", "someone   else", "iops_sec>500", "0xbeef", "debug-threads=on"):
            assert word in kept

        made.domains[made.tag] |= {
            "title": "edited",
            "memory": "96MiB",
            "vcpus": {"current": 1, "maximum": 3},
        }
        made.settle()
        after = document(domain)
        assert (after.findtext("title"), after.findtext("vcpu")) == ("edited", "3")
        assert after.findtext("memory") == str(96 * 1024)
        assert canonical(after, *changed) == kept


def test_unlisted_members_go_only_when_told(private_host: PrivateHost, tmp_path: Path) -> None:
    with stack(tmp_path, private_host) as made, connection(private_host) as conn:
        made.specs["domains"] = {made.tag: idle_domain(disks={}, interfaces={})}
        made.apply()
        domain = conn.lookupByName(made.tag)
        conn.defineXML(edited_behind_its_back(domain))
        made.in_sync()
        made.domains[made.tag]["lifecycle"] = {"unlisted": "remove"}
        made.settle()
        root = document(domain)
        assert root.find("devices/disk") is None
        assert root.find("devices/interface") is None
        assert root.find("devices/hostdev") is not None
        assert root.find(f"{{{QEMU}}}commandline") is not None


def test_a_stranger_s_disk_behind_a_link_is_in_use(
    private_host: PrivateHost, tmp_path: Path
) -> None:
    with stack(tmp_path, private_host) as made, connection(private_host) as conn:
        tag = made.tag
        made.specs |= {
            "pools": {tag: {"path": str(tmp_path / "pool")}},
            "volumes": {f"{tag}/a.qcow2": {"capacity": "8MiB"}},
        }
        made.apply()
        (tmp_path / "link").symlink_to(tmp_path / "pool")
        source = f"<source file='{tmp_path}/link/a.qcow2'/><target dev='vda'/>"
        devices = f"<devices><disk type='file'>{source}</disk></devices>"
        head = f"<name>{tag}-theirs</name><memory>32768</memory><os><type>hvm</type></os>"
        theirs = conn.defineXML(f"<domain type='qemu'>{head}{devices}</domain>")
        volumes, made.specs["volumes"] = made.volumes, {}
        refused = made.run("apply", "--auto-approve", "--prune", "--allow-data-loss", "volume.*")
        assert refused.code == 7, str(refused)
        assert f"used by domain.{tag}-theirs" in refused.out + refused.err
        theirs.undefine()
        made.specs["volumes"] = volumes
