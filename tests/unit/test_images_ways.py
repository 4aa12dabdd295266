"""Ways to images: https with a CA of one's own, and proxies, both real ones on loopback."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvmplan.images import web
from kvmplan.images.errors import ImageError
from kvmplan.images.fetch import Images, Wanted
from tests.webproxy import Proxy, forward_proxy
from tests.webserver import WebServer, web_server

DISK = bytes(510) + b"\x55\xaa" + bytes(100_000)
SETTINGS = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nobody's settings but the test's, which are read when the first address is opened."""
    for name in (*SETTINGS, *map(str.upper, SETTINGS), "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(web, "SECONDS_BETWEEN", 0.0)
    web._opener.cache_clear()
    yield
    web._opener.cache_clear()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CA, ``ca.pem``, and what it says of 127.0.0.1: ``server.pem``, ``server.key``."""
    made = tmp_path_factory.mktemp("certificates")

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=made, check=True, capture_output=True)

    new = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    # Python 3.13 takes no CA that does not say what its key is for.
    usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
    ca = ("-x509", *usage, "-subj", "/CN=test CA", "-keyout", "ca.key", "-out", "ca.pem")
    openssl(*new, *ca)
    openssl(*new, "-subj", "/CN=127.0.0.1", "-keyout", "server.key", "-out", "server.csr")
    (made / "names").write_text("subjectAltName = IP:127.0.0.1\n")
    signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names")
    openssl("x509", "-req", "-in", "server.csr", *signed, "-out", "server.pem")
    return made


@pytest.fixture
def secured(certificates: Path) -> Iterator[WebServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    with web_server(context) as server:
        yield server


@pytest.fixture
def open_server() -> Iterator[WebServer]:
    with web_server() as server:
        yield server


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with forward_proxy() as it:
        yield it


def fetched(tmp_path: Path, url: str) -> bytes:
    images = Images(lambda: tmp_path / "cache", tmp_path)
    return images.get(Wanted({"url": url}, None, None), lambda *_: None).path.read_bytes()


def test_a_ca_of_one_s_own(
    secured: WebServer, certificates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = secured.put("/a.img", DISK)
    with pytest.raises(ImageError) as caught:
        fetched(tmp_path, url)
    assert caught.value.code == "KVP650"
    assert "certificate" in caught.value.summary.lower()
    assert "SSL_CERT_FILE" in str(caught.value.remedy)
    assert secured.requests == {}, "one look at a certificate is enough"
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "ca.pem"))
    web._opener.cache_clear()
    assert fetched(tmp_path, url) == DISK


def test_no_way_back_from_a_protected_connection(
    secured: WebServer,
    open_server: WebServer,
    certificates: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "ca.pem"))
    plain = open_server.put("/a.img", DISK)
    url = secured.put("/moved.img", b"", redirect=plain)
    with pytest.raises(ImageError, match="which is not followed"):
        fetched(tmp_path, url)
    assert open_server.requests == {}
    there = open_server.put("/up.img", b"", redirect=secured.put("/b.img", DISK))
    assert fetched(tmp_path, there) == DISK


def test_proxies(
    secured: WebServer,
    open_server: WebServer,
    proxy: Proxy,
    certificates: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "ca.pem"))
    monkeypatch.setenv("http_proxy", proxy.url)
    monkeypatch.setenv("https_proxy", proxy.url)
    plain, guarded = open_server.put("/a.img", DISK), secured.put("/b.img", DISK)
    assert fetched(tmp_path, plain) == DISK
    assert fetched(tmp_path, guarded) == DISK
    where = guarded.removeprefix("https://").partition("/")[0]
    assert proxy.asked == [f"GET {plain}", f"CONNECT {where}"]
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert fetched(tmp_path, open_server.put("/c.img", DISK)) == DISK
    assert len(proxy.asked) == 2


def test_a_proxy_that_is_not_there(
    open_server: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with forward_proxy() as gone:
        monkeypatch.setenv("http_proxy", gone.url)
    with pytest.raises(ImageError) as caught:
        fetched(tmp_path, open_server.put("/a.img", DISK))
    assert (caught.value.code, open_server.requests) == ("KVP650", {})
