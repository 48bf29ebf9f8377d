"""A database that goes away, hangs or fails over: what needs it gets 503, the rest goes on."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from tests import items
from tests.faults import dropped
from tools.local.server import Address, OwnServer, own_server
from tools.service import Answer, Service

#: In seconds: the longest wait for an answer, and for the first good one after an outage.
ANSWER = 15
BACK = 10


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnServer]:
    with own_server(tmp_path_factory.mktemp("own")) as server:
        items.create_table(server.database)
        yield server


def ask_at_once(service: Service, paths: list[str]) -> list[Answer]:
    with ThreadPoolExecutor(len(paths)) as pool:
        return list(pool.map(lambda path: service.ask(path), paths))


#: Something that reads from the database, and something that writes.
READS = items.PATH
WRITE = items.PATH
ITEM = json.dumps({"text": "written after a failover"}).encode()


def fill_pool(service: Service, server: OwnServer) -> None:
    """Have the service open as many connections as requests can hold."""
    for _ in range(20):
        if len(server.sessions()) >= 8:
            return
        ask_at_once(service, [READS] * 32)
    raise AssertionError(f"{len(server.sessions())} connections were opened")


@pytest.fixture
def service(
    serve: Callable[..., Service], server: OwnServer, wait_for: Callable[..., None]
) -> Service:
    service = serve(items.CONFIG, **server.settings)
    wait_for(lambda: service.ask("/readyz").status == 200, "the start")
    return service


def lost(service: Service, reason: str) -> float:
    name = f'database_connections_lost_total{{reason="{reason}"}}'
    return float(re.findall(rf"(?m)^{re.escape(name)} (\S+)", service.metrics())[0])


def test_connections_of_stopped_sessions_are_replaced(service: Service, server: OwnServer) -> None:
    """The kernel of a stopped process goes on to acknowledge: no option of TCP notices."""
    fill_pool(service, server)
    with server.frozen(server.sessions()):
        answers = ask_at_once(service, [READS] * 10)
    assert {answer.status for answer in answers} == {200}
    assert max(answer.seconds for answer in answers) < ANSWER
    assert lost(service, "timeout") >= 1
    assert "did not answer within 3 s" in service.output.read_text()


def test_connections_to_a_lost_host_are_replaced(service: Service, server: OwnServer) -> None:
    fill_pool(service, server)
    with dropped(server.port, *server.client_ports()):
        answers = ask_at_once(service, [READS] * 10)
        assert {answer.status for answer in answers} == {200}
        assert max(answer.seconds for answer in answers) < ANSWER
    assert lost(service, "timeout") + lost(service, "broken") >= 1


@contextmanager
def clients(service: Service, number: int) -> Iterator[list[Answer]]:
    """Have clients ask for something of the database all the time."""
    answers: list[Answer] = []
    done = threading.Event()

    def go_on() -> None:
        while not done.is_set():
            answers.append(service.ask(READS))
            done.wait(0.05)

    threads = [threading.Thread(target=go_on) for _ in range(number)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        done.set()
        for thread in threads:
            thread.join()


def test_a_database_that_never_answers_holds_up_nothing_else(
    service: Service, server: OwnServer, wait_for: Callable[..., None]
) -> None:
    fill_pool(service, server)
    with clients(service, 20) as answers:
        with server.frozen():
            frozen_at = time.monotonic()
            began = len(answers)
            others: list[Answer] = []
            while time.monotonic() < frozen_at + 12:
                others += [service.ask(path) for path in ("/livez", "/static/style.css")]
                time.sleep(0.1)
            during = answers[began:]
        thawed_at = time.monotonic()
        wait_for(lambda: answers[-1].status == 200, "an answer")
        back = time.monotonic() - thawed_at
    assert back < BACK
    assert {answer.status for answer in others} == {200}
    assert max(answer.seconds for answer in others) < 2
    statuses = [answer.status for answer in during]
    assert set(statuses) <= {200, 503}
    assert statuses.count(503) > 50
    assert max(answer.seconds for answer in during) < ANSWER
    # once it is known, most are told at once
    assert sorted(answer.seconds for answer in during)[len(during) // 2] < 0.5
    log = service.output.read_text()
    assert log.count("the database can't be reached, what needs it") == 1
    assert log.count("the database can be reached again") == 1


def test_a_host_that_drops_everything_is_the_same(
    service: Service, server: OwnServer, wait_for: Callable[..., None]
) -> None:
    fill_pool(service, server)
    with clients(service, 20) as answers:
        with dropped(server.port):
            time.sleep(12)  # as long as it is away
            began = [answer.status for answer in answers[-20:]]
        back_at = time.monotonic()
        wait_for(lambda: answers[-1].status == 200, "an answer")
        assert time.monotonic() - back_at < BACK
    assert set(began) == {503}
    assert {answer.status for answer in answers} <= {200, 503}
    assert max(answer.seconds for answer in answers) < ANSWER


@pytest.fixture(scope="module")
def standby(server: OwnServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnServer]:
    with server.standby(tmp_path_factory.mktemp("standby")) as standby:
        yield standby


def test_the_next_write_succeeds_after_a_failover(
    serve: Callable[..., Service],
    server: OwnServer,
    standby: OwnServer,
    wait_for: Callable[..., None],
) -> None:
    """The address leads to a standby, and then to the primary again."""
    with Address(server) as address:
        service = serve(items.CONFIG, **server.settings | {"DATABASE_PORT": str(address.port)})
        wait_for(lambda: service.ask(WRITE, ITEM).status == 201, "the first write")
        address.lead_to(standby)
        assert service.ask(WRITE, ITEM).status == 503
        assert service.ask(READS).status == 503
        address.lead_to(server, cut_off=False)  # a pool that stays on the standby stays there
        assert service.ask(WRITE, ITEM).status == 201
    assert "Traceback" not in service.output.read_text()


def test_of_several_hosts_the_primary_is_used(
    serve: Callable[..., Service],
    server: OwnServer,
    standby: OwnServer,
    wait_for: Callable[..., None],
) -> None:
    for hosts in ((standby, server), (server, standby)):
        names = ",".join(host.address for host in hosts)
        service = serve(items.CONFIG, **server.settings | {"DATABASE_HOST": names})
        wait_for(lambda s=service: s.ask(WRITE, ITEM).status == 201, "a write")


def test_a_session_that_became_read_only_is_replaced(
    service: Service, server: OwnServer, wait_for: Callable[..., None]
) -> None:
    """It answers a ping, and each write on it fails."""
    assert service.ask(WRITE, ITEM).status == 201
    before = lost(service, "read_only")
    server.execute("ALTER SYSTEM SET default_transaction_read_only = on")
    try:
        server.execute("SELECT pg_reload_conf()")
        wait_for(lambda: service.ask(WRITE, ITEM).status == 503, "a refusal")
    finally:
        server.execute("ALTER SYSTEM RESET default_transaction_read_only")
    server.execute("SELECT pg_reload_conf()")
    wait_for(lambda: service.ask(WRITE, ITEM).status == 201, "a write")
    assert lost(service, "read_only") > before
    assert "Traceback" not in service.output.read_text()
