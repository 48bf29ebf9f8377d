"""The management port: what it answers, and that nobody can hold it."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from http.client import HTTPConnection, HTTPResponse

import pytest
from prometheus_client import CollectorRegistry, Gauge

from app.core import management
from app.core.management import Answer, Server

WaitFor = Callable[..., None]


def ready() -> Answer:
    return {"status": "not yet"}, 503


def broken() -> Answer:
    raise ValueError("what a probe raises")


@pytest.fixture
def server() -> Iterator[Server]:
    registry = CollectorRegistry()
    for name in ("one", "other"):
        Gauge(name, "A metric.", registry=registry).set(1)
    probes = {"/livez": lambda: ({"status": "ok"}, 200), "/readyz": ready, "/broken": broken}
    server = management.start("127.0.0.1", 0, registry, probes)
    yield server
    server.shutdown()
    server.server_close()


def connect(server: Server, timeout: float = 10) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.server_address[1]), timeout)


def ask(server: Server, path: str, method: str = "GET") -> tuple[HTTPResponse, str]:
    port = server.server_address[1]
    with closing(HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer, answer.read().decode()


def test_probes_and_metrics_are_answered(server: Server, capfd: pytest.CaptureFixture[str]) -> None:
    for path, status, body in (("/livez", 200, "ok"), ("/readyz?now", 503, "not yet")):
        answer, text = ask(server, path)
        assert (answer.status, json.loads(text)) == (status, {"status": body})
    assert "other 1.0" in ask(server, "/metrics")[1]
    assert "other" not in ask(server, "/metrics?name[]=one")[1]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/metrics/", 404),
        ("HEAD", "/livez", 200),
        ("HEAD", "/readyz", 503),
        ("HEAD", "/metrics", 405),
        ("POST", "/livez", 405),
        ("PUT", "/metrics", 405),
        ("DELETE", "/", 405),
        ("FORGED", "/livez", 501),
    ],
)
def test_other_requests_are_rejected(server: Server, method: str, path: str, status: int) -> None:
    answer, text = ask(server, path, method)
    assert answer.status == status
    assert (text == "") == (method == "HEAD")
    assert answer.headers.get("Allow") == ("GET" if status == 405 else None)


def test_a_probe_that_fails_is_logged(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ConnectionError):
        ask(server, "/broken")
    (record,) = caplog.records
    assert record.exc_info
    assert "what a probe raises" in str(record.exc_info[1])
    assert ask(server, "/livez")[0].status == 200


def test_connections_that_send_nothing_hold_up_no_probe(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    with ExitStack() as stack:
        held = [stack.enter_context(connect(server)) for _ in range(3 * management.MAX_CONNECTIONS)]
        started = time.monotonic()
        assert ask(server, "/livez")[0].status == 200
        assert time.monotonic() - started < 2
        # the oldest are ended first, and at once
        held[0].settimeout(2)
        assert held[0].recv(1) == b""
        held[-1].sendall(b"GET /livez HTTP/1.0\r\n\r\n")
        assert held[-1].recv(12) == b"HTTP/1.0 200"
    assert caplog.records == []


@pytest.mark.parametrize("sent", [b"", b"x"])
def test_a_slow_connection_is_ended(
    server: Server, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(management, "TOTAL_SECONDS", 0.5)
    with connect(server, timeout=0.1) as client:
        deadline = time.monotonic() + 4
        while time.monotonic() < deadline:
            try:
                client.sendall(sent)
                assert client.recv(1) == b""
            except TimeoutError:
                continue
            except ConnectionError:
                pass
            break
        else:
            pytest.fail("the connection was not ended")


def test_a_port_in_use_is_tried_again(
    server: Server, wait_for: WaitFor, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        management.start_when_free("127.0.0.1", port, server.registry, {})
        assert f"can't listen on METRICS_PORT {port} yet" in caplog.text

    def listens() -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", port)) == 0

    wait_for(listens, "the management port")
