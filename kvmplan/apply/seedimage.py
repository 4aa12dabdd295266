"""Seed images: the files of a cloud-init seed as an ISO 9660 file system, always the same bytes."""

from __future__ import annotations

import io
import json
import time
from functools import cache
from typing import Any

from kvmplan.mapping.types import SecretText

LABEL = "CIDATA"
"""What cloud-init looks for, in either case:
https://docs.cloud-init.io/en/latest/reference/datasources/nocloud.html"""
GRAIN = 1 << 20
"""Images are filled up to whole MiB, so that an edited seed has room in the volume of the old."""


def seed_image(seed: str | SecretText) -> bytes:
    """The image of a seed: its files by name, as JSON."""
    files: dict[str, str] = json.loads(seed.reveal() if isinstance(seed, SecretText) else seed)
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
