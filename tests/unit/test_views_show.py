"""`show`, `doctor`, the prompt and the state of the repository."""

from __future__ import annotations

import io
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from kvmplan.address import Address, Kind
from kvmplan.cli.git import git_state
from kvmplan.host.finding import Finding
from kvmplan.inventory import HostFacts
from kvmplan.mapping.impact import Impact
from kvmplan.mapping.secrecy import redact_xml
from kvmplan.plan.change import Action, Change, Plan
from kvmplan.views.doctor_text import doctor_text
from kvmplan.views.gitstate import GitState
from kvmplan.views.prompt import confirm
from kvmplan.views.show_text import Shown, show_text, yaml_lines
from kvmplan.views.values import Values

WEB = Address("kvm1", Kind.DOMAIN, "web")


def describe(kind: Kind, path: tuple[str, ...], value: object) -> str:
    return "2GiB" if path == ("memory", "current") else str(value)


def test_show() -> None:
    shown = Shown(
        WEB,
        {
            "memory": {"current": 2147483648},
            "autostart": True,
            "title": "shop: front",
            "boot": ["hd", "network"],
            "routes": [{"to": "10.0.0.0/8", "via": "10.1.0.1"}],
            "graphics": {"vnc": {"password": "s3cret"}},
            "hostdevs": {},
        },
        "running",
        "owned by stack lab",
        (("graphics", "vnc", "password"),),
        "<domain>\n  <graphics passwd='s3cret' port='-1'/>\n</domain>\n",
    )
    assert show_text(shown, describe=describe) == (
        "domain.web   running · owned by stack lab\n"
        "  memory:\n"
        "    current: 2GiB\n"
        "  autostart: true\n"
        '  title: "shop: front"\n'
        "  boot:\n"
        "    - hd\n"
        "    - network\n"
        "  routes:\n"
        "    - to: 10.0.0.0/8\n"
        "      via: 10.1.0.1\n"
        "  graphics:\n"
        "    vnc:\n"
        "      password: (sensitive)\n"
        "  hostdevs: {}\n"
        "\n"
        "<domain>\n"
        "  <graphics passwd='(sensitive)' port='-1'/>\n"
        "</domain>\n"
    )
    assert show_text(shown, describe=describe, several_hosts=True).startswith("kvm1:domain.web ")


@pytest.mark.parametrize(
    "text",
    [
        *("plain", "a b", "", " lead", "trail ", "true", "No", "null", "~", "12", "1e3", "0x1f"),
        *("a: b", "a:b", "a #b", "a#b", "# c", "- x", "-", "---", "[x]", "{x}", "*a", "&a", "!a"),
        *("a\nb", "a\nb\n", "\n a\nb\n\n", "  a\nb", "tab\there", "\x1b[0m", "ü · ß", "'q'", '"q"'),
        *("52:54:00:00:00:01", "0755", "x, y", "?", "? a", "%a", "@a", "`a`", "=", "<<", "a:", "."),
    ],
)
def test_texts_are_read_back_by_yaml(text: str) -> None:
    lines = yaml_lines({"key": text, "end": "x"}, Values(Kind.DOMAIN, describe), (), 2)
    assert yaml.load("\n".join(lines), Loader=yaml.BaseLoader) == {"key": text, "end": "x"}
    assert "\x1b" not in "".join(lines)


def test_xml_loses_passwords() -> None:
    assert "hush" not in redact_xml('<a passwd="hush"/><b value="secret,id=s,data=hush,x=1"/>')
    assert redact_xml("<a name='x'/>") == "<a name='x'/>"


def test_doctor_groups_by_layer_and_ends_with_what_to_do() -> None:
    findings = [
        Finding("KVM", True, "hardware acceleration works"),
        Finding("libvirt", False, "libvirtd does not answer", "systemctl start libvirtd"),
        Finding("QEMU", None, "not looked at: libvirt does not answer"),
        Finding("libvirt", True, "libvirt-python 9.0.0"),
    ]
    assert doctor_text(findings) == (
        "KVM\n"
        "  ok hardware acceleration works\n"
        "libvirt\n"
        "  !! libvirtd does not answer\n"
        "  ok libvirt-python 9.0.0\n"
        "QEMU\n"
        "  -- not looked at: libvirt does not answer\n"
        "\n"
        "What to do:\n"
        "  1. systemctl start libvirtd\n"
    )
    assert doctor_text(findings[:1]).endswith("\nWhat to do: nothing.\n")


@pytest.mark.parametrize(
    ("answer", "approved"),
    [
        ("yes\n", True),
        ("yes", True),
        ("y\n", False),
        ("YES\n", False),
        ("", False),
        ("no\n", False),
    ],
)
def test_only_yes_is_yes(answer: str, approved: bool) -> None:
    change = Change(WEB, Action.UPDATE, impact=Impact.RESTART)
    plan = Plan("lab", "uid", {"kvm1": HostFacts("x")}, (change,))
    out = io.StringIO()
    assert confirm(plan, io.StringIO(answer), out) is approved
    assert "Do you want to perform these actions?" in out.getvalue()
    assert "  Among them: 1 restart.\n" in out.getvalue()
    assert "Only 'yes' will be accepted to approve." in out.getvalue()
    assert ("Apply cancelled." in out.getvalue()) is not approved


def test_destroy_asks_for_what_it_does() -> None:
    out = io.StringIO()
    plan = replace(Plan("lab", "uid", {}), destroy=True)
    confirm(plan, io.StringIO(""), out)
    assert "Do you really want to destroy what this stack owns?" in out.getvalue()


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def test_git_state(tmp_path: Path) -> None:
    specs = tmp_path / "specs"
    specs.mkdir()
    git(tmp_path, "init", "-b", "main")
    assert git_state(specs) == GitState("", "main", False)
    file = specs / "a.yaml"
    file.write_text("a: 1\n", encoding="utf-8")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "one")
    state = git_state(specs)
    assert state is not None
    assert (len(state.commit), state.branch, state.dirty) == (40, "main", False)
    assert str(state) == f"{state.commit[:7]} (clean)"
    (tmp_path / "plan.json").write_text("x", encoding="utf-8")
    assert git_state(file) == state
    file.write_text("a: 2\n", encoding="utf-8")
    assert git_state(specs) == replace(state, dirty=True)


def test_git_state_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_state(tmp_path) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(tmp_path) is None
    assert git_state(tmp_path / "missing" / "file") is None
