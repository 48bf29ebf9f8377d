"""The keeper's connections: limited waits, no password in an error, only the server it wants."""

from __future__ import annotations

import signal
import socket
import threading
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import psycopg
import pytest

from keeper import database
from keeper.__main__ import do
from keeper.database import (
    ADVISORY_LOCK,
    Administration,
    LimitedConnection,
    Login,
    Server,
    administer,
    check_name,
    ensure_database,
)
from keeper.folder_secrets import FolderSecrets
from keeper.keeper import Keeper
from keeper.plan import Plan
from secret_files import Redactor, Secret
from tests.faults import no_more_files
from tools.local.place import plan_for
from tools.local.server import OwnServer, own_server


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnServer]:
    with own_server(tmp_path_factory.mktemp("own")) as server:
        yield server


@pytest.fixture
def standby(own: OwnServer, tmp_path: Path) -> Iterator[OwnServer]:
    """Return a server that only reads, and does not learn what comes after the copy."""
    with own.standby(tmp_path / "standby") as standby:
        standby.execute("SELECT pg_wal_replay_pause()")
        yield standby


@pytest.fixture
def plan(own: OwnServer, tmp_path: Path) -> Iterator[Plan]:
    """Return what to fill on that server: a database of its own."""
    objects = FolderSecrets(tmp_path)
    login = own.administrator
    values = {"username": login.user, "password": login.password.reveal()}
    objects.patch(objects.get("admin"), values)
    yield plan_for(replace(own.server, database="sales"))
    own.execute(
        "DROP DATABASE IF EXISTS sales", "DROP ROLE IF EXISTS sales_a, sales_b, sales_service"
    )


def test_a_login_at_a_stopped_server_has_a_limit_and_is_no_refusal(
    own: OwnServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "KEEPALIVES", {**database.KEEPALIVES, "connect_timeout": 2})
    with own.frozen(), pytest.raises(psycopg.OperationalError, match="timeout expired"):
        own.server.accepts(own.administrator)


class Stop:
    """Freezes the server once, before the keeper sets a password."""

    def __init__(self, own: OwnServer, monkeypatch: pytest.MonkeyPatch) -> None:
        self.problem = ""
        #: Whether the server goes on when the keeper has given the statement up.
        self.goes_on = False
        self.frozen = ExitStack()
        set_password = Administration._set_password

        def stop(administration: Administration, login: Login, right: str) -> None:
            if not self.problem:
                administration._connection.limit_seconds = 0.5
                self.frozen.enter_context(own.frozen())
            try:
                set_password(administration, login, right)
            except psycopg.OperationalError as error:
                self.problem = str(error)
                if self.goes_on:
                    self.frozen.close()
                raise

        monkeypatch.setattr(Administration, "_set_password", stop)


@pytest.fixture
def stop(own: OwnServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stop]:
    stop = Stop(own, monkeypatch)
    with stop.frozen:
        yield stop


def test_a_keeper_whose_server_stops_ends_with_1_and_says_so(
    plan: Plan, tmp_path: Path, stop: Stop, caplog: pytest.LogCaptureFixture
) -> None:
    command = Namespace(command="run")
    assert do(command, lambda: FolderSecrets(tmp_path), plan, Redactor()) == 1
    assert stop.problem == "the database did not answer within 0.5 s: the connection is closed"
    assert stop.problem in caplog.text


def test_a_keeper_waits_for_a_server_that_goes_on(plan: Plan, tmp_path: Path, stop: Stop) -> None:
    stop.goes_on = True
    Keeper(FolderSecrets(tmp_path), replace(plan, wait_seconds=60), Redactor()).run()
    assert "did not answer" in stop.problem
    assert FolderSecrets(tmp_path).get("secrets").has("DATABASE_PASSWORD")


def test_the_wait_for_another_keeper_has_a_longer_limit(
    own: OwnServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LimitedConnection, "limit_seconds", 0.5)
    with own.server.connect(own.administrator) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [ADVISORY_LOCK])
        started = time.monotonic()
        with (
            pytest.raises(psycopg.errors.LockNotAvailable),
            administer(own.server, own.administrator, 1),
        ):
            pass
    assert time.monotonic() - started >= 1
    with administer(own.server, own.administrator, 1) as administration:
        assert administration._connection.limit_seconds == 0.5


def test_a_lock_of_somebody_else_is_told_by_the_server_before_the_limit(
    own: OwnServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert database.LOCK_SECONDS < database.ANSWER_SECONDS
    monkeypatch.setattr(database, "LOCK_SECONDS", 0.2)
    with (
        administer(own.server, own.administrator, 60) as administration,
        own.server.connect(own.administrator) as other,
    ):
        other.execute("SELECT pg_advisory_lock(1)")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            administration._connection.execute("SELECT pg_advisory_lock(1)")


PASSWORD = "hunter2-5d4f1a88c0e94b21-pw"  # pragma: allowlist secret


def reachable(error: BaseException) -> Iterator[object]:
    """Yield what an error reporter can get at from an exception: arguments, and each local."""
    seen: list[BaseException | None] = [error]
    for one in seen:
        if one is None:
            continue
        yield from (one.args, vars(one))
        trace = one.__traceback__
        while trace:
            if trace.tb_frame.f_code.co_filename != __file__:
                yield trace.tb_frame.f_locals
            trace = trace.tb_next
        seen += [other for other in (one.__cause__, one.__context__) if other not in seen]


def assert_hides(error: BaseException, password: str) -> None:
    shown = [repr(one) for one in reachable(error)]
    assert not [text for text in shown if password in text]
    assert not [one for one in (error.__cause__, error.__context__) if one]
    assert getattr(error, "pgconn", None) is None


@pytest.mark.parametrize(
    ("changes", "password", "reason"),
    [
        ({"host": "db..example"}, PASSWORD, "'db..example' failed: UnicodeError"),
        ({"host": "127.0.0.1", "port": 1}, PASSWORD, "Connection refused"),
        ({}, PASSWORD, "password authentication failed"),
        ({}, PASSWORD + "\udcff", "failed: UnicodeEncodeError"),
        ({}, PASSWORD + "\0", "failed: "),
    ],
    ids=["a name", "no server", "refused", "a surrogate", "a null byte"],
)
def test_no_failed_login_holds_the_password(
    own: OwnServer, changes: dict[str, Any], password: str, reason: str
) -> None:
    server = replace(own.server, **changes)
    with pytest.raises(psycopg.OperationalError, match=reason) as caught:
        server.connect(Login("postgres", Secret("password", password)))
    assert_hides(caught.value, PASSWORD)


def test_a_password_in_the_text_of_an_error_is_redacted(own: OwnServer) -> None:
    server = replace(own.server, sslmode=PASSWORD)
    with pytest.raises(psycopg.OperationalError) as caught:
        server.connect(Login("postgres", Secret("password", PASSWORD)))
    assert str(caught.value) == 'connection is bad: invalid sslmode value: "[redacted]"'


def test_a_login_without_a_file_left_does_not_hold_the_password() -> None:
    server = Server("localhost", 1, "postgres", "disable")
    login = Login("postgres", Secret("password", PASSWORD))
    with no_more_files(), pytest.raises(psycopg.OperationalError) as caught:
        server.connect(login)
    assert_hides(caught.value, PASSWORD)


@pytest.mark.parametrize("origin", [OSError(24, "Too many open files", PASSWORD), MemoryError()])
def test_no_error_of_another_kind_holds_the_password(
    own: OwnServer, monkeypatch: pytest.MonkeyPatch, origin: Exception
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise origin

    monkeypatch.setattr(LimitedConnection, "_connect_gen", fail)
    with pytest.raises(
        psycopg.OperationalError, match=r"Too many open files|MemoryError"
    ) as caught:
        own.server.connect(Login("postgres", Secret("password", PASSWORD)))
    assert_hides(caught.value, PASSWORD)


def test_an_interrupted_login_does_not_hold_the_password(own: OwnServer) -> None:
    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with own.frozen(), pytest.raises(KeyboardInterrupt) as caught:
            signal.setitimer(signal.ITIMER_REAL, 0.3)
            own.server.connect(Login("postgres", Secret("password", PASSWORD)))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert_hides(caught.value, PASSWORD)


def test_a_server_that_asks_for_the_password_in_clear_text_does_not_get_it(own: OwnServer) -> None:
    with own.first_rule("local all all password"):
        assert replace(own.server, require_auth="password").accepts(own.administrator)
        with pytest.raises(psycopg.OperationalError, match="cleartext password"):
            own.server.connect(own.administrator)
    assert own.server.accepts(own.administrator)


def test_without_tls_a_channel_can_not_be_bound_and_nothing_is_sent(own: OwnServer) -> None:
    bound = replace(own.server, channel_binding="require")
    with pytest.raises(psycopg.OperationalError, match="channel binding required"):
        bound.connect(own.administrator)


def test_a_server_that_takes_no_writes_is_no_refusal(own: OwnServer, standby: OwnServer) -> None:
    only_reads = replace(own.server, host=standby.host)
    with pytest.raises(psycopg.OperationalError, match="session is read-only"):
        only_reads.accepts(own.administrator)
    with pytest.raises(psycopg.OperationalError, match="server is in hot standby mode"):
        replace(only_reads, target_session_attrs="primary").accepts(own.administrator)
    assert replace(only_reads, target_session_attrs="any").accepts(own.administrator)


def test_of_several_hosts_the_one_that_takes_writes_is_administered(
    own: OwnServer, plan: Plan, standby: OwnServer, tmp_path: Path
) -> None:
    both = f"{standby.host},{own.server.host}"
    plan = replace(plan, server=replace(plan.server, host=both))
    Keeper(FolderSecrets(tmp_path), plan, Redactor()).run()
    with administer(plan.server, own.administrator, 1) as administration:
        assert administration._server.host == own.server.host
        # the standby knows of neither role, and would be a refusal, or take nobody
        administration.let_in(login := Login("sales_b", Secret("password", PASSWORD)))
        assert administration.accepts(login)
        administration.lock_out("sales_b")


def test_the_first_of_several_hosts_is_asked_for_its_certificate() -> None:
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            listener.settimeout(5)
            connection, _ = listener.accept()
            with connection:
                asked.append(connection.recv(8))
                connection.sendall(b"N")

        thread = threading.Thread(target=answer)
        thread.start()
        host, port = listener.getsockname()
        with pytest.raises(ConnectionRefusedError, match="no TLS"):
            Server(f"{host},other.example", port, "postgres", "verify-full").certificate()
        thread.join()
    assert asked == [database.SSL_REQUEST]


def test_a_database_that_takes_nobody_is_not_made_again(own: OwnServer) -> None:
    own.execute("CREATE DATABASE closed", "ALTER DATABASE closed ALLOW_CONNECTIONS false")
    try:
        with pytest.raises(psycopg.OperationalError, match="not currently accepting connections"):
            ensure_database(replace(own.server, database="closed"), own.administrator)
    finally:
        own.execute("DROP DATABASE closed")


def test_the_longest_name_of_a_database_makes_three_roles(
    own: OwnServer, plan: Plan, tmp_path: Path
) -> None:
    name = "x" * 55
    plan = replace(plan, server=replace(plan.server, database=name))
    try:
        for _ in range(2):
            Keeper(FolderSecrets(tmp_path), plan, Redactor()).run()
        found = own.execute("SELECT rolname FROM pg_roles WHERE rolname LIKE 'xx%'")
        assert {row[0] for row in found} == {f"{name}_a", f"{name}_b", f"{name}_service"}
    finally:
        own.execute(f"DROP DATABASE {name}", f"DROP ROLE {name}_a, {name}_b, {name}_service")


@pytest.mark.parametrize(("name", "length"), [("x" * 56, 56), ("ä" * 28, 56), ("x" * 62, 62)])
def test_a_longer_name_of_a_database_is_a_sentence(name: str, length: int) -> None:
    with pytest.raises(ValueError, match=f"must have at most 55 bytes, not {length}: .*_service"):
        check_name(name)
    check_name("ä" * 27)
