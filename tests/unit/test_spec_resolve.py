"""Declarations -> resources: shorthands, keys, profiles, hosts, references, errors in sentences."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvmplan.address import Kind, parse_address
from kvmplan.spec import Lifecycle
from tests.unit.test_spec_models import STACK, Loader, loader_in

CONTRACT = """
stack:
  name: lab                                      # what this repository owns
  uid: 0d9f3c1e-6c1f-4c4f-9a53-0f6a8a3a2b11
  hosts:
    kvm1: {uri: "qemu+ssh://root@kvm1/system"}
  prune: false
  max_delete: {count: 10, percent: 25}
variables:
  memory: {type: size, default: 2GiB, description: memory of a web server}
profiles:
  small: {vcpus: 2, memory: "{{ var.memory }}"}
networks:
  lan: {forward: nat, bridge: virbr-lan, ips: [{address: 10.10.0.1/24}]}
pools:
  vms: {path: /var/lib/libvirt/images/lab}
volumes:
  vms/web.qcow2: {capacity: 20GiB}
domains:
  web: {profile: small, state: running, disks: {vda: {volume: vms/web.qcow2}},
    interfaces: {eth0: {network: lan}}}
"""


@pytest.fixture
def specs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Loader:
    return loader_in(tmp_path, monkeypatch)


def test_example_of_the_contract(specs: Loader) -> None:
    desired = specs.good(CONTRACT)
    assert desired.stack.hosts["kvm1"].uri == "qemu+ssh://root@kvm1/system"
    assert [str(address) for address in desired.resources] == [
        "kvm1:network.lan",
        "kvm1:pool.vms",
        "kvm1:volume.vms/web.qcow2",
        "kvm1:domain.web",
    ]
    web = desired.resources[parse_address("domain.web", "kvm1")]
    assert web.model.model_dump(exclude_unset=True) == {
        "vcpus": {"current": 2},
        "memory": {"current": 2 * 2**30},
        "state": "running",
        "disks": {"vda": {"target": "vda", "volume": "vms/web.qcow2"}},
        "interfaces": {"eth0": {"network": "lan"}},
    }
    assert [(r.path, str(r.target), str(r.place)) for r in web.references] == [
        (("disks", "vda", "volume"), "kvm1:volume.vms/web.qcow2", "specs/lab.yaml:20:63"),
        (("interfaces", "eth0", "network"), "kvm1:network.lan", "specs/lab.yaml:21:34"),
    ]
    assert str(web.place) == "specs/lab.yaml:20:3"
    volume = desired.resources[parse_address("volume.vms/web.qcow2", "kvm1")]
    assert [str(r.target) for r in volume.references] == ["kvm1:pool.vms"]


def test_places_of_fields(specs: Loader) -> None:
    text = (
        "domains:\n  web:\n    vcpus: 2\n    boot: [hd, network]\n    disks: {vda: {bus: sata}}\n"
    )
    places = specs.resource(text, "domain.web").places
    assert str(places[("vcpus", "current")]) == "specs/lab.yaml:4:12"
    assert str(places[("boot",)]) == "specs/lab.yaml:5:5"
    assert str(places[("boot", "1")]) == "specs/lab.yaml:5:16"
    assert str(places[("disks", "vda")]) == "specs/lab.yaml:6:13"
    assert places.get(("disks", "vdb")) is None
    assert ("disks", "vda", "bus") in list(places)
    assert len(places) == len(list(places))


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ("vcpus: 2", {"vcpus": {"current": 2}}),
        ("vcpus: {current: 1, maximum: 4}", {"vcpus": {"current": 1, "maximum": 4}}),
        ("disks: []", {"disks": {}}),
        ("disks: {}", {"disks": {}}),
        ("disks: ~", {}),
        ("title: ~", {}),
        ("disks: [{target: vda}]", {"disks": {"vda": {"target": "vda"}}}),
        ("disks: {vda: {}}", {"disks": {"vda": {"target": "vda"}}}),
        ("disks: {vda: ~}", {"disks": {}}),
        ("graphics: vnc", {"graphics": {"vnc": {"type": "vnc"}}}),
        ("graphics: [vnc]", {"graphics": {"vnc": {"type": "vnc"}}}),
        (
            "interfaces: {lan: {mac: '52:54:00:AA:00:01'}}",
            {"interfaces": {"lan": {"mac": "52:54:00:aa:00:01"}}},
        ),
        (
            "interfaces: [{mac: 52:54:00:AA:00:01}]",
            {"interfaces": {"52:54:00:aa:00:01": {"mac": "52:54:00:aa:00:01"}}},
        ),
        ("features: {vmx: require, avx: ~}", {"features": {"vmx": "require"}}),
        ("boot: [hd]", {"boot": ("hd",)}),
        ("title: !default ", {}),
    ],
)
def test_shorthands_and_keys(specs: Loader, body: str, fields: object) -> None:
    assert specs.fields(f"domains: {{web: {{{body}}}}}", "domain.web") == fields


def test_natural_keys_in_their_compared_form(specs: Loader) -> None:
    text = """
networks:
  lan:
    ips:
      - address: FD00::1/64
        hosts: [{mac: 52:54:00:AA:00:01, name: a}, {name: b}]
"""
    assert specs.fields(text, "network.lan")["ips"] == {
        "fd00::1/64": {
            "address": "fd00::1/64",
            "hosts": {
                "52:54:00:aa:00:01": {"mac": "52:54:00:aa:00:01", "name": "a"},
                "b": {"name": "b"},
            },
        }
    }


def test_defaults_are_recorded(specs: Loader) -> None:
    text = "domains: {web: {title: !default , disks: {vda: {bus: !default }}}}"
    resource = specs.resource(text, "domain.web")
    assert resource.defaults == {("title",), ("disks", "vda", "bus")}
    assert "title" not in resource.model.model_fields_set


def test_profiles_merge_left_to_right_under_own_fields(specs: Loader) -> None:
    text = """
profiles:
  base: {vcpus: 1, title: base, boot: [hd, network], disks: {vda: {bus: sata}, vdb: {}}}
  big: {vcpus: {maximum: 8}, title: "{{ each.key }} on {{ host }}", memory: 4GiB}
domains:
  "web-{{ each.key }}":
    for_each: [a]
    profile: [base, big]
    vcpus: 2
    boot: [network]
    memory: ~
    disks: {vda: {volume: vms/a}, vdb: ~}
"""
    assert specs.fields(text, "domain.web-a") == {
        "vcpus": {"current": 2, "maximum": 8},
        "title": "a on local",
        "boot": ("network",),
        "disks": {"vda": {"target": "vda", "bus": "sata", "volume": "vms/a"}},
    }


@pytest.mark.parametrize(
    ("text", "code", "summary", "place", "remedy"),
    [
        (
            "domains: {web: {vcpu: 8}}",
            "KVP104",
            "unknown field 'vcpu' in domain.web",
            "2:17",
            "did you mean 'vcpus'?",
        ),
        (
            "domains: {web: {disks: {vda: {buss: sata}}}}",
            "KVP104",
            "unknown field 'buss' in disks.vda of domain.web",
            "2:31",
            "did you mean 'bus'?",
        ),
        ("domain: {}", "KVP104", "unknown section 'domain'", "2:1", "did you mean 'domains'?"),
        (
            "checks: {}",
            "KVP109",
            "'checks' is not supported by this version of kvmplan",
            "2:1",
            "take it out",
        ),
        (
            "volumes: {vms/a: {capacity: 20G}}",
            "KVP105",
            "capacity of volume.vms/a: '20G' is not a size; write 20GiB",
            "2:29",
            None,
        ),
        (
            "volumes: {vms/a: {capacity: 20GB}}",
            "KVP105",
            "capacity of volume.vms/a: '20GB' is not a size; write 20GiB",
            "2:29",
            None,
        ),
        (
            "volumes: {vms/a: {capacity: 20}}",
            "KVP105",
            "capacity of volume.vms/a: 20 is not a size; write its unit, such as 20GiB",
            "2:29",
            None,
        ),
        (
            "domains: {web: {state: runing}}",
            "KVP105",
            "state of domain.web: 'runing' is none of running, stopped",
            "2:24",
            "did you mean 'running'?",
        ),
        (
            "domains: {web: {autostart: yes}}",
            "KVP105",
            "autostart of domain.web: expected true or false, got 'yes'",
            "2:28",
            "write true",
        ),
        (
            "domains: {web: {title: 2.0}}",
            "KVP105",
            "title of domain.web: expected a text, got the number 2.0",
            "2:24",
            "put it in quotes",
        ),
        (
            "domains: {web: {boot: hd}}",
            "KVP105",
            "boot of domain.web: expected a list, got 'hd'",
            "2:23",
            None,
        ),
        (
            "domains: {web: {vcpus: 0}}",
            "KVP105",
            "vcpus.current of domain.web: the number 0 should be greater than or equal to 1",
            "2:24",
            None,
        ),
        (
            "domains: {web: {disks: [{bus: sata}]}}",
            "KVP105",
            "disks.0 of domain.web has no key",
            "2:25",
            "give it 'target'",
        ),
        (
            "domains: {web: {disks: [{target: vda}, {target: vda}]}}",
            "KVP108",
            "'vda' is there twice in disks of domain.web",
            "2:40",
            "the first is at specs/lab.yaml:2:25",
        ),
        (
            "domains: {web: {disks: {vda: {file: /a, volume: vms/a}}}}",
            "KVP106",
            "'file' and 'volume' exclude each other in disks.vda of domain.web",
            "2:41",
            "keep one of: volume, file",
        ),
        (
            "domains: {web: {profile: smal}}",
            "KVP112",
            "unknown profile 'smal' in domain.web",
            "2:26",
            "declare it",
        ),
        ("domains: {web: }", "KVP105", "domain.web is empty", "2:11", "write {} or take it out"),
        (
            "domains: {web: 5}",
            "KVP105",
            "domain.web: expected a mapping, got the number 5",
            "2:16",
            None,
        ),
        ("domains: [web]", "KVP105", "'domains' needs a mapping", "2:10", "write NAME: {…}"),
        (
            "domains: {a/b: {}}",
            "KVP107",
            "domain.a/b: 'a/b' cannot be a name: no '/', no line break, no blank at its ends",
            "2:11",
            None,
        ),
        (
            "volumes: {a: {}}",
            "KVP107",
            "volume.a: 'a' is not a volume; write POOL/NAME",
            "2:11",
            None,
        ),
        (
            "profiles: {small: {vcpu: 1}}",
            "KVP104",
            "unknown field 'vcpu' in profile 'small'",
            "2:20",
            "did you mean 'vcpus'?",
        ),
        (
            "domains: {web: {depends_on: [lan]}}",
            "KVP114",
            "depends_on of domain.web: 'lan' is not an address; write KIND.NAME, "
            "KIND one of network, pool, volume, domain",
            "2:30",
            None,
        ),
        (
            "domains: {web: {depends_on: domain.web}}",
            "KVP114",
            "domain.web depends on itself",
            "2:29",
            "take it out",
        ),
        (
            "volumes: {vms/a: {backing: vms/a}}",
            "KVP114",
            "volume.vms/a refers to itself in backing",
            "2:28",
            "name another one",
        ),
        (
            "pools: {vms: {path: !default , lifecycle: {prevent: true}}}",
            "KVP104",
            "unknown field 'prevent' in lifecycle of pool.vms",
            "2:44",
            "did you mean 'prevent_destroy'?",
        ),
        (
            "domains: {web: {lifecycle: {ignore_changes: [disks.vda.buss]}}}",
            "KVP104",
            "ignore_changes of domain.web: unknown field 'buss'",
            "2:46",
            "did you mean 'bus'?",
        ),
    ],
)
def test_problems(
    specs: Loader, text: str, code: str, summary: str, place: str, remedy: str | None
) -> None:
    found = specs.problem(text)
    assert (found.code, found.summary) == (code, summary)
    assert str(found.place) == f"specs/lab.yaml:{place}"
    assert found.remedy == remedy


def test_one_bad_resource_hides_no_other(specs: Loader) -> None:
    text = """
domains:
  a: {vcpu: 1, state: run, memory: 1G}
  b: {title: "{{ var.nothing }}", vcpu: 2}
volumes:
  vms/x: {capacity: 5}
"""
    codes = [(d.code, d.place.line if d.place else 0) for d in specs.problems(text)]
    assert codes == [
        ("KVP104", 4),
        ("KVP105", 4),
        ("KVP105", 4),
        ("KVP103", 5),
        ("KVP104", 5),
        ("KVP105", 7),
    ]


def test_a_broken_expression_hides_no_other_problem(specs: Loader) -> None:
    text = """
profiles: {p: {title: "{{ var.q }}", vcpus: x}}
domains:
  a: {profile: "{{ var.p }}", title: "{{ var.t }}", state: run, boot: ["{{ var.b }}"]}
  b: {disks: [{target: "{{ var.d }}", buss: x}], depends_on: ["{{ var.e }}"], memory: 5}
  c: {profile: p}
  e: "{{ var.c }}"
"""
    found = [(d.code, d.place.line if d.place else 0) for d in specs.problems(text)]
    assert found == [
        ("KVP103", 3),
        ("KVP105", 3),
        ("KVP103", 5),
        ("KVP103", 5),
        ("KVP105", 5),
        ("KVP103", 5),
        ("KVP103", 6),
        ("KVP104", 6),
        ("KVP103", 6),
        ("KVP105", 6),
        ("KVP103", 8),
    ]


def test_what_is_wrong_with_all_instances_is_told_once(specs: Loader) -> None:
    text = (
        'domains: {"web-{{ each.key }}": {for_each: [a, b, c], state: "{{ each.key }}", vcpu: 2}}'
    )
    assert [d.code for d in specs.problems(text)] == ["KVP105", "KVP104"]


def test_resources_of_several_files(specs: Loader) -> None:
    specs.write("specs/a.yaml", STACK + "pools: {vms: {path: /a}}\n")
    specs.write("specs/b.yaml", "\npools: {vms: {path: /b}, iso: {path: /c}}\n")
    _, report = specs.load()
    (problem,) = report
    assert (problem.code, str(problem.place)) == ("KVP108", "specs/b.yaml:2:9")
    assert problem.remedy == "the first is at specs/a.yaml:2:9"


@pytest.mark.parametrize(
    ("text", "summary"),
    [
        ("pools: {}", "no file has a stack section"),
        ("stack: {name: lab}", "stack needs 'uid'"),
        (
            "stack: {name: lab, uid: x}",
            "uid of stack: 'x' is no uid; 'kvmplan init' writes a random one",
        ),
        (STACK.strip().removesuffix("}") + ", prun: true}", "unknown field 'prun' in stack"),
        (
            STACK.strip().removesuffix("}") + ", hosts: {Kvm1: {uri: 'a:b'}}}",
            "'Kvm1' cannot be the name of a host",
        ),
        (
            STACK.strip().removesuffix("}") + ", hosts: {kvm1: {}}}",
            "hosts.kvm1 of stack needs 'uri'",
        ),
        (
            STACK.strip().removesuffix("}") + ", max_delete: {percent: 101}}",
            "max_delete.percent of stack: the number 101 should be less than or equal to 100",
        ),
        ("stack: 5", "stack: expected a mapping, got the number 5"),
    ],
)
def test_stack_section(specs: Loader, text: str, summary: str) -> None:
    _, report = specs.load(text)
    assert [d.summary for d in report] == [summary]


def test_two_stacks(specs: Loader) -> None:
    specs.write("specs/a.yaml", STACK)
    specs.write("specs/b.yaml", STACK)
    _, report = specs.load()
    assert [d.summary for d in report] == ["a second stack section"]


HOSTS = (
    STACK.strip().removesuffix("}") + ", hosts: {kvm1: 'test:///a', kvm2: {uri: 'test:///b'}}}\n"
)


def test_hosts_expand(specs: Loader) -> None:
    text = (
        HOSTS
        + """
pools:
  all: {host: "*", path: "/srv/{{ host }}"}
  "on-{{ host }}": {host: [kvm1, kvm2], path: /x}
domains:
  "web-{{ each.key }}": {for_each: {a: kvm1, b: kvm2}, host: "{{ each.value }}"}
"""
    )
    desired = specs.good(text)
    assert [str(address) for address in desired.resources] == [
        "kvm1:pool.all",
        "kvm2:pool.all",
        "kvm1:pool.on-kvm1",
        "kvm2:pool.on-kvm2",
        "kvm1:domain.web-a",
        "kvm2:domain.web-b",
    ]
    pool = desired.resources[parse_address("kvm2:pool.all")].model
    assert pool.model_dump(exclude_unset=True) == {"path": "/srv/kvm2"}


@pytest.mark.parametrize(
    ("text", "summary"),
    [
        ("pools: {a: {}}", "pool.a names no host, and the stack has several"),
        ("pools: {a: {host: kvm3}}", "unknown host 'kvm3' of pool.a"),
        ("domains: {a: {host: '*'}}", "domain.a needs exactly one host"),
        ("pools: {a: {host: [kvm1, kvm1]}}", "pool.a names a host twice"),
        ("pools: {a: {host: 5}}", "host of pool.a is the number 5"),
        (
            "pools: {a: {host: kvm1, depends_on: ['kvm9:pool.b']}}",
            "depends_on of pool.a: unknown host 'kvm9'",
        ),
    ],
)
def test_wrong_hosts(specs: Loader, text: str, summary: str) -> None:
    assert specs.problem(HOSTS + text).summary == summary


def test_lifecycle_and_depends_on(specs: Loader) -> None:
    text = """
networks:
  lan:
    ips: [10.10.0.1/24]
    depends_on: [pool.vms]
    lifecycle:
      prevent_destroy: true
      unlisted: remove
      ignore_changes: [bridge, ips.10.10.0.1/24.hosts, [ips, fd00::1/64, hosts]]
"""
    resource = specs.resource(text, "network.lan")
    assert resource.lifecycle == Lifecycle(
        prevent_destroy=True,
        ignore_changes=(
            ("bridge",),
            ("ips", "10.10.0.1/24", "hosts"),
            ("ips", "fd00::1/64", "hosts"),
        ),
        unlisted="remove",
    )
    (reference,) = resource.depends_on
    assert (reference.target.kind, reference.target.name) == (Kind.POOL, "vms")
    assert str(reference.place) == "specs/lab.yaml:6:18"
