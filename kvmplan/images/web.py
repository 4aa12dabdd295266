"""The web: one file by HTTP or HTTPS, in chunks, begun again where it was cut.

urllib does the work: proxies and certificates as the environment says, redirects, `.netrc`.
"""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import IO, Any
from urllib.parse import urlsplit

from kvmplan import __version__
from kvmplan.images.errors import UNREACHABLE, ImageError

CHUNK = 256 * 1024
ATTEMPTS = 5
"""How often a request is made without a byte of progress before it is given up."""
SECONDS_SILENT = 30.0
"""How long a server may say nothing."""
SECONDS_BETWEEN = 1.0
"""Before the second attempt; twice as long before each further one."""
SLOWEST, SLOW_SECONDS = 1024, 60.0
"""Bytes a second that a server must send over such a time."""
LARGEST_TEXT = 4 * 1024 * 1024

_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_BROKEN = (OSError, http.client.HTTPException)


@dataclass(frozen=True, slots=True)
class Version:
    """By what a server tells one version of a file from the next; empty where it does not."""

    etag: str = ""
    modified: str = ""

    @property
    def is_known(self) -> bool:
        """Whether the server can be asked for another one."""
        return bool(self.etag or self.modified)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but not from a protected connection to an open one."""

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Any:
        old, new = urlsplit(req.full_url).scheme, urlsplit(newurl).scheme
        if new not in ("http", "https") or (old == "https" and new == "http"):
            summary = f"{show(req.full_url)} leads to {show(newurl)}, which is not followed"
            raise ImageError(UNREACHABLE, summary, "give the address that it really has")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class Download:
    """One file of the web.

    Attributes:
        version: of what is being read.
        length: bytes of it; None if the server does not say.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.version = Version()
        self.length: int | None = None
        self._at = 0
        self._watched = (time.monotonic(), 0)
        self._response: IO[bytes] | None = None

    def __enter__(self) -> Download:
        return self

    def __exit__(self, *_: object) -> None:
        self._drop()

    def open(self, known: Version | None = None) -> bool:
        """Begin to read; False if it is still the version that is known.

        Raises:
            ImageError: it cannot be had.
        """
        headers = {}
        if known is not None and known.etag:
            headers["If-None-Match"] = known.etag
        elif known is not None and known.modified:
            headers["If-Modified-Since"] = known.modified
        response = self._persist(lambda: self._ask(headers))
        if response is None:
            return False
        self._response = response
        self.version = _version(response)
        self.length = _length(response)
        return True

    def chunks(self) -> Iterator[bytes]:
        """What it holds. Raises ImageError where it cannot be had to its end."""
        while chunk := self._persist(self._next):
            self._at += len(chunk)
            yield chunk

    def _persist(self, work: Callable[[], Any]) -> Any:
        """Do what may be broken off, again and again; bytes that came make it worth more."""
        failed, where = 0, self._at
        while True:
            try:
                return work()
            except ImageError:
                raise
            except _BROKEN as error:
                self._drop()
                failed, where = (1 if self._at > where else failed + 1), self._at
                if failed >= ATTEMPTS or not _may_pass(error):
                    raise self._failure(error) from error
            time.sleep(SECONDS_BETWEEN * 2 ** (failed - 1))

    def _next(self) -> bytes:
        self._watch()
        if self._response is None:
            self._resume()
        assert self._response is not None
        chunk: bytes = self._response.read1(CHUNK)  # type: ignore[attr-defined]
        if not chunk and self.length is not None and self._at < self.length:
            raise http.client.IncompleteRead(b"", self.length - self._at)
        return chunk

    def _watch(self) -> None:
        """Give up a server that sends next to nothing, however long it goes on. ImageError then."""
        since, at = self._watched
        seconds = time.monotonic() - since
        if seconds < SLOW_SECONDS:
            return
        if self._at - at < SLOWEST * seconds:
            summary = f"{show(self.url)} cannot be read: less than {SLOWEST} bytes a second come"
            raise ImageError(UNREACHABLE, summary, "look at its server, then apply again")
        self._watched = (since + seconds, self._at)

    def _resume(self) -> None:
        """Ask for the rest; of a server that sends all of it again, leave out what we have."""
        headers = {}
        if self._at:
            headers["Range"] = f"bytes={self._at}-"
            if self.version.is_known:
                headers["If-Range"] = self.version.etag or self.version.modified
        response = self._ask(headers)
        assert response is not None
        self._response = response
        partly = response.status == 206
        whole = _whole_length(response) if partly else _length(response)
        if _version(response) != self.version or whole != self.length:
            raise ImageError(
                UNREACHABLE, f"{show(self.url)} was changed while it was read", "apply again"
            )
        left = 0 if partly else self._at
        while left:
            skipped = response.read(min(left, CHUNK))
            if not skipped:
                raise http.client.IncompleteRead(b"", left)
            left -= len(skipped)

    def _ask(self, headers: dict[str, str]) -> Any:
        """The server's answer; None if nothing has changed."""
        own = {"User-Agent": f"kvmplan/{__version__}", "Accept-Encoding": "identity", **headers}
        request = urllib.request.Request(self.url, headers=own)
        for name, value in _credentials(self.url).items():
            # Not for the servers that this one sends us on to.
            request.add_unredirected_header(name, value)
        try:
            return _opener().open(request, timeout=SECONDS_SILENT)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 304:
                return None
            raise

    def _drop(self) -> None:
        if self._response is not None:
            with suppress(OSError):
                self._response.close()
            self._response = None

    def _failure(self, error: Exception) -> ImageError:
        cut = f", {self._at} of {self.length or 'unknown many'} bytes in" if self._at else ""
        return ImageError(
            UNREACHABLE, f"{show(self.url)} cannot be read{cut}: {_why(error)}", _remedy(error)
        )


def text_of(url: str) -> str:
    """A small text of the web. Raises ImageError."""
    text = b""
    with Download(url) as download:
        download.open()
        for chunk in download.chunks():
            text += chunk
            if len(text) > LARGEST_TEXT:
                raise ImageError(UNREACHABLE, f"{show(url)} is too large for a list of checksums")
    return text.decode("utf-8", "replace")


def show(url: str) -> str:
    """A URL for people: without its query, which may hold a signature."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


@cache
def _opener() -> urllib.request.OpenerDirector:
    """Neither files nor ftp: what leads there is an error."""
    director = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Redirects(),
        urllib.request.UnknownHandler(),
    ):
        director.add_handler(handler)
    return director


def _credentials(url: str) -> dict[str, str]:
    import netrc
    from base64 import b64encode

    with suppress(OSError, netrc.NetrcParseError):
        known = netrc.netrc().authenticators(urlsplit(url).hostname or "")
        if known is not None:
            pair = f"{known[0]}:{known[2]}".encode()
            return {"Authorization": f"Basic {b64encode(pair).decode()}"}
    return {}


def _version(response: Any) -> Version:
    etag = response.headers.get("ETag", "")
    # A weak one says "as good as", not "the same bytes": no ranges can be joined by it.
    strong = "" if etag.startswith("W/") else etag
    return Version(strong, response.headers.get("Last-Modified", ""))


def _length(response: Any) -> int | None:
    text = response.headers.get("Content-Length", "")
    return int(text) if text.isdigit() else None


def _whole_length(response: Any) -> int | None:
    text = response.headers.get("Content-Range", "").rpartition("/")[2]
    return int(text) if text.isdigit() else None


def _may_pass(error: Exception) -> bool:
    """Whether it is worth another attempt."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code in _AGAIN
    reason = getattr(error, "reason", error)
    return not isinstance(reason, ValueError) and "CERTIFICATE" not in str(reason)


def _why(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answers {error.code} {error.reason}"
    reason = getattr(error, "reason", error)
    if isinstance(reason, TimeoutError):
        return f"the server says nothing for {SECONDS_SILENT:g} s"
    if isinstance(reason, http.client.IncompleteRead):
        return "it ends too early"
    return getattr(reason, "strerror", None) or str(reason) or type(reason).__name__


def _remedy(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError) and error.code in (401, 403):
        return "check the address; credentials for its server go into ~/.netrc"
    if "CERTIFICATE" in str(getattr(error, "reason", error)):
        return "a CA of your own is named to kvmplan by SSL_CERT_FILE, as a file of certificates"
    return "check the address and the network, then apply again"
