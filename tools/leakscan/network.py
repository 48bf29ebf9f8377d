"""What goes over the network between a client, the service and its database."""

from __future__ import annotations

import struct
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final, NamedTuple

from .engine import Reading, Sample, Unreadable, place
from .node import running
from .target import Target

#: Runs the script that the first line of its input is, as a literal; the rest is for the script.
RUN: Final = "exec(eval(input()))"

#: Asks the service a few times, and prints the packets that have one of the addresses at an end,
#: each with its length. It ends with its input. All interfaces but the one of the node itself are
#: listened to: no pod is reached over that, and there is much to hear.
CAPTURE: Final = """
import select, socket, ssl, struct, sys, time
from concurrent.futures import ThreadPoolExecutor

def ask(line):
    context = ssl._create_unverified_context()
    with socket.create_connection(service, timeout=10) as plain:
        with context.wrap_socket(plain) as connection:
            head = "Host: localhost\\r\\nConnection: close\\r\\nContent-Length: 0\\r\\n\\r\\n"
            connection.sendall(f"{line} HTTP/1.1\\r\\n{head}".encode())
            while connection.recv(65536):
                pass

def interface(name):
    heard = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM)
    heard.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    heard.bind((name, 3))
    return heard

heard = [interface(name) for _, name in socket.if_nameindex() if name != "lo"]
requests = ("GET /", "GET /status", "POST /status")
asked = [ThreadPoolExecutor().submit(ask, line) for line in requests]
print("ready", flush=True)
until, listening, found = time.monotonic() + 60, [sys.stdin, *heard], []
while time.monotonic() < until:
    ready, _, _ = select.select(listening, [], [], 0.3)
    for one in ready:
        if one is sys.stdin:
            listening.remove(one)
            until = min(until, time.monotonic() + 5)
            continue
        try:
            packet = one.recv(65536)
        except OSError:  # its pod is gone
            listening.remove(one)
            continue
        ends = packet[12:20] if packet[0] >> 4 == 4 else packet[8:40]
        if {ends[: len(ends) // 2], ends[len(ends) // 2 :]} & addresses:
            found.append(struct.pack(">I", len(packet)) + packet)
    if not ready and sys.stdin not in listening and all(one.done() for one in asked):
        break
for one in asked:
    one.result()
for one in heard:
    _, dropped = struct.unpack("II", one.getsockopt(263, 6, 8))
    assert not dropped, "there were more packets than could be read"
sys.stdout.buffer.write(b"".join(found))
"""

#: Logs in to the database as the service does, in one of its pods.
LOG_IN: Final = """
from app import create_app
print("reached:", create_app().extensions["database"].reached())
"""

#: The ports of the service's pods and of the database.
SERVICE: Final = 8443
DATABASE: Final = 5432

#: How a TLS record of a handshake begins, and how much PostgreSQL puts before the first one.
HANDSHAKE: Final = b"\x16\x03"
BEFORE: Final = 8

#: By their numbers in the IP header.
PROTOCOLS: Final = {6: "TCP", 17: "UDP"}

#: How long the capture is waited for, in seconds.
ENDED: Final = 90


class Flow(NamedTuple):
    """One direction of a connection."""

    protocol: str
    source: str
    source_port: int
    destination: str
    destination_port: int

    def __str__(self) -> str:
        source = f"{self.source} port {self.source_port}"
        return f"{self.protocol} {source} to {self.destination} port {self.destination_port}"


@dataclass
class Capture:
    """What was sent, by its flow, and in a flow by the place that a packet has in it."""

    payloads: dict[Flow, dict[int, bytes]] = field(default_factory=dict)

    def take(self, packet: bytes) -> None:
        """Add a packet; one of TCP is seen on several interfaces, and counts once."""
        flow, number, payload = _parsed(packet)
        sent = self.payloads.setdefault(flow, {})
        number = len(sent) if number is None else number
        sent[number] = max(payload, sent.get(number, b""), key=len)

    def flows(self) -> Iterator[tuple[Flow, bytes]]:
        """Give what was sent in each flow, in the order in which it was sent."""
        for flow, payloads in self.payloads.items():
            yield flow, b"".join(payload for _, payload in sorted(payloads.items()))


@place("network", "packets")
def packets(target: Target) -> Reading:
    """What goes to and from the pods and the service, with requests and logins of that moment."""
    cluster = target.cluster
    services = {one["metadata"]["name"]: one["spec"] for one in cluster.objects("services")}
    address = services[cluster.fullname]["clusterIP"]
    addresses = {pod["status"]["podIP"] for pod in running(target)} | {address}
    script = (
        f"service = {(address, services[cluster.fullname]['ports'][0]['port'])}\n"
        f"addresses = { {ip_address(one).packed for one in addresses} }\n{CAPTURE}"
    )
    capture = _captured(target, script)
    handshakes: Counter[tuple[str, int]] = Counter()
    for flow, payload in capture.flows():
        yield Sample(str(flow), payload)
        if HANDSHAKE in payload[: BEFORE + len(HANDSHAKE)]:
            handshakes["to", flow.destination_port] += 1
            handshakes["from", flow.source_port] += 1
    for port, name in ((SERVICE, "the service"), (DATABASE, "the database")):
        if not (handshakes["to", port] and handshakes["from", port]):
            raise Unreadable(f"no new TLS connection to {name} was captured")


def _captured(target: Target, script: str) -> Capture:
    """Capture for as long as a login takes."""
    command = (
        *("docker", "run", "--rm", "--interactive", "--pull", "never", "--user", "0"),
        *("--network", f"container:{target.cluster.control_plane}", "--cap-add", "NET_RAW"),
        *("--entrypoint", "python", target.image, "-c", RUN),
    )
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin
        assert process.stdout
        try:
            process.stdin.write(f"{script!r}\n".encode())
            process.stdin.flush()
            begun = process.stdout.readline()
            if begun and "reached: True" not in target.cluster.python(LOG_IN):
                raise Unreadable("a pod of the service can't log in to the database")
            told, errors = process.communicate(timeout=ENDED)
        finally:
            process.kill()
    if process.returncode:
        raise Unreadable(f"the capture failed: {errors[-500:].decode()}")
    capture = Capture()
    place = 0
    while place < len(told):
        (length,) = struct.unpack_from(">I", told, place)
        capture.take(told[place + 4 : place + 4 + length])
        place += 4 + length
    return capture


def _parsed(packet: bytes) -> tuple[Flow, int | None, bytes]:
    """Return a packet's flow, its place in it if it tells that, and what it carries."""
    if packet[0] >> 4 == 4:
        header, protocol = (packet[0] & 15) * 4, packet[9]
        whole = not struct.unpack_from(">H", packet, 6)[0] & 0x3FFF
        ends = packet[12:16], packet[16:20]
        packet = packet[: struct.unpack_from(">H", packet, 2)[0] or None]
    else:
        header, protocol, whole = 40, packet[6], True
        ends = packet[8:24], packet[24:40]
    source, destination = (str(ip_address(end)) for end in ends)
    content = packet[header:]
    # of anything else, all is searched
    if not whole or protocol not in PROTOCOLS:
        return Flow(f"IP protocol {protocol}", source, 0, destination, 0), None, content
    ports = struct.unpack_from(">HH", content)
    flow = Flow(PROTOCOLS[protocol], source, ports[0], destination, ports[1])
    if flow.protocol == "UDP":
        return flow, None, content[8:]
    (number,) = struct.unpack_from(">I", content, 4)
    return flow, number, content[(content[12] >> 4) * 4 :]
