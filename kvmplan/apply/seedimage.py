"""Seed images: what a guest's first boot reads, always the same bytes.

Of cloud-init's files an ISO 9660 file system; Ignition's one file is the image itself.
"""

from __future__ import annotations

import io
import json
import time
from functools import cache
from typing import Any

from kvmplan.kinds.cloud_init import INSTANCE
from kvmplan.mapping.types import SecretText
from kvmplan.spec.ignition import FILE
from kvmplan.spec.seedvolume import as_json

LABEL = "CIDATA"
"""What cloud-init looks for, in either case:
https://docs.cloud-init.io/en/latest/reference/datasources/nocloud.html"""
BLANKS = 4096
"""JSON ends with blanks up to a multiple of this, for the same reason as below."""
GRAIN = 1 << 20
"""Images are filled up to whole MiB, so that an edited seed has room in the volume of the old."""


def seed_image(seed: str | SecretText) -> bytes:
    """The image of a seed: its files by name, as JSON."""
    files = _files(seed)
    if FILE in files:
        data = files[FILE].encode()
        return data.ljust(-(-len(data) // BLANKS) * BLANKS)
    if INSTANCE in files:
        meta = {INSTANCE: files.pop(INSTANCE), **json.loads(files["meta-data"])}
        files["meta-data"] = as_json(meta)
    image = _writer()
    image.new(interchange_level=3, joliet=3, rock_ridge="1.09", vol_ident=LABEL)
    for number, (name, text) in enumerate(sorted(files.items())):
        data = text.encode()
        image.add_fp(
            io.BytesIO(data),
            len(data),
            f"/FILE{number}.;1",
            rr_name=name,
            joliet_path=f"/{name}",
        )
    out = io.BytesIO()
    image.write_fp(out)
    image.close()
    made = out.getvalue()
    return made.ljust(-(-len(made) // GRAIN) * GRAIN, b"\0")


def filled(seed: str | SecretText, size: int) -> bytes:
    """The image of a seed, filled up to the size of a volume in bytes, if that is larger."""
    return seed_image(seed).ljust(size, b" " if FILE in _files(seed) else b"\0")


def _files(seed: str | SecretText) -> dict[str, str]:
    files: dict[str, str] = json.loads(seed.reveal() if isinstance(seed, SecretText) else seed)
    return files


class _StoppedClock:
    """The module `time` for those who write dates into images: it is always 1970, and UTC."""

    localtime, gmtime, strftime = staticmethod(time.gmtime), time.gmtime, time.strftime

    @staticmethod
    def time() -> float:
        return 0.0


def _writer() -> Any:
    return _library().PyCdlib()


@cache
def _library() -> Any:
    """The library that writes images; nobody else here uses it, so its clock can be stopped."""
    import pycdlib
    from pycdlib import dates, headervd, utils
    from pycdlib import pycdlib as writing

    for module in (dates, headervd, utils, writing):
        vars(module)["time"] = _StoppedClock
    return pycdlib
