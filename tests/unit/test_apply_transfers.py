"""How far bytes are on their way to a volume: measured, and told in text and JSON."""

from __future__ import annotations

import io
import json

from kvmplan.address import Address, Kind
from kvmplan.apply.events import Progress
from kvmplan.apply.transfers import Transfer, Transfers
from kvmplan.views.apply_text import ApplyText
from kvmplan.views.events_json import EventStream

VOLUME = Address("local", Kind.VOLUME, "vms/web.qcow2")
HALF = Transfer("upload", 120 << 20, 400 << 20, 40.0 * 2**20)


def test_transfers_are_due_and_end() -> None:
    transfers = Transfers()
    told = transfers.told(VOLUME)
    told("download", 0, None)
    told("download", 10, 40)
    ((address, seconds, transfer),) = transfers.due(0.0)
    assert (address, transfer.what, transfer.done, transfer.total) == (VOLUME, "download", 10, 40)
    assert seconds >= 0
    assert transfers.due(3600.0) == []
    told("upload", 5, 50)
    upload = transfers.get(VOLUME)
    assert upload is not None
    assert (upload.what, upload.done, upload.total) == ("upload", 5, 50)
    transfers.end(VOLUME)
    assert transfers.get(VOLUME) is None


def test_time_left() -> None:
    assert HALF.seconds_left == 7.0
    assert Transfer("download", 1, None, 1.0).seconds_left is None
    assert Transfer("download", 0, 10, 0.0).seconds_left is None


def test_text_and_json() -> None:
    event = Progress(VOLUME, 3.0, "upload", 1, 4, HALF)
    err, out = io.StringIO(), io.StringIO()
    ApplyText(io.StringIO(), err)(event)
    assert "waiting=upload 120/400MiB 40MiB/s 7s-left done=1/4" in err.getvalue()
    EventStream(out)(event)
    hook = json.loads(out.getvalue())["hook"]
    assert hook["transfer"] == {
        "bytes": 120 << 20,
        "total_bytes": 400 << 20,
        "bytes_per_second": 40 << 20,
        "seconds_left": 7.0,
    }
