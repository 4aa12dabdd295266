"""What can be wrong with an image: stable code, one sentence, what to do."""

from __future__ import annotations

UNREACHABLE = "KVP650"
"""It cannot be had: the server, the network, the file."""
MISMATCH = "KVP651"
"""It is not what its checksum says."""
UNUSABLE = "KVP652"
"""It is no image, or none that may be used."""
UNFIT = "KVP653"
"""It is an image, and not one for this volume."""
NO_ROOM = "KVP654"
"""The cache cannot be written."""


class ImageError(Exception):
    """An image that cannot be had or must not be used."""

    def __init__(self, code: str, summary: str, remedy: str | None = None) -> None:
        self.code, self.summary, self.remedy = code, summary, remedy
        super().__init__(summary)
