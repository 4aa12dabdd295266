"""Bad specs: every mistake with its code, its place and its remedy; all of them at once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kvmplan.cli import run

GOLDEN = Path(__file__).parent / "golden" / "cli"
STACK = "stack: {name: lab, uid: 0d9f3c1e-6c1f-4c4f-9a53-0f6a8a3a2b11}\n"

MANY = {
    "machines.yaml": """\
domains:
  web:
    vcpu: 2
    memory: {current: 20G, maximum: 20}
    title: "{{ var.nope }}"
    description: "{{ 1 + }}"
    state: runing
    autostart: yes
    disks:
      vda: {volume: vms/web.qcow2, file: /srv/web.img}
      vdb: vms
    interfaces:
      eth0: {network: lan, mac: "53:54:00:aa:00:01"}
  "a/b": {vcpus: 1}
  db:
    vcpus: {current: 8, maximum: 4}
    profile: smal
profiles:
  small: {vcpus: 1}
""",
    "networks.yaml": """\
networks:
  lan:
    bridge: a-bridge-with-a-long-name
    ips:
      - address: 10.10.0.1/24
        dhcp: {ranges: [10.11.0.50-10.11.0.60]}
  lan: {forward: nat}
domain:
  web: {vcpus: 1}
""",
    "stack.yaml": STACK,
    "storage.yaml": """\
pools:
  vms: {path: srv/vms, typ: dir}
volumes:
  web.qcow2: {capacity: 20GB}
domains:
  web: {vcpus: 1}
""",
}


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KVMPLAN_TRACEBACK", raising=False)


def write(files: dict[str, str]) -> None:
    for name, text in files.items():
        file = Path("specs") / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)


def golden(name: str, text: str, update: bool) -> None:
    file = GOLDEN / name
    if update:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    assert text == file.read_text()


def test_all_problems_at_once(capsys: pytest.CaptureFixture[str], update_golden: bool) -> None:
    write(MANY)
    assert run(["validate"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    golden("validate-many.txt", err, update_golden)


def test_all_problems_at_once_as_json(
    capsys: pytest.CaptureFixture[str], update_golden: bool
) -> None:
    write(MANY)
    assert run(["validate", "-json"]) == 1
    out, err = capsys.readouterr()
    assert err == ""
    assert json.loads(out)["valid"] is False
    golden("validate-many.json", out, update_golden)


def test_validate_twice_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    write(MANY)
    texts = [(run(["validate"]), capsys.readouterr().err)[1] for _ in range(2)]
    assert texts[0] == texts[1]


def net(text: str) -> str:
    return f"{STACK}networks:\n  lan: {text}\n"


def dom(text: str) -> str:
    return f"{STACK}domains:\n  web: {text}\n"


BAD = {
    "unknown field": (dom("{vcpu: 8}"), "KVP104", "3:9", "did you mean 'vcpus'?"),
    "unknown field further down": (
        dom("{disks: {vda: {cach: none}}}"),
        "KVP104",
        "3:23",
        "did you mean 'cache'?",
    ),
    "unknown section": (f"{STACK}domain: {{web: {{}}}}\n", "KVP104", "2:1", "'domains'"),
    "unknown address": (dom("{depends_on: [web.domain]}"), "KVP114", "3:22", "KIND.NAME"),
    "unknown host": (dom("{host: kvm9}"), "KVP111", "3:15", "kvm9"),
    "unknown profile": (dom("{profile: small}"), "KVP112", "3:18", "declare it"),
    "a text for a number": (dom("{vcpus: two}"), "KVP105", "3:16", "a whole number"),
    "a number for a text": (dom("{title: 5}"), "KVP105", "3:16", "put it in quotes"),
    "a text for a boolean": (dom("{autostart: on}"), "KVP105", "3:20", "write true"),
    "a list for a mapping": (dom("[vcpus]"), "KVP105", "3:8", "mapping"),
    "a mapping for a list": (dom("{boot: {hd: 1}}"), "KVP105", "3:15", "a list"),
    "no such word": (dom("{state: runing}"), "KVP105", "3:16", "did you mean 'running'?"),
    "size 20G": (dom("{memory: 20G}"), "KVP105", "3:17", "write 20GiB"),
    "size 20GB": (dom("{memory: 20GB}"), "KVP105", "3:17", "write 20GiB"),
    "size 20": (dom("{memory: 20}"), "KVP105", "3:17", "such as 20GiB"),
    "a size beyond 64 bits": (dom("{memory: 9999999999GiB}"), "KVP105", "3:17", "more than any"),
    "a size of 5000 digits": (dom(f"{{memory: {'9' * 5000}GiB}}"), "KVP105", "3:17", "8191PiB"),
    "a duration of ages": (dom("{shutdown_timeout: 36501d}"), "KVP105", "3:27", "36500d"),
    "a number of 5000 digits": (dom(f"{{vcpus: {'9' * 5000}}}"), "KVP105", "3:16", "a long text"),
    "duration 5": (dom("{shutdown_timeout: 5}"), "KVP105", "3:27", "30s, 5m or 1h"),
    "duplicate key": (dom("{vcpus: 1, vcpus: 2}"), "KVP108", "3:19", "the first is at"),
    "duplicate resource": (
        f"{STACK}networks: {{a: {{}}}}\n---\nnetworks: {{a: {{}}}}\n",
        "KVP10",
        "",
        "",
    ),
    "undefined variable": (dom('{title: "{{ var.x }}"}'), "KVP103", "3:17", "declare it"),
    "undefined name": (dom('{title: "{{ x }}"}'), "KVP103", "3:17", "x"),
    "broken expression": (dom('{title: "{{ 1 + }}"}'), "KVP103", "3:17", "!raw"),
    "expression without end": (dom('{title: "{{ var.x"}'), "KVP103", "3:17", ""),
    "broken YAML": (f"{STACK}domains: {{web: [\n", "KVP101", "", ""),
    "a tab in YAML": (f"{STACK}domains:\n\tweb: {{}}\n", "KVP101", "3:1", ""),
    "an unknown tag": (dom("{title: !secrets {env: X}}"), "KVP1", "3:16", ""),
    "an unknown anchor": (dom("{title: *nope}"), "KVP101", "3:16", ""),
    "not UTF-8": (STACK.replace("lab", "\udcff"), "KVP10", "", ""),
    "name with a slash": (f'{STACK}networks: {{"a/b": {{}}}}\n', "KVP107", "2:12", "no '/'"),
    "name with a line break": (f'{STACK}networks: {{"a\\nb": {{}}}}\n', "KVP107", "2:12", ""),
    "empty name": (f'{STACK}networks: {{"": {{}}}}\n', "KVP107", "2:12", ""),
    "name with a leading blank": (f'{STACK}networks: {{" a": {{}}}}\n', "KVP107", "2:12", ""),
    "name that is a directory": (
        f"{STACK}volumes: {{vms/..: {{capacity: 1GiB}}}}\n",
        "KVP107",
        "2:11",
        "directory",
    ),
    "name too long": (f"{STACK}networks: {{{'x' * 300}: {{}}}}\n", "KVP107", "2:12", "251"),
    "volume's name with a slash": (
        f"{STACK}volumes: {{vms/a/b: {{capacity: 1GiB}}}}\n",
        "KVP107",
        "2:11",
        "no '/'",
    ),
    "volume without a pool": (
        f"{STACK}volumes: {{a: {{capacity: 1GiB}}}}\n",
        "KVP107",
        "2:11",
        "POOL/NAME",
    ),
    "bridge name too long": (net("{bridge: a234567890123456}"), "KVP105", "3:17", "15"),
    "bridge name with a blank": (net('{bridge: "a b"}'), "KVP105", "3:17", ""),
    "multicast MAC": (net('{mac: "53:54:00:00:00:01"}'), "KVP105", "3:14", "even"),
    "address without a prefix": (net("{ips: [{address: 10.0.0.1}]}"), "KVP105", "3:25", "/24"),
    "range backwards": (
        net("{ips: [{address: 10.0.0.1/24, dhcp: {ranges: [10.0.0.9-10.0.0.2]}}]}"),
        "KVP105",
        "3:54",
        "before its last",
    ),
    "range outside its subnet": (
        net("{ips: [{address: 10.0.0.1/24, dhcp: {ranges: [10.0.1.2-10.0.1.9]}}]}"),
        "KVP115",
        "3:54",
        "10.0.0.0/24",
    ),
    "range half outside its subnet": (
        net("{ips: [{address: 10.0.0.1/24, dhcp: {ranges: [10.0.0.200-10.0.1.9]}}]}"),
        "KVP115",
        "3:54",
        "10.0.0.0/24",
    ),
    "lease outside its subnet": (
        net("{ips: [{address: 10.0.0.1/24, dhcp: {hosts: [{name: a, ip: 10.0.1.2}]}}]}"),
        "KVP115",
        "3:67",
        "10.0.0.0/24",
    ),
    "lease given twice": (
        net(
            "{ips: [{address: 10.0.0.1/24, "
            "dhcp: {hosts: [{name: a, ip: 10.0.0.2}, {name: b, ip: 10.0.0.2}]}}]}"
        ),
        "KVP115",
        "3:92",
        "another",
    ),
    "DHCP on two subnets": (
        net("{ips: [{address: 10.0.0.1/24, dhcp: {}}, {address: 10.0.1.1/24, dhcp: {}}]}"),
        "KVP115",
        "",
        "keep one",
    ),
    "topology and maximum": (
        dom("{vcpus: {maximum: 4, topology: {sockets: 1, cores: 3, threads: 1}}}"),
        "KVP115",
        "3:29",
        "write maximum: 3",
    ),
    "vcpus above their maximum": (
        dom("{vcpus: {current: 8, maximum: 4}}"),
        "KVP115",
        "3:26",
        "lower one",
    ),
    "place of a CPU beyond the maximum": (
        dom('{vcpus: {maximum: 4, pinning: {"4": "0"}}}'),
        "KVP115",
        "3:44",
        "0 to 3",
    ),
    "memory above its maximum": (
        dom("{memory: {current: 8GiB, maximum: 4GiB}}"),
        "KVP115",
        "3:27",
        "lower one",
    ),
    "two NICs, one MAC": (
        dom(
            '{interfaces: {a: {bridge: b, mac: "52:54:00:00:00:01"}, '
            'b: {bridge: b, mac: "52:54:00:00:00:01"}}}'
        ),
        "KVP115",
        "3:84",
        "another",
    ),
    "boot turn given twice": (
        dom("{disks: {vda: {boot: 1}, vdb: {boot: 1}}}"),
        "KVP115",
        "3:45",
        "own number",
    ),
    "boot order both ways": (
        dom("{boot: [hd], disks: {vda: {boot: 1}}}"),
        "KVP115",
        "3:41",
        "one of the two",
    ),
    "two sources of a disk": (
        dom("{disks: {vda: {file: /a, block: /dev/b}}}"),
        "KVP106",
        "",
        "",
    ),
    "VNC password too long": (
        dom('{graphics: [{type: vnc, password: "123456789"}]}'),
        "KVP115",
        "3:42",
        "shorter",
    ),
    "a fragment of something else": (
        dom('{xml: "<nope/>"}'),
        "KVP115",
        "3:14",
        "<domain>…</domain>",
    ),
    "a fragment in another namespace": (
        dom("{xml: \"<domain xmlns='x:y'/>\"}"),
        "KVP115",
        "3:14",
        "<domain>…</domain>",
    ),
    "a fragment with another name": (
        dom('{xml: "<domain><name>other</name></domain>"}'),
        "KVP115",
        "3:14",
        "take it out",
    ),
    "a fragment with another uuid": (
        dom(
            "{uuid: 2b1d8f52-6a43-4c58-9a3a-0d6d3b0d3a01, "
            'xml: "<domain><uuid>2b1d8f52-6a43-4c58-9a3a-0d6d3b0d3a02</uuid></domain>"}'
        ),
        "KVP115",
        "3:58",
        "field `uuid`",
    ),
    "a cycle": (
        f"{STACK}networks:\n  a: {{depends_on: [network.b]}}\n  b: {{depends_on: [network.a]}}\n",
        "KVP121",
        "3:20",
        "specs/x.yaml:3:20, specs/x.yaml:4:20",
    ),
    "a reference to itself": (
        f"{STACK}networks:\n  a: {{depends_on: [network.a]}}\n",
        "KVP114",
        "3:20",
        "take it out",
    ),
    "an overlay of itself": (
        f"{STACK}volumes:\n  p/a: {{clone: p/b, capacity: 1GiB}}\n  p/b: {{backing: p/b}}\n",
        "KVP114",
        "4:18",
        "name another one",
    ),
    "two stacks": (f"{STACK}", "", "", ""),
    "no stack": ("networks: {lan: {}}\n", "KVP110", "", "kvmplan init"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input(what: str, capsys: pytest.CaptureFixture[str]) -> None:
    text, code, place, remedy = BAD[what]
    Path("specs").mkdir()
    Path("specs/x.yaml").write_text(text, errors="surrogateescape")
    if what == "two stacks":
        Path("specs/y.yaml").write_text(text)
        code, remedy = "KVP110", "specs/x.yaml"
    assert run(["validate"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert f"error[{code}" in err, err
    assert "KVP9" not in err
    assert "Traceback" not in err
    if place:
        assert f"--> specs/x.yaml:{place}\n" in err, err
    assert remedy in err, err


def test_a_password_is_never_shown(capsys: pytest.CaptureFixture[str]) -> None:
    write({"x.yaml": dom('{graphics: [{type: vnc, password: "123456789"}]}')})
    for flags in ([], ["--json"]):
        assert run(["validate", *flags]) == 1
        out, err = capsys.readouterr()
        assert "123456789" not in out + err


def test_a_reference_to_nothing_may_live_on_the_host(capsys: pytest.CaptureFixture[str]) -> None:
    write({"x.yaml": dom("{interfaces: {eth0: {network: default}}}")})
    assert run(["validate"]) == 0
    assert capsys.readouterr().err == ""


def test_a_fragment_may_say_what_the_domain_is(capsys: pytest.CaptureFixture[str]) -> None:
    uuid = "2b1d8f52-6a43-4c58-9a3a-0d6d3b0d3a01"
    xml = f"<domain><name>web</name><uuid>{uuid}</uuid><title>a</title></domain>"
    write({"x.yaml": dom(f'{{uuid: {uuid}, xml: "{xml}"}}')})
    assert run(["validate"]) == 0, capsys.readouterr().err
