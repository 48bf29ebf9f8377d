"""``python -m tools.bench.client PORT PATH CONNECTIONS SECONDS``: takes the place of wrk.

It prints the number of answers with status 200, that of failures, and the seconds.
"""

from __future__ import annotations

import re
import selectors
import socket
import sys
import time

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Connection:
    """One connection, with one request under way at a time."""

    def __init__(self, port: int, request: bytes) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.answered = 0
        self.failed = 0
        self._request = request
        self._received = b""

    def send(self) -> None:
        """Send the next request."""
        self._received = b""
        self.socket.sendall(self._request)

    def receive(self) -> bool:
        """Take what is there, and tell whether the answer is complete."""
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        length = LENGTH.search(head)
        if not end or not length or len(body) < int(length[1]):
            return False
        if head.startswith(b"HTTP/1.1 200 "):
            self.answered += 1
        else:
            self.failed += 1
        return True


def main(port: int, path: str, connections: int, seconds: float) -> None:
    """Send requests until the time is over."""
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    selector = selectors.DefaultSelector()
    started = time.perf_counter()
    opened = [Connection(port, request) for _ in range(connections)]
    for connection in opened:
        connection.send()
        selector.register(connection.socket, selectors.EVENT_READ, connection)
    end = started + seconds
    while time.perf_counter() < end and selector.get_map():
        for key, _ in selector.select(timeout=0.1):
            try:
                if key.data.receive():
                    key.data.send()
            except OSError:
                key.data.failed += 1
                selector.unregister(key.data.socket)
    elapsed = time.perf_counter() - started
    answered = sum(connection.answered for connection in opened)
    print(answered, sum(connection.failed for connection in opened), elapsed)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
