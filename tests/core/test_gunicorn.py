"""The service under gunicorn, with the settings that it has in the cluster."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from io import BytesIO
from pathlib import Path
from unittest.mock import Mock
from urllib.parse import quote

import psutil
import pytest
from gunicorn.workers.gthread import ThreadWorker

from app.core.worker import Limits, Worker
from keeper.certificates import new_authority, new_certificate
from tests import items
from tests.conftest import Database, service_settings
from tests.mount import SECRETS, Mount, write_certificate
from tools.service import ROOT, Service, free_port, listens

AUTHORITY = new_authority("test CA")

WaitFor = Callable[..., None]


@pytest.fixture(scope="module")
def service(
    database: Database, tmp_path_factory: pytest.TempPathFactory, wait_for: WaitFor
) -> Iterator[Service]:
    """Return one that runs, for tests that only ask it for something."""
    output = tmp_path_factory.mktemp("service") / "output"
    service = Service.start(output, service_settings(database), items.CONFIG)
    try:
        wait_for(service.listens, "a listening socket")
        yield service
    finally:
        service.stop()


def test_serves_requests_and_metrics_from_one_worker(service: Service) -> None:
    assert json.loads(service.get("/readyz")) == {"status": "ok"}
    counted = 'http_requests_total{method="GET",route="/readyz",status="200"} 1.0'
    assert counted in service.metrics()
    assert service.output.read_text().count("Booting worker") == 1


def test_each_look_at_the_panel_takes_a_connection_of_its_own(service: Service) -> None:
    """Within one, nobody would ever see the other pods."""
    connections = {}
    for path in ("/panel", "/status"):
        with closing(HTTPConnection("localhost", service.port, timeout=5)) as connection:
            connection.request("GET", path)
            answer = connection.getresponse()
            assert answer.status == 200
            connections[path] = answer.headers["Connection"]
    assert connections == {"/panel": "close", "/status": "keep-alive"}


def test_a_pod_leaves_the_page_as_it_ends(
    serve: Callable[..., Service],
    settings_of: dict[str, str],
    database: Database,
    wait_for: WaitFor,
) -> None:
    database.execute("TRUNCATE secret_pods")
    service = serve(**settings_of)
    wait_for(service.listens, "a listening socket")
    there = "SELECT count(*) FROM secret_pods WHERE answered_at > now() - interval '1 minute'"
    assert "rotation" in service.get("/panel")
    assert database.execute(there) == [(1,)]
    service.stop()
    assert database.execute(there) == [(0,)]
    assert "Traceback" not in service.output.read_text()


@pytest.mark.skipif(
    not hasattr(psutil.Process, "rlimit"), reason="the limits of others can't be seen"
)
def test_no_process_of_it_leaves_a_core(service: Service) -> None:
    # answered by a worker
    service.get("/livez")
    arbiter = psutil.Process(service.process.pid)
    processes = [arbiter, *arbiter.children(recursive=True)]
    assert len(processes) == 2
    assert {process.rlimit(psutil.RLIMIT_CORE) for process in processes} == {(0, 0)}


def test_log_lines_are_json_and_hold_no_query_and_no_probe(
    serve: Callable[..., Service], settings_of: dict[str, str], wait_for: WaitFor
) -> None:
    service = serve(items.CONFIG, **settings_of)
    wait_for(service.listens, "a listening socket")
    service.get("/livez")
    service.get(f"{items.PATH}?before=77777")
    service.process.terminate()
    assert service.process.wait(30) == 0
    lines = [json.loads(line) for line in service.output.read_text().splitlines()]
    messages = [line["message"] for line in lines if line["logger"] == "gunicorn.access"]
    assert [message.split(" ")[:3] for message in messages] == [["GET", items.PATH, "200"]]
    assert "77777" not in service.output.read_text()


@pytest.mark.parametrize(
    ("key", "content", "problem"),
    [
        ("SECRET_KEY", None, "is missing"),
        ("SECRET_KEY", b"", "is empty"),
        ("SECRET_KEY", b"Xq7-tooshort", "is too short"),
        ("SECRET_KEY", b"Xq7-\xff-not-utf-8-0123456789abcdef0123", "is not UTF-8"),
        ("DATABASE_PASSWORD", b"Xq7-nul-\0-inside", "holds a NUL byte"),
        ("DATABASE_PASSWORD", b"changeme", "is a known placeholder"),
        ("DATABASE_USERNAME", None, "is missing"),
    ],
)
def test_an_unfit_secret_stops_the_start_with_one_line(
    serve: Callable[..., Service], mount: Mount, key: str, content: bytes | None, problem: str
) -> None:
    path = mount.tamper(key, content)
    service = serve(SECRETS_DIR=str(mount.folder))
    assert service.process.wait(30) == 4
    output = service.output.read_bytes()
    lines = [line for line in output.decode().splitlines() if line.startswith("can't start:")]
    assert len(lines) == 1
    assert lines[0].startswith(f"can't start: {key} in {path} {problem}")
    assert b"Traceback" not in output
    assert b"Xq7" not in output
    assert not [
        value for name, value in SECRETS.items() if len(value) > 11 and value.encode() in output
    ]


STRANGE = "Kq7ü-f9wwxz-mé/%41-\\"


def test_gunicorns_own_logs_hold_no_secret_however_it_is_written(
    serve: Callable[..., Service],
    settings_of: dict[str, str],
    mount: Mount,
    wait_for: WaitFor,
) -> None:
    """A path reaches the log as the server decoded it, a malformed request as it came."""
    mount.write({"DATABASE_PASSWORD": STRANGE})
    service = serve(**{**settings_of, "SECRETS_DIR": str(mount.folder)})
    wait_for(service.listens, "a listening socket")
    with pytest.raises(urllib.error.HTTPError, match="404"):
        service.get(f"/x/{quote(STRANGE, safe='')}")
    for request in (f"{STRANGE}\r\n\r\n", f"GET / HTTP/1.1\r\n{STRANGE}: 1\r\n\r\n"):
        with socket.create_connection(("localhost", service.port), timeout=5) as connection:
            connection.sendall(request.encode())
            assert b" 400 " in connection.makefile("rb").readline()
    # the lines are written once the answers are out
    wait_for(lambda: service.output.read_text().count("[redacted]") >= 3, "a line of each request")
    output = service.output.read_text()
    assert "GET /x/[redacted] 404" in output
    for part in ("Kq7", "f9wwxz"):
        assert part not in output


UNCAUGHT = """
import os, threading, time, warnings
from pathlib import Path
from app.wsgi import application
folder = Path(os.environ["SECRETS_DIR"])
def password():
    return (folder / "DATABASE_PASSWORD").read_text()
def fail():
    raise KeyError(password())
thread = threading.Thread(target=fail)
thread.start()
thread.join()
warnings.warn(password())
raise ValueError(password())
"""


def test_what_nobody_catches_and_warnings_are_logged_without_a_secret(
    settings_of: dict[str, str], mount: Mount
) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", UNCAUGHT],
        env={
            **os.environ,
            **settings_of,
            "SECRETS_DIR": str(mount.folder),
            "PYTHONPATH": str(ROOT),
            "PYTHONWARNINGS": "default",
        },
        capture_output=True,
        text=True,
    )
    lines = [json.loads(line) for line in ran.stderr.splitlines()]
    assert [line["logger"] for line in lines] == [
        "secret_files.redaction",
        "py.warnings",
        "secret_files.redaction",
    ]
    assert ran.stderr.count("[redacted]") == 3
    assert SECRETS["DATABASE_PASSWORD"] not in ran.stderr
    assert ran.returncode == 1


def test_a_secret_that_every_user_can_read_stops_the_start_with_one_line(
    serve: Callable[..., Service], mount: Mount
) -> None:
    (mount.folder / "DATABASE_PASSWORD").chmod(0o644)
    service = serve(SECRETS_DIR=str(mount.folder))
    assert service.process.wait(30) == 4
    problem = f"DATABASE_PASSWORD in {mount.folder}/DATABASE_PASSWORD is open to every user"
    assert f"can't start: {problem} (mode 0644)" in service.output.read_text()


def test_the_service_redacts_what_it_logs_and_counts_it(
    service: Service, settings_of: dict[str, str], wait_for: WaitFor
) -> None:
    password = (Path(settings_of["SECRETS_DIR"]) / "DATABASE_PASSWORD").read_text()
    with pytest.raises(urllib.error.HTTPError, match="404"):
        service.get(f"/a/path/with/{password}")
    # the line is written once the answer is out
    line = "GET /a/path/with/[redacted] 404"
    wait_for(lambda: line in service.output.read_text(), "the request's line")
    assert "log_redactions_total 1.0" in service.metrics()
    assert password not in service.output.read_text()


@pytest.fixture
def environment_of(settings_of: dict[str, str]) -> dict[str, str]:
    """Return settings with which the secrets come from the environment."""
    folder = Path(settings_of["SECRETS_DIR"]) / "..data"
    secrets = {path.name: path.read_text() for path in folder.iterdir()}
    return {**settings_of, **secrets, "SECRETS_DIR": "/nowhere", "SECRETS_FROM": "env"}


def test_serves_with_secrets_from_the_environment_and_after_a_reload_too(
    serve: Callable[..., Service], environment_of: dict[str, str], wait_for: WaitFor
) -> None:
    service = serve(**environment_of)
    wait_for(service.listens, "a listening socket")
    assert json.loads(service.get("/readyz")) == {"status": "ok"}
    assert json.loads(service.get("/status"))["secrets"]["source"] == "the environment"
    service.process.send_signal(signal.SIGHUP)
    wait_for(lambda: service.output.read_text().count("Booting worker") == 2, "a new worker")
    wait_for(lambda: "Worker exiting" in service.output.read_text(), "the old worker's end")
    assert json.loads(service.get("/readyz")) == {"status": "ok"}
    assert environment_of["DATABASE_PASSWORD"] not in service.output.read_text()


@pytest.mark.parametrize("source", ["env", "files"])
def test_one_source_never_takes_the_place_of_the_other(
    serve: Callable[..., Service], environment_of: dict[str, str], mount: Mount, source: str
) -> None:
    if source == "env":
        mount.write({"SECRET_KEY": environment_of.pop("SECRET_KEY")})
        problem = "can't start: SECRET_KEY in the environment is missing: set the variable"
    else:
        path = mount.tamper("SECRET_KEY", None)
        problem = f"can't start: SECRET_KEY in {path} is missing: create the file"
    service = serve(**{**environment_of, "SECRETS_FROM": source, "SECRETS_DIR": str(mount.folder)})
    assert service.process.wait(30) == 4
    lines = service.output.read_text().splitlines()
    assert [line for line in lines if line.startswith(problem)]
    assert "Traceback" not in service.output.read_text()


def test_survives_a_reload(
    serve: Callable[..., Service], settings_of: dict[str, str], wait_for: WaitFor
) -> None:
    service = serve(**settings_of)
    wait_for(service.listens, "a listening socket")
    service.process.send_signal(signal.SIGHUP)
    wait_for(lambda: service.output.read_text().count("Booting worker") == 2, "a new worker")
    wait_for(lambda: "Worker exiting" in service.output.read_text(), "the old worker's end")
    wait_for(lambda: listens(service.metrics_port), "the new worker's metrics")
    assert json.loads(service.get("/livez")) == {"status": "ok"}


def test_a_missing_certificate_stops_the_start_with_one_line(
    serve: Callable[..., Service], mount: Mount, tmp_path: Path
) -> None:
    service = serve(SECRETS_DIR=str(mount.folder), TLS_DIR=str(tmp_path / "nowhere"))
    assert service.process.wait(30) == 1
    assert service.output.read_text().startswith("can't start: TLS_DIR has no")
    assert "Traceback" not in service.output.read_text()


def chunked(service: Service, *chunks: bytes) -> str:
    """Post chunks as they are, and return the status line."""
    head = (
        f"POST {items.PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        "Transfer-Encoding: chunked\r\n\r\n"
    )
    with socket.create_connection(("localhost", service.port), timeout=10) as connection:
        connection.sendall(head.encode() + b"".join(chunks))
        return connection.makefile("rb").readline().decode()


def test_chunked_bodies_have_the_same_limits(service: Service) -> None:
    item = b'{"text": "chunked"}'
    padded = item + b" " * (16 * 1024 - len(item))
    assert " 201 " in chunked(service, b"%x\r\n%s\r\n0\r\n\r\n" % (len(item), item))
    assert " 413 " in chunked(
        service, b"%x\r\n%s\r\n" % (len(padded), padded), b"5\r\nxxxxx\r\n0\r\n\r\n"
    )
    assert " 400 " in chunked(service, b"no number\r\n")


def test_a_malformed_setting_stops_the_start_with_one_line(
    serve: Callable[..., Service], mount: Mount
) -> None:
    service = serve(SECRETS_DIR=str(mount.folder), LOG_LEVEL="LOUD")
    assert service.process.wait(30) == 1
    assert service.output.read_text().startswith("can't start: LOG_LEVEL has to be one of DEBUG")


def serial_number(service: Service, cafile: Path) -> str:
    context = ssl.create_default_context(cafile=cafile)
    with (
        socket.create_connection(("localhost", service.port), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        certificate = secure.getpeercert()
    assert certificate
    return str(certificate["serialNumber"])


def test_serves_https_and_picks_up_a_new_certificate(
    serve: Callable[..., Service], settings_of: dict[str, str], tmp_path: Path, wait_for: WaitFor
) -> None:
    cafile = tmp_path / "ca.crt"
    cafile.write_text(AUTHORITY.certificate)
    write_certificate(tmp_path / "tls", new_certificate(AUTHORITY, ["localhost"]))
    service = serve(**settings_of, TLS_DIR=str(tmp_path / "tls"))
    wait_for(service.listens, "a listening socket")
    assert json.loads(service.get("/livez", "https", cafile)) == {"status": "ok"}
    first = serial_number(service, cafile)
    assert serial_number(service, cafile) == first
    write_certificate(tmp_path / "tls", new_certificate(AUTHORITY, ["localhost"]))
    assert serial_number(service, cafile) != first
    assert service.process.poll() is None


def test_a_request_under_way_is_finished_when_it_stops(
    serve: Callable[..., Service], settings_of: dict[str, str], wait_for: WaitFor
) -> None:
    service = serve(items.CONFIG, **settings_of)
    wait_for(service.listens, "a listening socket")
    body = b'{"text": "under way"}'
    head = (
        f"POST {items.PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("localhost", service.port), timeout=20) as connection:
        connection.sendall(head.encode() + body[:5])
        wait_for(lambda: service.get("/livez") != "", "an answer beside it")
        service.process.send_signal(signal.SIGTERM)
        connection.sendall(body[5:])
        answer = connection.makefile("rb").readline()
    assert b"201" in answer
    assert service.process.wait(30) == 0


#: How long a client may send and read nothing, and how long in sum, in seconds.
IDLE, TOTAL = 1, 2
SLOW_CLIENTS = 64
# where Debian has it, which is in no user's path
NGINX_PROGRAM = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")

POST = (
    f"POST {items.PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n".encode()
)
GET = b"GET /panel/static/panel.js HTTP/1.1\r\nHost: localhost\r\n\r\n"
LIMITS = {"CLIENT_IDLE_SECONDS": str(IDLE), "CLIENT_TOTAL_SECONDS": str(TOTAL)}


def client_hello() -> bytes:
    sent = ssl.MemoryBIO()
    context = ssl.create_default_context()
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname="localhost").do_handshake()
    return sent.read()


@dataclass(frozen=True)
class Slowness:
    """What a slow client sends at once, and then a byte at a time, and which limit ends it."""

    name: str
    first: bytes
    then: bytes
    limit: str = ""
    tls: bool = False
    handshake: bool = False


KINDS = (
    Slowness("sends nothing", b"", b""),
    Slowness("a head that stalls", POST, b"", "idle"),
    Slowness("a slow head", POST + b"X: ", b"x", "total"),
    Slowness("a body that stalls", POST + b"Content-Length: 1000\r\n\r\n", b"", "idle"),
    Slowness("a slow body", POST + b"Content-Length: 1000\r\n\r\n", b"x", "total"),
    Slowness("a slow chunk", POST + b"Transfer-Encoding: chunked\r\n\r\n3e8\r\n", b"x", "total"),
    Slowness("a body nobody reads", GET[:-2] + b"Content-Length: 1000\r\n\r\n", b"x", "total"),
    Slowness("reads nothing", GET * 200, b"", "idle"),
    Slowness("no TLS handshake", b"", b"", tls=True),
    Slowness("half a TLS handshake", client_hello()[:99], b"", "idle", tls=True),
    Slowness("a slow TLS handshake", b"", client_hello(), "idle", tls=True),
    Slowness("a TLS handshake alone", b"", b"", "idle", tls=True, handshake=True),
    Slowness("a slow head in TLS", POST + b"X: ", b"x", "total", tls=True, handshake=True),
    Slowness("reads nothing in TLS", GET * 200, b"", "idle", tls=True, handshake=True),
)


class SlowClients:
    """Many clients of one kind, which go on until they are disconnected or stopped."""

    def __init__(self, service: Service, kind: Slowness, cafile: Path) -> None:
        self._kind = kind
        self._stopped = threading.Event()
        self.sockets: list[socket.socket] = []
        context = ssl.create_default_context(cafile=cafile)
        for _ in range(SLOW_CLIENTS):
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.settimeout(10)
            client.connect(("localhost", service.port))
            if kind.handshake:
                client = context.wrap_socket(client, server_hostname="localhost")
            client.setblocking(False)
            with suppress(BlockingIOError, ssl.SSLWantWriteError):
                client.send(kind.first)
            self.sockets.append(client)
        self._thread = threading.Thread(target=self._send)
        self._thread.start()

    def _send(self) -> None:
        count = 0
        while not self._stopped.wait(0.1) and self._kind.then:
            byte = self._kind.then[count % len(self._kind.then) :][:1]
            count += 1
            for client in self.sockets:
                with suppress(OSError):
                    client.send(byte)

    def wait_until_disconnected(self) -> None:
        """Read until each connection has ended; a time limit is an error."""
        self.stop()
        for client in self.sockets:
            client.settimeout(10)
            with suppress(ConnectionError, ssl.SSLEOFError):
                while client.recv(65536):
                    pass

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def close(self) -> None:
        self.stop()
        for client in self.sockets:
            client.close()


@pytest.fixture(scope="module")
def cafile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("authority") / "ca.crt"
    file.write_text(AUTHORITY.certificate)
    return file


@pytest.fixture(scope="module")
def strict(
    database: Database, tmp_path_factory: pytest.TempPathFactory, wait_for: WaitFor
) -> Iterator[dict[bool, Service]]:
    """Return one with short limits, by whether it speaks TLS."""
    folder = tmp_path_factory.mktemp("strict")
    write_certificate(folder / "tls", new_certificate(AUTHORITY, ["localhost"]))
    settings = {**service_settings(database), **LIMITS}
    services = {
        False: Service.start(folder / "plain", settings, items.CONFIG),
        True: Service.start(
            folder / "secure", {**settings, "TLS_DIR": str(folder / "tls")}, items.CONFIG
        ),
    }
    try:
        for service in services.values():
            wait_for(lambda service=service: listens(service.metrics_port), "a management port")
        yield services
    finally:
        for service in services.values():
            service.stop()


def slow_clients(service: Service) -> Counter[str]:
    """Return how many were disconnected, by the limit."""
    counted = re.findall(r'http_slow_clients_total{limit="(\w+)"} (\d+)', service.metrics())
    return Counter({limit: int(number) for limit, number in counted})


@pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
def test_slow_clients_hold_up_nobody_and_are_disconnected(
    strict: dict[bool, Service], cafile: Path, wait_for: WaitFor, kind: Slowness
) -> None:
    service = strict[kind.tls]
    before = slow_clients(service)
    with closing(SlowClients(service, kind, cafile)) as clients:
        started = time.monotonic()
        scheme = "https" if kind.tls else "http"
        assert json.loads(service.get("/readyz", scheme, cafile)) == {"status": "ok"}
        assert time.monotonic() - started < 2
        for probe in ("/livez", "/readyz"):
            assert json.loads(service.manage(probe)) == {"status": "ok"}
        expected = Counter({kind.limit: SLOW_CLIENTS} if kind.limit else {})
        wait_for(lambda: slow_clients(service) - before == expected, "the limit", 20)
        clients.wait_until_disconnected()
    assert slow_clients(service) - before == expected
    output = service.output.read_text()
    assert "Traceback" not in output
    assert " 500 " not in output


def test_an_answer_that_ends_the_connection_holds_up_nobody(strict: dict[bool, Service]) -> None:
    """Gunicorn waits 2 s for the client to close it, too: in a thread, not in its main loop."""
    service = strict[False]
    with ExitStack() as stack:
        for _ in range(SLOW_CLIENTS):
            client = socket.create_connection(("localhost", service.port), timeout=10)
            stack.enter_context(client).sendall(b"GET /livez HTTP/1.0\r\n\r\n")
        started = time.monotonic()
        service.get("/livez")
        assert time.monotonic() - started < 1.5


@pytest.mark.parametrize("tls", [False, True])
def test_a_client_that_takes_its_time_within_the_limits_is_served(
    strict: dict[bool, Service], cafile: Path, tls: bool
) -> None:
    body = json.dumps({"text": "x" * 990}).encode()
    head = POST + b"Content-Length: %d\r\n\r\n" % len(body)
    context = ssl.create_default_context(cafile=cafile)
    with ExitStack() as stack:
        client = socket.create_connection(("localhost", strict[tls].port), timeout=10)
        if tls:
            client = context.wrap_socket(client, server_hostname="localhost")
        stack.enter_context(client)
        for _ in range(2):
            # the second request of the connection has the whole time again
            client.sendall(head)
            for start in range(0, len(body), 250):
                time.sleep(TOTAL / 6)
                client.sendall(body[start : start + 250])
            answer = HTTPResponse(client)
            answer.begin()
            assert answer.status == 201
            assert len(json.loads(answer.read())["text"]) == 990


def test_an_idle_connection_is_kept_for_the_next_request(strict: dict[bool, Service]) -> None:
    """A proxy reuses it after some seconds: longer than gunicorn's default, and any limit here."""
    with closing(HTTPConnection("localhost", strict[False].port, timeout=10)) as connection:
        connection.connect()
        first = connection.sock
        for pause in (0, TOTAL + 1.5):
            time.sleep(pause)
            connection.request("GET", "/livez")
            assert connection.getresponse().read()
        assert connection.sock is first


def test_a_long_answer_arrives_whole(
    serve: Callable[..., Service],
    settings_of: dict[str, str],
    database: Database,
    wait_for: WaitFor,
) -> None:
    """More than the send buffer holds, for a client that reads in steps."""
    service = serve(items.CONFIG, **settings_of, **LIMITS)
    wait_for(service.listens, "a listening socket")
    database.execute(
        "INSERT INTO test_items (text) "
        "SELECT repeat('\U0001f512', 1000) FROM generate_series(1, 100)"
    )
    try:
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.settimeout(10)
            client.connect(("localhost", service.port))
            asked = f"GET {items.PATH}?limit=100 HTTP/1.1\r\nHost: localhost\r\n\r\n"
            client.sendall(asked.encode())
            answer = HTTPResponse(client)
            answer.begin()
            time.sleep(IDLE / 2)
            body = answer.read()
    finally:
        database.execute("TRUNCATE test_items")
    assert len(body) > 1_000_000
    assert len(json.loads(body)["items"]) == 100


NGINX = """
daemon off; master_process off; error_log stderr warn; pid {folder}/pid;
events {{}}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/1; uwsgi_temp_path {folder}/2; scgi_temp_path {folder}/3;
  upstream service {{ server 127.0.0.1:{service}; keepalive 8; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://service; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_next_upstream off;
    }}
  }}
}}
"""


@pytest.mark.skipif(not NGINX_PROGRAM, reason="nginx is not installed")
def test_nginx_reuses_its_connections_and_loses_no_request(
    service: Service, tmp_path: Path, wait_for: WaitFor
) -> None:
    """With gunicorn's own keep-alive time, 2 s, a POST meets a connection that just ended."""
    port = free_port()
    config = tmp_path / "nginx.conf"
    config.write_text(NGINX.format(folder=tmp_path, service=service.port, port=port))
    with subprocess.Popen([str(NGINX_PROGRAM), "-c", config, "-e", "stderr"]) as nginx:
        try:
            wait_for(lambda: listens(port), "nginx")
            answers = []
            for pause in [1.99, 2, 2, 2.01, 2.01]:
                answers.append(post_at_once(port))
                time.sleep(pause)
        finally:
            nginx.terminate()
    assert {status for each in answers for status in each} == {201}


def post_at_once(port: int) -> list[int]:
    """Post over eight connections to nginx, and return what is answered."""
    with ExitStack() as stack:
        connections = [
            stack.enter_context(closing(HTTPConnection("127.0.0.1", port, timeout=10)))
            for _ in range(8)
        ]
        for connection in connections:
            headers = {"Content-Type": "application/json"}
            connection.request("POST", items.PATH, '{"text": "by nginx"}', headers)
        return [connection.getresponse().status for connection in connections]


def test_a_pipelined_request_waits_for_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gunicorn enqueues it as soon as the one before is finished."""
    started: list[object] = []
    monkeypatch.setattr(ThreadWorker, "enqueue_req", lambda worker, conn: started.append(conn))
    worker = Worker.__new__(Worker)
    worker.limits = Limits(1, 1, lambda limit: None, running=2)
    worker.alive = True
    worker._running = {}
    worker._backlog = deque()
    done: Future[bool] = Future()
    done.set_result(True)
    for number in range(5):
        read_ahead = {"parser.unreader.buf": BytesIO(b"GET / HTTP/1.1")}
        connection = Mock(sock=f"socket {number}", **read_ahead)
        worker.finish_request(connection, done)
    assert len(started) == len(worker._running) == 2
    assert len(worker._backlog) == 3
