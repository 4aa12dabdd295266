"""A web server on loopback for tests: ranges, redirects, and everything a bad one does."""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Page:
    """What is at a path, and how the server misbehaves there.

    Attributes:
        cut: after how many bytes each answer breaks off; None: never.
        cut_once: whether only the first one does.
        ranges: whether it answers ranges.
        version: whether it sends an ETag, and answers those who have it with 304.
        failures: how many requests are answered 503 before the first good one.
        stalls: wait for the test to end after the first bytes.
    """

    data: bytes = b""
    cut: int | None = None
    ranges: bool = True
    version: bool = True
    failures: int = 0
    stalls: bool = False
    cut_once: bool = False
    redirect: str = ""


@dataclass
class WebServer:
    """Pages by path; what was asked for is counted.

    Attributes:
        requests: path -> how many.
        sent: path -> bytes of bodies.
    """

    pages: dict[str, Page] = field(default_factory=dict)
    requests: Counter[str] = field(default_factory=Counter)
    sent: Counter[str] = field(default_factory=Counter)
    url: str = ""
    over: threading.Event = field(default_factory=threading.Event)

    def put(self, path: str, data: bytes, **more: object) -> str:
        """Serve something; its address."""
        self.pages[path] = Page(data, **more)  # type: ignore[arg-type]
        return self.url + path


def _handler(server: WebServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with contextlib.suppress(OSError):
                _answer(self, server)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler


def _answer(it: BaseHTTPRequestHandler, server: WebServer) -> None:
    server.requests[it.path] += 1
    page = server.pages.get(it.path)
    if page is None:
        it.send_error(404)
        return
    if page.redirect:
        it.send_response(302)
        it.send_header("Location", page.redirect)
        it.end_headers()
        return
    if page.failures:
        page.failures -= 1
        it.send_error(503)
        return
    etag = f'"{sha256(page.data).hexdigest()[:16]}"'
    if page.version and it.headers["If-None-Match"] == etag:
        it.send_response(304)
        it.end_headers()
        return
    start, length = 0, len(page.data)
    wanted = it.headers["Range"]
    if page.ranges and wanted and it.headers["If-Range"] in (None, etag):
        start = int(wanted.removeprefix("bytes=").partition("-")[0])
        it.send_response(206)
        it.send_header("Content-Range", f"bytes {start}-{length - 1}/{length}")
    else:
        it.send_response(200)
    if page.version:
        it.send_header("ETag", etag)
    body = page.data[start:]
    it.send_header("Content-Length", str(len(body)))
    it.end_headers()
    body = body if page.cut is None else body[: page.cut]
    page.cut = None if page.cut_once else page.cut
    if page.stalls:
        body = body[:100]
    it.wfile.write(body)
    server.sent[it.path] += len(body)
    if page.stalls:
        it.wfile.flush()
        server.over.wait(60)
    it.close_connection = True


@contextlib.contextmanager
def web_server(tls: ssl.SSLContext | None = None) -> Iterator[WebServer]:
    """A server, until the end of the test; with `tls`, by https."""
    known = WebServer()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(known))
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    known.url = f"http{'s' if tls else ''}://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=lambda: server.serve_forever(0.05), daemon=True)
    thread.start()
    try:
        yield known
    finally:
        known.over.set()
        server.shutdown()
        server.server_close()
        thread.join()
