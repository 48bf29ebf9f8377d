"""The management port: metrics and probes, apart from the threads that answer requests."""

from __future__ import annotations

import json
import logging
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from socketserver import ThreadingTCPServer
from typing import Any, Final

from prometheus_client import CollectorRegistry, MetricsHandler

log = logging.getLogger(__name__)

#: What a probe answers: the JSON and its status code.
Answer = tuple[Mapping[str, str], int]
Probes = Mapping[str, Callable[[], Answer]]

#: How long a connection may last, in seconds; a readiness check takes as long as a login.
TOTAL_SECONDS: Final = 10
#: Beyond it, a new connection ends the oldest.
MAX_CONNECTIONS: Final = 32


class Handler(MetricsHandler):
    """Answers /metrics and the probes, and logs no request."""

    server: Server

    def do_GET(self) -> None:
        """Answer; ``name[]=`` selects metrics."""
        if self._path == "/metrics":
            self.registry = self.server.registry
            super().do_GET()
        elif self._path in self.server.probes:
            self._answer(*self.server.probes[self._path]())
        else:
            self._answer({"error": "Not found."}, HTTPStatus.NOT_FOUND)

    def do_HEAD(self) -> None:
        """Answer a probe without its body."""
        if self._path in self.server.probes:
            self.do_GET()
        else:
            self._reject()

    def _reject(self) -> None:
        self._answer({"error": "Use GET."}, HTTPStatus.METHOD_NOT_ALLOWED)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _reject

    @property
    def _path(self) -> str:
        return self.path.partition("?")[0]

    def _answer(self, answer: Mapping[str, str], status: int) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class Server(ThreadingTCPServer):
    """Has a thread for each connection, and limits for their number and duration.

    :raises OSError: the port is in use, or `host` is no address of this machine.
    """

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 2 * MAX_CONNECTIONS

    def __init__(self, host: str, port: int, registry: CollectorRegistry, probes: Probes) -> None:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        self.address_family, _, _, _, address = found[0]
        self.registry = registry
        self.probes = probes
        #: When each connection began, the oldest first.
        self._started: dict[Any, float] = {}
        super().__init__(address, Handler)  # type: ignore[arg-type]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread of its own."""
        self._started[request] = time.monotonic()
        for oldest in list(self._started)[:-MAX_CONNECTIONS]:
            self._end(oldest)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection."""
        self._started.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """End the connections that took too long; called every half second."""
        latest = time.monotonic() - TOTAL_SECONDS
        for request, started in list(self._started.items()):
            if started < latest:
                self._end(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log an exception, with the formatter that redacts, unless the client just left."""
        if not isinstance(sys.exception(), OSError):
            log.exception("unexpected error on the management port")

    def _end(self, request: Any) -> None:
        self._started.pop(request, None)
        with suppress(OSError):
            request.shutdown(socket.SHUT_RDWR)


def start(host: str, port: int, registry: CollectorRegistry, probes: Probes) -> Server:
    """Serve /metrics and the probes at http://host:port, from threads of this process.

    :param probes: by path, what answers.
    :raises OSError: the port is in use, or `host` is no address of this machine.
    """
    server = Server(host, port, registry, probes)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def start_when_free(host: str, port: int, registry: CollectorRegistry, probes: Probes) -> None:
    """Do that, and retry every second while another process has the port.

    The old worker has it during a reload.
    """
    try:
        start(host, port, registry, probes)
    except OSError as error:
        log.warning("can't listen on METRICS_PORT %s yet: %s", port, error.strerror)
        retry = threading.Timer(1, start_when_free, (host, port, registry, probes))
        retry.daemon = True
        retry.start()
