"""gunicorn's threaded worker, with limits for slow clients.

gunicorn reads a request and writes its answer in a thread, and waits there for the client without
a limit. This worker bounds that wait, has no thread wait for a connection's first byte, and has
gunicorn's main loop wait for nobody.
"""

from __future__ import annotations

import errno
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from selectors import EVENT_READ
from typing import Any, Final, TypeVar

from gunicorn import util
from gunicorn.http import get_parser
from gunicorn.sock import ssl_wrap_socket
from gunicorn.workers.gthread import TConn, ThreadWorker

Result = TypeVar("Result")

#: What the kernel holds of answers that a client does not read; by itself up to 4 MiB for each,
#: which count for the pod's memory limit. Linux takes twice the figure, to have room for its own
#: data: https://man7.org/linux/man-pages/man7/socket.7.html
SEND_BUFFER_BYTES: Final = 64 * 1024


#: A request that runs longer, in seconds, counts as one that waits, as for a database.
WORK_SECONDS: Final = 0.5
#: How often that is looked at while requests are queued, in seconds.
LOOK_SECONDS: Final = 0.1


class SlowClient(ConnectionResetError):
    """A client exceeded a limit.

    A reset, since gunicorn closes the connection after one without a traceback in the log.
    """

    def __init__(self) -> None:
        super().__init__(errno.ECONNRESET, "the client was too slow")


@dataclass(frozen=True)
class Limits:
    """How long a client may keep a thread waiting, and how many requests run meanwhile."""

    #: At a stretch, in seconds, and for its whole TLS handshake.
    idle_seconds: float
    #: In sum, in seconds: to send one request and to read the answer.
    total_seconds: float
    #: Called with "idle" or "total" when a client exceeds that limit.
    on_slow: Callable[[str], None]
    #: So many requests run at once, those not counted that wait for their client or for something
    #: else; see `WORK_SECONDS`.
    running: int


class ClientSocket:
    """A connection's socket, plain or TLS, whose calls wait for the client within limits.

    :param on_wait: called with it and True before each wait for the client, and with False after.
    :raises SlowClient: (every method) the client exceeded a limit, now or before.
    """

    def __init__(
        self,
        connected: socket.socket,
        limits: Limits,
        on_wait: Callable[[ClientSocket, bool], None],
    ) -> None:
        self.inner = connected
        self.inner.setblocking(False)
        self._limits = limits
        self._on_wait = on_wait
        self._left = limits.total_seconds
        self._is_slow = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def setblocking(self, _: bool) -> None:
        """Do nothing: gunicorn would have it wait without a limit."""

    def settimeout(self, _: float) -> None:
        """Do nothing, either."""

    def start_request(self) -> None:
        """Give the client its whole time again."""
        self._left = self._limits.total_seconds

    def start_tls(self, config: Any) -> None:
        """Put TLS around the connection."""
        self.inner = ssl_wrap_socket(self.inner, config)
        self._call(self.inner.do_handshake)  # type: ignore[attr-defined]

    def recv(self, size: int) -> bytes:
        """Return what has arrived, at least one byte; none if the client sends no more."""
        return self._call(self.inner.recv, size)

    def send(self, data: bytes | memoryview) -> int:
        """Send the beginning of `data`, and return how much that was."""
        return self._call(self.inner.send, data)

    def sendall(self, data: bytes) -> None:
        """Send all of `data`."""
        rest = memoryview(data)
        while rest:
            rest = rest[self.send(rest) :]

    def _call(self, call: Callable[..., Result], *arguments: Any) -> Result:
        try:
            return call(*arguments)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return self._wait(call, *arguments)

    def _wait(self, call: Callable[..., Result], *arguments: Any) -> Result:
        if self._is_slow:
            raise SlowClient
        allowed = min(self._limits.idle_seconds, self._left)
        started = time.monotonic()
        self._on_wait(self, True)
        try:
            self.inner.settimeout(max(allowed, 0.001))
            return call(*arguments)
        except TimeoutError:
            self._is_slow = True
            self._limits.on_slow("idle" if allowed < self._left else "total")
            raise SlowClient from None
        finally:
            # only the wait for the client counts, not what the service does in between
            self._left -= time.monotonic() - started
            self.inner.setblocking(False)
            self._on_wait(self, False)


class Connection(TConn):  # type: ignore[misc]
    """A client's connection, which speaks HTTP/1.1 alone."""

    initialized: bool

    def init(self) -> None:
        """Do the TLS handshake, once."""
        if self.initialized:
            return
        self.initialized = True
        if self.cfg.is_ssl:
            self.sock.start_tls(self.cfg)
        self.parser = get_parser(self.cfg, self.sock, self.client)

    def close(self, graceful: bool = False) -> None:
        """Close it; if `graceful`, wait up to 2 s until the client has the answer."""
        if self.sock.fileno() < 0:
            return
        if graceful:
            util.close_graceful(self.sock.inner)
        else:
            util.close(self.sock.inner)


class Worker(ThreadWorker):  # type: ignore[misc]
    """The worker; `post_worker_init` sets its `limits`."""

    limits: Limits

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        # both are of the main loop alone
        self._running: dict[ClientSocket, float] = {}
        self._backlog: deque[Connection] = deque()

    def accept(self, listener: socket.socket) -> None:
        """Accept a connection, and leave it to the main loop until its first byte arrives."""
        try:
            accepted, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        sock = ClientSocket(accepted, self.limits, partial(self.method_queue.defer, self._note))
        connection = Connection(self.cfg, sock, address, listener.getsockname())
        connection.timeout = time.monotonic() + self.limits.idle_seconds
        self.nr_conns += 1
        self.pending_conns.append(connection)
        readable = partial(self.on_pending_socket_readable, connection)
        self.poller.register(sock, EVENT_READ, readable)

    def handle(self, conn: Connection) -> Any:
        """Handle one request in a thread, and close the connection if it was the last.

        gunicorn closes it in the main loop, which waits up to 2 s for the client to close its
        side: it accepts no other client meanwhile.
        """
        conn.sock.start_request()
        keep = super().handle(conn)
        if not keep:
            self.method_queue.defer(self._note, conn.sock, True)
            conn.close(graceful=True)
        return keep

    def enqueue_req(self, conn: Connection) -> None:
        """Let a thread handle the next request of a connection, once fewer run."""
        self._backlog.append(conn)
        self._run_next()

    def finish_request(self, conn: Connection, fs: Future[Any]) -> None:
        """Wait for the connection's next request, and let the next one in the backlog run."""
        self._note(conn.sock, True)  # before: a pipelined request is enqueued at once
        super().finish_request(conn, fs)

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Do that, and see which requests have come to wait for something else."""
        super().wait_for_and_dispatch_events(
            min(timeout, LOOK_SECONDS) if self._backlog else timeout
        )
        if self._backlog:
            latest = time.monotonic() - WORK_SECONDS
            for sock in [sock for sock, since in self._running.items() if since < latest]:
                self._note(sock, True)

    def _note(self, sock: ClientSocket, is_waiting: bool) -> None:
        """Note whether a request waits or runs."""
        if is_waiting:
            self._running.pop(sock, None)
        else:
            self._running[sock] = time.monotonic()
        self._run_next()

    def _run_next(self) -> None:
        while self._backlog and len(self._running) < self.limits.running:
            conn = self._backlog.popleft()
            self._running[conn.sock] = time.monotonic()
            super().enqueue_req(conn)
