"""What the service answers: to every route and method, and to whatever else one may send."""

from __future__ import annotations

import base64
import http.client
import json
import re
import socket
import ssl
import subprocess
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from itertools import product
from typing import Final

from tools.cluster.client import Cluster

from .engine import Reading, Sample, Unreadable, place
from .target import Target

GROUP: Final = "http"

#: In seconds.
TIMEOUT: Final = 10

#: Prints the routes that the service has, from within one of its pods.
ROUTES: Final = """
import json
from app import create_app
app = create_app()
print(json.dumps(sorted({rule.rule for rule in app.url_map.iter_rules()})))
"""

#: Where other services show more than they should, or where a path may lead out of a folder.
ELSEWHERE: Final = (
    *(
        "/configs",
        "/env",
        "/.env",
        "/.git/config",
        "/console",
        "/debug",
        "/metrics",
        "/actuator/env",
    ),
    "/static/../../etc/secrets/SECRET_KEY",
    "/static/%2e%2e/%2e%2e/%2e%2e/etc/secrets/SECRET_KEY",
    "/static//etc/secrets/DATABASE_PASSWORD",
    "/?__debugger__=yes&cmd=resource&f=debugger.js",
)

METHODS: Final = "GET HEAD POST PUT PATCH DELETE OPTIONS TRACE PROPFIND".split()

JSON: Final = {"Content-Type": "application/json"}

#: Headers and a body.
Odd = tuple[Mapping[str, str], bytes]

#: None of them adds a note.
ODD: Final[tuple[Odd, ...]] = (
    ({}, b""),
    ({"Accept": "application/json"}, b""),
    ({"Accept": "text/html", "Cookie": "session=eyJ2aXNpdHMiOjF9.Zm9yZ2Vk.c2lnbmF0dXJl"}, b""),
    ({"Cookie": "session=.eJw; session=%00%ff"}, b""),
    (
        {"Host": "elsewhere.example", "X-Forwarded-Host": "{{config}}", "X-Forwarded-For": "$ENV"},
        b"",
    ),
    ({"Authorization": "Basic Og==", "Range": "bytes=0-1", "If-None-Match": "*"}, b""),
    ({"X-HTTP-Method-Override": "DELETE", "Content-Type": "text/plain"}, b"%s%n{0.__class__}"),
    (JSON, b"{"),
    (JSON, b'{"text": 1}'),
    (JSON, b'{"text": "\\u0000 \\ud800"}'),
    (JSON, b"[" * 10_000),
    (JSON, b"x" * 20_000),
    ({"Content-Type": "multipart/form-data; boundary=x"}, b"--x\r\n\r\n--x--"),
)

#: What is answered, each of it: a path and a status.
ANSWERED: Final = (("/status", b"200"), ("/", b"405"), ("/env", b"404"))

#: What is no HTTP at all, or breaks its rules.
MALFORMED: Final = (
    b"GARBAGE\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET /malformed HTTP/1.1\r\nHost: localhost\r\nBad Header: \x00\r\n\r\n",
    b"POST /malformed HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    b"POST /malformed HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
    b"Content-Type: application/json\r\n\r\nZZ\r\n",
    b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 70_000 + b"\r\n\r\n",
)


@place(GROUP, "answers")
def answers(target: Target) -> Reading:
    """Status, headers and body of every route x method x odd headers and bodies."""
    rules = json.loads(target.cluster.python(ROUTES))
    if "/status" not in rules:
        raise Unreadable("the service does not tell its routes")
    # an id that nothing has
    paths = [re.sub("<int:[a-z_]+>", str(2**63 - 1), rule) for rule in rules]
    paths = [re.sub("<path:[a-z_]+>", "style.css", path) for path in paths]
    requests = [*product(paths, METHODS, ODD), *product(ELSEWHERE, METHODS, ODD[:2])]
    yield from _answers(target.cluster, requests)
    refused = False
    for sent in MALFORMED:
        with forwarded(target.cluster) as port:
            answer = _exchange(port, sent)
        refused |= answer.startswith(b"HTTP/1.1 400 ")
        yield Sample(f"the answer to {sent[:20]!r}", answer)
    if not refused:
        raise Unreadable("nothing that is no HTTP was refused with 400")


@place(GROUP, "session cookie")
def session_cookie(target: Target) -> Reading:
    """The session cookie of a first and of a second visit, decoded."""
    cookie = ""
    for visit in ("first", "second"):
        with _connected(target.cluster) as connection:
            connection.request("GET", "/", headers={"Cookie": cookie} if cookie else {})
            answer = connection.getresponse()
            answer.read()
        cookie = (answer.getheader("Set-Cookie") or "").split(";")[0]
        if not cookie.startswith("session="):
            raise Unreadable(f"the {visit} visit brought no session cookie")
        yield Sample(f"cookie of the {visit} visit", decoded(cookie.removeprefix("session=")))


@place(GROUP, "metrics")
def metrics(target: Target) -> Reading:
    """The metrics of every pod of the service."""
    cluster = target.cluster
    for pod in cluster.pods("service"):
        path = f"/api/v1/namespaces/{cluster.namespace}/pods/{pod}:9090/proxy/metrics"
        text = cluster.kubectl("get", "--raw", path)
        if "http_requests_total" not in text:
            raise Unreadable(f"pod {pod} has no metrics")
        yield Sample(f"metrics of pod {pod}", text.encode())


def decoded(cookie: str) -> bytes:
    """Return what a session cookie says; anybody who has it can read that."""
    packed = cookie.startswith(".")
    payload = cookie.removeprefix(".").split(".")[0]
    content = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
    return zlib.decompress(content) if packed else content


@contextmanager
def forwarded(cluster: Cluster) -> Iterator[int]:
    """Forward a port of this machine to a pod of the service, as who is not in the cluster does.

    `kubectl port-forward` ends as a whole, a moment later, when the pod resets one connection, as
    a server does that refuses what it has not read to its end.
    """
    pod = cluster.pods("service")[0]
    command = cluster.command("port-forward", f"pod/{pod}", ":8443", "--address", "127.0.0.1")
    with subprocess.Popen(
        command,
        env=cluster.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            assert process.stdout
            told = re.search(r"127\.0\.0\.1:(\d+) ->", process.stdout.readline())
            if not told:
                raise Unreadable(f"no port can be forwarded to pod {pod}")
            yield int(told[1])
        finally:
            process.kill()


@contextmanager
def _connected(cluster: Cluster) -> Iterator[http.client.HTTPSConnection]:
    # whoever answers is searched
    context = ssl._create_unverified_context()
    with forwarded(cluster) as port:
        server = http.client.HTTPSConnection("127.0.0.1", port, timeout=TIMEOUT, context=context)
        with closing(server) as connection:
            yield connection


def _answers(cluster: Cluster, requests: Iterable[tuple[str, str, Odd]]) -> Reading:
    seen: set[tuple[str, bytes]] = set()
    with ExitStack() as way:
        connection = way.enter_context(_connected(cluster))
        for path, method, odd in requests:
            try:
                answer = _ask(connection, method, path, odd)
            except (http.client.HTTPException, OSError):
                # the way may have ended with the refusal before; the next try counts
                way.close()
                connection = way.enter_context(_connected(cluster))
                answer = _ask(connection, method, path, odd)
            seen.add((path, answer[:3]))
            yield Sample(f"{method} {path}", answer)
    for path, status in ANSWERED:
        if (path, status) not in seen:
            raise Unreadable(f"{path} was never answered with {status.decode()}")


def _ask(connection: http.client.HTTPSConnection, method: str, path: str, odd: Odd) -> bytes:
    headers, body = odd
    connection.request(method, path, body, dict(headers))
    answer = connection.getresponse()
    content = answer.read()
    return f"{answer.status} {answer.reason}\n{answer.headers}".encode() + content


def _exchange(port: int, sent: bytes) -> bytes:
    """Send bytes as they are, and return what comes back until the end."""
    context = ssl._create_unverified_context()
    with (
        socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT) as plain,
        context.wrap_socket(plain) as encrypted,
    ):
        received = b""
        try:
            encrypted.sendall(sent)
            while chunk := encrypted.recv(65536):
                received += chunk
        except OSError:  # it refuses, and is waited for no longer
            pass
        return received
