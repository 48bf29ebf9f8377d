"""Leaks into what goes over the network."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Final

from tools.leakscan.network import RUN
from tools.leakscan.target import Target

from . import plants
from .processes import held, in_pod

#: Sends datagrams until the input ends; nobody has to take them.
DATAGRAMS: Final = """
import select, socket, sys
sender = socket.socket(socket.AF_INET6 if ":" in {address!r} else socket.AF_INET, socket.SOCK_DGRAM)
print("ready", flush=True)
while not select.select([sys.stdin], [], [], 0.2)[0]:
    sender.sendto({text!r}, ({address!r}, 9))
"""

#: A client that forgets TLS; what it asks for is cut into two packets.
IN_THE_CLEAR: Final = """
import select, socket, sys, time
print("ready", flush=True)
while not select.select([sys.stdin], [], [], 0.5)[0]:
    with socket.create_connection(({address!r}, 8443), timeout=10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall({text!r}[:40])
        time.sleep(0.05)
        connection.sendall({text!r}[40:])
        connection.recv(1)
"""


@plants("network: packets")
def datagram(target: Target, canary: str) -> Iterator[None]:
    """What a pod of the service sends to the database."""
    text = base64.b64encode(base64.b64encode(canary.encode()))
    address = _address(target, "database")
    with in_pod(target, DATAGRAMS.format(address=address, text=text)):
        yield


@plants("network: packets")
def request(target: Target, canary: str) -> Iterator[None]:
    """What a client sends to the service."""
    text = f"GET /?password={canary} HTTP/1.1\r\n\r\n".encode()
    script = IN_THE_CLEAR.format(address=_address(target, "service"), text=text)
    node = f"container:{target.cluster.control_plane}"
    run = ("docker", "run", "--rm", "--interactive", "--pull", "never", "--network", node)
    with held(target, script, *run, "--entrypoint", "python", target.image, "-c", RUN):
        yield


def _address(target: Target, component: str) -> str:
    pod = target.cluster.objects("pods", f"app.kubernetes.io/component={component}")[0]
    return str(pod["status"]["podIP"])
