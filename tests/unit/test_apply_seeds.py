"""Seeds on a host in memory: uploaded at birth, again after an edit, told apart by a seal."""

from __future__ import annotations

import json
from typing import Any

from kvmplan.apply.applier import apply
from kvmplan.apply.seedimage import GRAIN, seed_image
from kvmplan.kinds.verbs import Verb
from kvmplan.mapping.types import SecretText
from kvmplan.plan.origin import sealed
from kvmplan.views.plan_text import plan_text
from tests.unit.fakehost import FakeHost, desired, planned

FILES = {"meta-data": "instance-id: x\n", "user-data": "#cloud-config\n"}


def specs(text: str) -> dict[str, Any]:
    files = {**FILES, "user-data": text}
    return {"pool.vms": {"path": "/x"}, "volume.vms/seed.iso": {"seed": json.dumps(files)}}


def run(host: FakeHost, text: str) -> str:
    plan = planned(desired(specs(text)), host)
    said = plan_text(plan.plan)
    done = apply(plan, {host.name: host}, {}, lambda event: None)
    assert (done.failed, done.skipped) == (0, 0), done
    return said


def uploads(host: FakeHost) -> list[bytes]:
    return [arguments["data"] for verb, _, arguments in host.calls if verb is Verb.UPLOAD]


def test_an_image_is_always_the_same_and_holds_every_file() -> None:
    image = seed_image(json.dumps(FILES))
    assert image == seed_image(SecretText(json.dumps(FILES)))
    assert len(image) == GRAIN
    assert b"CIDATA" in image
    for name, text in FILES.items():
        assert name.encode() in image, "its Rock Ridge name"
        assert text.encode() in image
    big = {**FILES, "user-data": "x" * GRAIN}
    assert len(seed_image(json.dumps(big))) == 2 * GRAIN


def test_an_edit_is_uploaded_again_and_nothing_else() -> None:
    host = FakeHost(keyed=b"key")
    run(host, "#cloud-config\n")
    assert len(uploads(host)) == 1
    assert host.claims is not None
    claim = host.claims.entries["volume.vms/seed.iso"]
    assert claim.born["seed"] == sealed(json.dumps(FILES), b"key")
    assert "cloud-config" not in str(claim)
    assert "No changes." in run(host, "#cloud-config\n")
    said = " ".join(run(host, "#cloud-config\n# secret words\n").split())
    assert "seed (sensitive) changes live" in said
    assert "secret words" not in said
    assert len(uploads(host)) == 2
    assert b"# secret words" in uploads(host)[1]
    assert "No changes." in run(host, "#cloud-config\n# secret words\n")


def test_without_the_key_a_seed_is_taken_to_be_as_wanted() -> None:
    host = FakeHost(keyed=b"key")
    run(host, "#cloud-config\n")
    host.keyed = b""
    assert "No changes." in run(host, "#cloud-config\n# other\n")
