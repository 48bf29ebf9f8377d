"""Pods that answer, and pods that don't: one of them holds up neither the others nor the keeper."""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from app.core import management
from app.core.metrics import Metrics
from keeper import pods
from keeper.certificates import der, new_authority, new_certificate
from keeper.plan import Service
from keeper.pods import Pod, Pods, PodsBehind

pytestmark = pytest.mark.skipif(
    sys.platform == "darwin", reason="macOS has one loopback address, and no second pod"
)

ROOT = Path(__file__).parents[2]

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def answer(generation: float | str, name: str = "", status: str = "200 OK") -> bytes:
    """Return what a pod answers over HTTP, as prometheus_client writes it."""
    info = f'# TYPE pod_info gauge\npod_info{{pod="{name}"}} 1.0\n' if name else ""
    return (
        f"HTTP/1.0 {status}\r\nContent-Type: text/plain\r\n\r\n"
        f"{info}# TYPE secrets_generation gauge\nsecrets_generation {generation}\n"
    ).encode()


def says(text: bytes) -> Handler:
    """Return a pod that reads a request and answers with this."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(text)
        await writer.drain()

    return handle


async def never_answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()  # until the one who asks gives up


async def closes_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    pass


async def without_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.write(answer(7, status="400 Bad Request"))


async def drips(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer a good answer, so slowly that each byte seems to be the last but one."""
    for byte in answer(7):
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.05)


class Cluster:
    """Pods with an address each and one port, as those behind a headless Service."""

    def __init__(self) -> None:
        self.addresses: list[str] = []
        self.port = 0
        self._servers: list[asyncio.Server] = []
        self._writers: list[asyncio.StreamWriter] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def add(self, handler: Handler, context: ssl.SSLContext | None = None) -> str:
        """Start a pod, and return its address."""
        address = f"127.2.0.{len(self.addresses) + 1}"

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._writers.append(writer)
            with suppress(OSError, asyncio.IncompleteReadError):
                await handler(reader, writer)
            writer.close()

        server = self._call(asyncio.start_server(handle, address, self.port, ssl=context))
        self.port = server.sockets[0].getsockname()[1]
        self._servers.append(server)
        self.addresses.append(address)
        return address

    def add_dead(self) -> str:
        """Add an address at which nothing listens."""
        self.addresses.append(f"127.2.0.{len(self.addresses) + 1}")
        return self.addresses[-1]

    def stop(self) -> None:
        async def stop() -> None:
            for server in self._servers:
                server.close()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            for writer in self._writers:
                # Python 3.11.2, that of Debian 12, knows no more what it has closed twice
                with suppress(AttributeError):
                    writer.transport.abort()
                with suppress(OSError):
                    await writer.wait_closed()

        self._call(stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """Return a cluster whose DNS shows all of its pods at once."""
    cluster = Cluster()
    monkeypatch.setattr(pods, "_addresses", lambda host: list(cluster.addresses))
    monkeypatch.setattr(pods, "PAUSE", 0.01)
    yield cluster
    cluster.stop()


def pods_of(cluster: Cluster, wait_seconds: float = 0, settle_seconds: float = 0) -> Pods:
    service = Service("pods", cluster.port, cluster.port, settle_seconds)
    return Pods(service, wait_seconds)


def look(cluster: Cluster) -> list[Pod]:
    return pods_of(cluster).look()


@pytest.fixture
def served() -> Iterator[Callable[[Metrics], int]]:
    """Return a function that serves metrics as the service does, and returns the port."""
    started: list[management.Server] = []

    def serve(metrics: Metrics) -> int:
        started.append(management.start("127.0.0.1", 0, metrics.registry, {}))
        return int(started[-1].server_address[1])

    yield serve
    for server in started:
        server.shutdown()
        server.server_close()


def test_a_pod_of_the_service_tells_its_name_and_its_generation(
    served: Callable[[Metrics], int],
) -> None:
    metrics = Metrics()
    metrics.secrets_generation.set(1_700_000_123)
    port = served(metrics)
    (pod,) = Pods(Service("127.0.0.1", port), 0).look()
    assert (pod.name, pod.generation) == (socket.gethostname(), 1_700_000_123)
    assert (pod.address, pod.problem) == ("127.0.0.1", "")
    assert Pods(Service("127.0.0.1", port), 0).wait_for_generation(1_700_000_123) == 1


@pytest.mark.parametrize(
    ("series", "role"),
    [
        (['{role="shop_a"} 1.0'], "shop_a"),
        (['{role="v-token-shop-Xq7"} 1.0'], "v-token-shop-Xq7"),
        ([], ""),
        (['{role=""} 1.0'], ""),
        (['{role="a\\"b"} 1.0'], ""),
        (['{role="shop_a"} 1.0', '{role="shop_b"} 1.0'], ""),
    ],
    ids=["one", "another one's", "an old service", "empty", "escaped", "two"],
)
def test_a_pod_tells_its_role_or_nothing_and_is_no_problem_without(
    cluster: Cluster, series: list[str], role: str
) -> None:
    lines = "".join(f"database_role_info{one}\n" for one in series)
    cluster.add(says(answer(7, "shop-0") + lines.encode()))
    (pod,) = look(cluster)
    assert (pod.name, pod.generation, pod.role, pod.problem) == ("shop-0", 7, role, "")


@pytest.mark.parametrize(
    ("handler", "problem"),
    [
        (never_answers, "does not answer within 0.3 s"),
        (drips, "does not answer within 0.3 s"),
        (closes_at_once, "does not answer"),
        (says(answer(7, status="500 Internal Server Error")), "does not answer with its metrics"),
        (says(b"SSH-2.0-OpenSSH_9.2\r\n"), "does not answer with its metrics"),
        (says(answer(7) + b"\xff\xfe"), "does not answer with its metrics"),
        (says(answer("1.7.3e")), "does not answer with its metrics"),
        (says(answer(7) + b"x" * pods.MAX_BYTES), "does not answer with its metrics"),
        (says(answer("NaN", "shop-1")), "does not tell its generation"),
        (says(answer("1e999", "shop-1")), "does not tell its generation"),
        (says(b"HTTP/1.0 200 OK\r\n\r\n"), "does not tell its generation"),
    ],
    ids=[
        *("never answers", "drips", "closes", "500", "something else", "not UTF-8"),
        *("no number", "too long", "not a number", "infinite", "empty"),
    ],
)
def test_a_pod_that_misbehaves_has_a_problem_and_holds_up_no_other(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, handler: Handler, problem: str
) -> None:
    monkeypatch.setattr(pods, "ANSWER_SECONDS", 0.3)
    cluster.add(says(answer(7, "shop-0")))
    cluster.add(handler)
    started = time.monotonic()
    good, bad = look(cluster)
    assert time.monotonic() - started < 10
    assert (good.name, good.generation, good.problem) == ("shop-0", 7, "")
    assert bad.generation is None
    assert bad.problem.startswith(problem)
    assert str(bad).endswith(bad.problem)


def test_where_nothing_listens_it_says_so(cluster: Cluster) -> None:
    cluster.add(says(answer(7)))
    dead = cluster.add_dead()
    assert look(cluster)[1].generation is None
    assert str(look(cluster)[1]).startswith(f"{dead} does not answer: Connect call failed")


def test_a_pod_without_a_name_has_its_address(cluster: Cluster) -> None:
    address = cluster.add(says(answer(7)))
    named = cluster.add(says(answer(8, "shop-1")))
    assert list(map(str, look(cluster))) == [f"{address} has 7", f"shop-1 ({named}) has 8"]


def test_all_that_have_it_are_counted(cluster: Cluster) -> None:
    for number in range(3):
        cluster.add(says(answer(1_700_000_000, f"shop-{number}")))
    assert pods_of(cluster).wait_for_generation(1_700_000_000) == 3


def test_one_that_follows_is_waited_for(cluster: Cluster) -> None:
    answers = iter([answer(6), answer(6)])

    async def follows(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await says(next(answers, answer(7)))(reader, writer)

    cluster.add(says(answer(7)))
    cluster.add(follows)
    assert pods_of(cluster, wait_seconds=20).wait_for_generation(7) == 2


def test_those_behind_are_named_and_no_other(cluster: Cluster) -> None:
    cluster.add(says(answer(7, "shop-0")))
    behind = cluster.add(says(answer(6, "shop-1")))
    ahead = cluster.add(says(answer(8, "shop-2")))
    with pytest.raises(PodsBehind) as caught:
        pods_of(cluster, wait_seconds=0.05).wait_for_generation(7)
    assert str(caught.value) == (
        "not every pod has generation 7 after 0.05 s: "
        f"shop-1 ({behind}) has 6, shop-2 ({ahead}) has 8"
    )


@pytest.mark.parametrize(("count", "end"), [(5, "shop-4 (127.2.0.5) has 6"), (7, " and 2 more")])
def test_five_are_named_and_the_others_counted(cluster: Cluster, count: int, end: str) -> None:
    for number in range(count):
        cluster.add(says(answer(6, f"shop-{number}")))
    with pytest.raises(PodsBehind) as caught:
        pods_of(cluster).wait_for_generation(7)
    assert str(caught.value).count("shop-") == 5
    assert str(caught.value).endswith(end)


def test_no_pods_are_not_all_pods(cluster: Cluster) -> None:
    assert look(cluster) == []
    with pytest.raises(PodsBehind, match=r"after 0\.05 s: pods has no pod"):
        pods_of(cluster, wait_seconds=0.05).wait_for_generation(7)


def test_a_name_that_dns_does_not_have_has_no_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    """A headless Service without a pod has no address."""

    def unknown(*arguments: object, **options: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert Pods(Service("pods", 9090), 0).look() == []


def test_dns_that_does_not_answer_is_not_no_pods(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*arguments: object, **options: object) -> None:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", away)
    found = Pods(Service("pods", 9090), 0)
    with pytest.raises(socket.gaierror):
        found.look()
    with pytest.raises(PodsBehind, match="pods can't be looked up: Temporary failure"):
        found.wait_for_generation(7)


def test_dns_may_come_back(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = iter([socket.EAI_AGAIN, socket.EAI_FAIL])
    cluster.add(says(answer(7)))

    def addresses(host: str) -> list[str]:
        for failure in failures:
            raise socket.gaierror(failure, "it is away")
        return cluster.addresses

    monkeypatch.setattr(pods, "_addresses", addresses)
    assert pods_of(cluster, wait_seconds=20).wait_for_generation(7) == 1


def test_a_pod_with_two_addresses_in_the_answer_is_asked_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = [(2, 1, 6, "", (address, 0)) for address in ("10.0.0.2", "10.0.0.1", "10.0.0.2")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **options: found)
    assert pods._addresses("pods") == ["10.0.0.1", "10.0.0.2"]


def test_a_pod_that_dns_shows_late_is_waited_for(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = time.time()
    late = published + 0.3  # as if the answer before had been kept until then

    async def follows(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await says(answer(7e9 if time.time() > late + 0.3 else 6))(reader, writer)

    cluster.add(says(answer(7e9)))
    cluster.add(follows)
    shown = lambda host: cluster.addresses[: 2 if time.time() > late else 1]  # noqa: E731
    monkeypatch.setattr(pods, "_addresses", shown)
    # its number is ahead of the clock: it can't have been published later than now
    found = pods_of(cluster, wait_seconds=20, settle_seconds=0.5)
    assert found.wait_for_generation(7_000_000_000) == 2
    assert time.time() > late + 0.3


def test_all_good_pods_are_looked_at_until_they_have_settled(cluster: Cluster) -> None:
    cluster.add(says(answer(7e9)))
    started = time.time()
    assert pods_of(cluster, settle_seconds=0.4).wait_for_generation(7_000_000_000) == 1
    assert time.time() - started >= 0.4


def test_a_clock_that_is_put_back_meanwhile_does_not_hold_it_up(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.add(says(answer(7e9)))
    started, now = time.monotonic(), time.time

    def put_back() -> float:
        return now() + (0 if time.monotonic() > started + 0.2 else 1e9)

    monkeypatch.setattr(time, "time", put_back)
    assert pods_of(cluster, settle_seconds=0.4).wait_for_generation(7_000_000_000) == 1
    assert time.monotonic() - started < 10


def test_what_was_published_long_ago_has_settled(cluster: Cluster) -> None:
    cluster.add(says(answer(1_700_000_000)))
    started = time.time()
    assert pods_of(cluster, settle_seconds=5).wait_for_generation(1_700_000_000) == 1
    assert time.time() - started < 2


def test_without_a_service_nobody_is_waited_for() -> None:
    nobody = Pods(None, 3600)
    assert nobody.wait_for_generation(7) == 0
    assert nobody.wait(lambda pod: False, nobody.certificates, "a certificate") == 0
    assert nobody.look() == nobody.certificates() == []


def test_the_certificate_that_is_served_is_seen(cluster: Cluster, tmp_path: Path) -> None:
    pair = new_certificate(new_authority("test CA"), ["localhost"])
    (tmp_path / "pem").write_text(pair.certificate + pair.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pem")
    cluster.add(never_answers, context)
    cluster.add(without_tls)
    cluster.add_dead()
    encrypted, *others = pods_of(cluster).certificates()
    assert encrypted.certificate == der(pair.certificate)
    assert str(encrypted) == "127.2.0.1 serves another certificate"
    for pod in others:
        assert pod.certificate == b""
        assert pod.problem.startswith("does not answer: ")


def test_where_there_is_no_tls_no_certificate_is_asked_for(cluster: Cluster) -> None:
    cluster.add(says(answer(7)))
    assert Pods(Service("pods", cluster.port), 0).certificates() == []
