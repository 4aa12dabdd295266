"""Boot notes: what is kept of what a guest was started with, and when it counts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lxml import etree

from kvmplan.address import Address, Kind
from kvmplan.inventory import Record, State
from kvmplan.kinds.bootnote import NAMESPACE, Notes, note_arguments, read_notes
from kvmplan.kinds.models import MODELS
from kvmplan.plan.booted import boot_notes, differences, noted, without_member
from kvmplan.plan.change import FieldChange, Path

DOMAIN = MODELS[Kind.DOMAIN]
NOTES: Notes = {("cpu", "model"): "qemu64", ("numa", "cells", "1"): None}


def document(notes: Notes) -> str:
    """A domain's document with a note, as libvirt keeps what it is given."""
    node = etree.fromstring(note_arguments(notes)["xml"])
    text = f'<booted:with xmlns:booted="{NAMESPACE}">{node.text}</booted:with>'
    return f"<domain><metadata>{text}</metadata></domain>"


def change(path: Path, before: Any, after: Any = "new", **more: Any) -> FieldChange:
    return FieldChange(path, before, after, **more)


def test_a_note_is_read_as_it_was_written() -> None:
    assert read_notes(document(NOTES)) == NOTES
    assert note_arguments({})["xml"] is None


def test_a_note_that_cannot_be_read_is_none() -> None:
    for text in ("[", "[1]", "{}", '[["a"]]', "7", "[[[],1]]"):
        holed = (
            f'<domain><metadata><b:with xmlns:b="{NAMESPACE}">{text}</b:with></metadata></domain>'
        )
        assert read_notes(holed) == {}


def test_only_what_a_running_document_cannot_tell_is_noted() -> None:
    changes = [change(("vcpus", "maximum"), 2), change(("cpu", "model"), "qemu64")]
    assert noted(DOMAIN, {}, changes) == {("cpu", "model"): "qemu64"}
    secret = change(("graphics", "vnc", "password"), "hidden", sensitive=True)
    assert noted(DOMAIN, {}, [secret]) == {}


def test_the_first_value_of_a_boot_counts() -> None:
    again = [change(("cpu", "model"), "Nehalem"), change(("numa", "cells", "1", "cpus"), "1")]
    assert noted(DOMAIN, NOTES, again) == NOTES


def test_a_member_that_goes_is_noted_as_it_was_started() -> None:
    cell = ("numa", "cells", "0")
    before = {"id": 0, "cpus": "0-3"}
    notes = noted(DOMAIN, {(*cell, "cpus"): "0-1"}, [change(cell, before, None)])
    assert notes == {cell: {"id": 0, "cpus": "0-1"}}
    assert before["cpus"] == "0-3"


def test_what_differs_from_the_definition_waits() -> None:
    cells = {"0": {"cpus": "0-1"}, "1": {"cpus": "2"}}
    live = {"cpu": {"model": "Nehalem"}, "numa": {"cells": cells}}
    assert differences(DOMAIN, NOTES, live) == [
        (("cpu", "model"), "qemu64", "Nehalem"),
        (("numa", "cells", "1"), None, {"cpus": "2"}),
    ]
    assert differences(DOMAIN, NOTES, {"cpu": {"model": "qemu64"}}) == []


def test_a_note_of_what_nobody_knows_is_passed_over() -> None:
    strange: Notes = {("title",): "old", ("nothing",): 1, ("cpu", "nothing"): 1, ("numa",): "x"}
    assert differences(DOMAIN, strange, {"title": "new"}) == []


def test_a_note_in_the_definition_is_a_copy_and_counts_for_nothing() -> None:
    running, plain = document(NOTES), "<domain/>"
    address = Address("h", Kind.DOMAIN, "web")
    record = Record(address, "u", plain, running=running, state=State.RUNNING)
    assert boot_notes(record) == NOTES
    assert boot_notes(replace(record, document=running)) == {}
    assert boot_notes(replace(record, document=running, persistent=False)) == NOTES
    assert boot_notes(replace(record, state=State.STOPPED, running=None)) == {}
    saved = replace(record, state=State.STOPPED, running=None, saved=running)
    assert boot_notes(saved) == NOTES


def test_what_is_plugged_in_anew_is_not_what_was_noted() -> None:
    nic = ("interfaces", "eth0")
    notes = {(*nic, "mtu"): 1500, **NOTES}
    assert without_member(notes, nic) == NOTES
