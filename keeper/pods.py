"""The pods of the service: which generation each of them has, and what it serves.

They are found by the DNS name of the headless Service and asked for their metrics, so that
the keeper needs no permission on pods.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from math import isfinite
from typing import Final

from .plan import Service

#: How long one pod may take to answer, in seconds.
ANSWER_SECONDS: Final = 2.0
#: So many are asked at once: each takes a file descriptor, and with TLS a third of a megabyte.
AT_ONCE: Final = 200
#: A longer answer is none of the service's.
MAX_BYTES: Final = 64 * 1024
#: Between the end of one look at all pods and the next, in seconds.
PAUSE: Final = 1.0
#: So many pods are named when they are behind.
MANY: Final = 5

#: prometheus_client gives these alone when they are asked for by name.
METRICS: Final = (
    "secrets_generation",
    "database_ca_expiry_timestamp_seconds",
    "database_role_info",
    "pod_info",
)


class PodsBehind(Exception):
    """Not every pod has what was published; the message names those which don't."""


@dataclass(frozen=True)
class Pod:
    """A pod as it answered, or why it did not."""

    address: str
    #: As the cluster calls it; its address, where it did not say.
    name: str
    #: What it said of itself; empty where it did not.
    metrics: dict[str, float]
    #: The database role that its new connections log in as; empty where it did not say.
    role: str = ""
    #: Its certificate in DER, where that was asked for.
    certificate: bytes = b""
    problem: str = ""

    @property
    def generation(self) -> int | None:
        """Return the generation of the secrets that it uses; None where it did not say."""
        found = self.metrics.get("secrets_generation")
        return None if found is None else int(found)

    def __str__(self) -> str:
        where = self.name if self.name == self.address else f"{self.name} ({self.address})"
        return f"{where} {self.problem or f'has {self.generation}'}"


class Pods:
    """All pods of the service, found anew each time.

    :param service: where they are; None: it does not run, and nobody is waited for.
    :param wait_seconds: how long to wait until all of them have what was published.
    """

    def __init__(self, service: Service | None, wait_seconds: float) -> None:
        self._service = service
        self._wait_seconds = wait_seconds

    @property
    def settle_seconds(self) -> float:
        """How long a pod may be there before it is found; see `Service`."""
        return self._service.settle_seconds if self._service else 0

    def look(self) -> list[Pod]:
        """Ask every pod for its metrics, at once, and return them in the order of their addresses.

        :raises OSError: the cluster's DNS does not answer.
        """
        return (
            self._ask(_scrape, self._service, self._service.metrics_port) if self._service else []
        )

    def certificates(self) -> list[Pod]:
        """Ask every pod for the certificate that it serves.

        :raises OSError: the cluster's DNS does not answer.
        """
        if not self._service or not self._service.tls_port:
            return []
        return self._ask(_handshake, self._service, self._service.tls_port)

    def wait_for_generation(
        self, generation: int, see_current: Callable[[], object] = lambda: None
    ) -> int:
        """Wait until every pod uses it, and return how many there are.

        :param see_current: called before each look; it raises what ends the wait.
        :raises PodsBehind: the time is over.
        """

        def look() -> list[Pod]:
            see_current()
            return self.look()

        return self.wait(
            lambda pod: pod.generation == generation,
            look,
            f"generation {generation}",
            # another keeper may have published it; its number is the time
            published=min(generation, time.time()),
        )

    def wait(
        self,
        has: Callable[[Pod], bool],
        look: Callable[[], list[Pod]],
        what: str,
        published: float | None = None,
    ) -> int:
        """Wait until every pod has it, those included that DNS does not show yet.

        :param published: when it was, in Unix seconds; now, where nobody says.
        :returns: how many pods there are.
        :raises PodsBehind: the time is over.
        """
        if not self._service:
            return 0
        deadline = time.monotonic() + self._wait_seconds
        settle = self._service.settle_seconds
        age = time.time() - published if published else 0
        # by a clock that nobody sets: the other one may be put back meanwhile
        settled = time.monotonic() + min(settle, max(0, settle - age))
        while True:
            try:
                pods = look()
            except OSError as error:
                pods, behind = [], f"{self._service.host} can't be looked up: {error.strerror}"
            else:
                late = [str(pod) for pod in pods if not has(pod)]
                if pods and not late and time.monotonic() >= settled:
                    return len(pods)
                more = f" and {len(late) - MANY} more" if len(late) > MANY else ""
                behind = ", ".join(late[:MANY]) + more
            if time.monotonic() > deadline and (behind or not pods):
                raise PodsBehind(
                    f"not every pod has {what} after {self._wait_seconds:g} s: "
                    + (behind or f"{self._service.host} has no pod")
                )
            time.sleep(PAUSE)

    def _ask(
        self, question: Callable[[str, int], Awaitable[Pod]], service: Service, port: int
    ) -> list[Pod]:
        addresses = _addresses(service.host)

        async def all_of_them() -> list[Pod]:
            at_once = asyncio.Semaphore(AT_ONCE)

            async def one(address: str) -> Pod:
                async with at_once:
                    return await _in_time(question, address, port)

            return await asyncio.gather(*map(one, addresses))

        return asyncio.run(all_of_them())


def _addresses(host: str) -> list[str]:
    """Return the address of every pod; none is an answer, too.

    :raises OSError: DNS does not answer.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        if error.errno in (socket.EAI_NONAME, socket.EAI_NODATA):
            return []
        raise
    return sorted({str(address[0]) for *_, address in found})


async def _in_time(question: Callable[[str, int], Awaitable[Pod]], address: str, port: int) -> Pod:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await question(address, port)
    except TimeoutError:
        problem = f"does not answer within {ANSWER_SECONDS:g} s"
    except OSError as error:
        problem = f"does not answer: {error.strerror or type(error).__name__}"
    except ValueError:
        problem = "does not answer with its metrics"
    return Pod(address, address, {}, problem=problem)


async def _scrape(address: str, port: int) -> Pod:
    reader, writer = await asyncio.open_connection(address, port)
    try:
        query = "&".join(f"name[]={name}" for name in METRICS)
        # HTTP/1.0: the answer ends with the connection
        writer.write(f"GET /metrics?{query} HTTP/1.0\r\nHost: {address}\r\n\r\n".encode())
        text = (await _read_all(reader)).decode()
    finally:
        writer.close()
    if not re.match(r"HTTP/1\.[01] 200 ", text):
        return Pod(address, address, {}, problem="does not answer with its metrics")
    name = _label("pod_info", "pod", text)
    role = _label("database_role_info", "role", text)
    found = re.findall(r"^([a-z_]+) ([-+.e0-9]+)$", text, re.MULTILINE)
    metrics = {metric: float(value) for metric, value in found if isfinite(float(value))}
    problem = "" if "secrets_generation" in metrics else "does not tell its generation"
    return Pod(address, name or address, metrics, role, problem=problem)


def _label(metric: str, label: str, text: str) -> str:
    """Return the value of a label, if there is one such series and it needs no escapes."""
    found = re.findall(rf'^{metric}\{{{label}="([^"\\]+)"\}}', text, re.MULTILINE)
    return found[0] if len(found) == 1 else ""


async def _read_all(reader: asyncio.StreamReader) -> bytes:
    text = b""
    while chunk := await reader.read(MAX_BYTES):
        text += chunk
        if len(text) > MAX_BYTES:
            raise ValueError("too long")
    return text


async def _handshake(address: str, port: int) -> Pod:
    # which certificate it is, is the question: no client is misled by the answer
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    _, writer = await asyncio.open_connection(address, port, ssl=context)
    try:
        served = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
    problem = "serves another certificate"
    return Pod(address, address, {}, certificate=served, problem=problem)
