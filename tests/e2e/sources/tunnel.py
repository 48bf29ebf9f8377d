"""A way from this machine to what the cluster alone reaches: a `kubectl exec` for each connection.

`kubectl port-forward` ends as a whole when one of its connections is reset, as psql's are.
"""

from __future__ import annotations

import socketserver
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.e2e.sources import vault
from tools.cluster.client import Cluster

#: Its arguments say where to.
RELAY = """
import os, socket, sys, threading
there = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=10)
there.settimeout(None)

def back():
    with open(1, "wb", buffering=0) as here:
        while data := there.recv(65536):
            here.write(data)
    os._exit(0)

thread = threading.Thread(target=back)
thread.start()
while data := os.read(0, 65536):
    there.sendall(data)
there.shutdown(socket.SHUT_WR)
thread.join()
"""


@contextmanager
def tunnel(cluster: Cluster, host: str, port: int) -> Iterator[int]:
    """Open a port of this machine that leads to one that the pod of Vault's stand-in reaches."""
    relay = ("python", "-c", RELAY, host, str(port))
    command = cluster.command("exec", "--stdin", vault.NAME, "--", *relay)
    environment = cluster.environment()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            here = self.request
            subprocess.run(
                command, env=environment, stdin=here, stdout=here, stderr=subprocess.DEVNULL
            )

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()
