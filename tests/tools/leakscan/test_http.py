"""A way to a pod that ends in the middle is opened again, and nothing is left out."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from keeper.certificates import new_authority, new_certificate
from tests.chart.test_request import serving
from tools.leakscan import http
from tools.leakscan.engine import Sample

STATUS = {path: int(status) for path, status in http.ANSWERED}
ROUTES = sorted(STATUS)
#: One of them, whose name no other path begins with.
ONE = "/status"

#: The longest body that is sent, in bytes.
LONG = max(len(body) for _, body in http.ODD)


class Service(BaseHTTPRequestHandler):
    """Answers everything; with the long body, the way to it has come to its end."""

    protocol_version = "HTTP/1.1"
    server: HTTPServer

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def answer(self) -> None:
        size = int(self.headers.get("Content-Length", 0))
        self.rfile.read(size)
        self.send_response(400 if self.path == "/malformed" else STATUS.get(self.path, 404))
        self.send_header("Content-Length", "0")
        if size >= LONG:
            self.send_header("Connection", "close")
            self.server.socket.close()
        self.end_headers()

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer
    do_TRACE = do_PROPFIND = answer


class Cluster:
    """Tells the routes of its service."""

    def python(self, script: str) -> str:
        assert script == http.ROUTES
        return json.dumps(ROUTES)


@pytest.fixture
def ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the ports of the ways that were opened; each ends after a long body."""
    pair = new_certificate(new_authority("test CA"), ["localhost"])
    (tmp_path / "tls.pem").write_text(pair.certificate + pair.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "tls.pem")
    opened: list[int] = []

    @contextmanager
    def forwarded(_: Any) -> Iterator[int]:
        server = HTTPServer(("127.0.0.1", 0), Service)
        opened.append(server.server_port)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        with serving(server) as port:
            yield port

    monkeypatch.setattr(http, "forwarded", forwarded)
    return opened


def test_every_request_is_answered_although_the_way_ends(
    ways: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = b"GET /malformed HTTP/1.1\r\nConnection: close\r\n\r\n"
    monkeypatch.setattr(http, "MALFORMED", [refused, refused])
    target: Any = SimpleNamespace(cluster=Cluster())
    told = [sample.where for sample in http.answers(target) if isinstance(sample, Sample)]
    for method in http.METHODS:
        assert told.count(f"{method} {ONE}") == len(http.ODD)
    ended = len(ROUTES) * len(http.METHODS)
    elsewhere = 2 * len(http.ELSEWHERE) * len(http.METHODS)
    assert len(told) == ended * len(http.ODD) + elsewhere + len(http.MALFORMED)
    assert len(ways) == 1 + ended + len(http.MALFORMED)
