"""A forward proxy on loopback for tests: plain requests passed on, others by a tunnel."""

from __future__ import annotations

import contextlib
import http.client
import socket
import socketserver
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


@dataclass
class Proxy:
    """What it was asked for, in the order it was.

    Attributes:
        asked: such as ``GET http://127.0.0.1:8000/a`` and ``CONNECT 127.0.0.1:8443``.
    """

    url: str = ""
    asked: list[str] = field(default_factory=list)


def _handler(proxy: Proxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            proxy.asked.append(f"GET {self.path}")
            parts = urlsplit(self.path)
            server = http.client.HTTPConnection(parts.netloc, timeout=30)
            server.request("GET", parts.path, headers=dict(self.headers))
            answer = server.getresponse()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("server", "date"):
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.read())
            server.close()

        def do_CONNECT(self) -> None:
            proxy.asked.append(f"CONNECT {self.path}")
            host, _, port = self.path.partition(":")
            with socket.create_connection((host, int(port)), 30) as server:
                self.send_response(200)
                self.end_headers()
                back = threading.Thread(target=_pass_on, args=(server, self.connection))
                back.start()
                _pass_on(self.connection, server)
                back.join()
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    """Bytes from one end to the other, until it says no more."""
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def forward_proxy() -> Iterator[Proxy]:
    """A proxy, until the end of the test."""
    known = Proxy()
    server: socketserver.TCPServer = ThreadingHTTPServer(("127.0.0.1", 0), _handler(known))
    known.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=lambda: server.serve_forever(0.05))
    thread.start()
    try:
        yield known
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
