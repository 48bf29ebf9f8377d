"""One connection: its limits, its time zone, and what a failed login leaves behind."""

from __future__ import annotations

import json
import os
import socket
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sentry_sdk
import sqlalchemy
from flask import Flask

from app.core import connection
from app.core.connection import LoginError, Silent, connect, libpq_options
from app.settings import Settings
from secret_files import Secret
from tests import items
from tests.conftest import Database
from tests.faults import no_more_files
from tests.mount import Mount
from tools.local.server import OwnServer, own_server

PASSWORD = "wrong-pw-5e0c7f93b2"  # pragma: allowlist secret
USER = Secret("DATABASE_USERNAME", "flask_app_a")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnServer]:
    with own_server(tmp_path_factory.mktemp("own")) as server:
        yield server


@pytest.fixture
def own_settings(server: OwnServer) -> Settings:
    return Settings.from_mapping(server.settings)


def password_of(root: Path) -> Secret:
    return Secret("DATABASE_PASSWORD", (root / "secrets" / "DATABASE_PASSWORD").read_text())


def log_in(settings: Settings) -> connection.LimitedConnection:
    return connect(libpq_options(settings), USER, password_of(settings.secrets_dir.parent))


def test_a_statement_is_limited_on_both_sides(own_settings: Settings, server: OwnServer) -> None:
    with closing(log_in(own_settings)) as found:
        assert found.execute("SHOW statement_timeout").fetchall() == [("8s",)]
        with pytest.raises(Silent, match=r"did not answer within 0\.3 s"), found.limited(0.3):
            found.execute("SELECT pg_sleep(60)")
        assert found.closed
    assert connection.STATEMENT_SECONDS < connection.ANSWER_SECONDS


@pytest.mark.skipif(sys.platform != "linux", reason="the options have other names elsewhere")
def test_a_lost_host_is_noticed(own_settings: Settings) -> None:
    with (
        closing(log_in(own_settings)) as found,
        socket.socket(fileno=os.dup(found.fileno())) as tcp,
    ):
        assert tcp.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 10_000
        assert tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 10
        assert tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 3
        assert tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 3


def test_several_hosts_share_the_time_of_a_login(settings: Settings) -> None:
    several = replace(settings, database_host="one.example,two.example")
    assert libpq_options(several)["connect_timeout"] == 2
    assert libpq_options(settings)["connect_timeout"] == 5


@pytest.fixture
def elsewhere(database: Database) -> Iterator[None]:
    """Let role and database ask for another time zone."""
    database.execute("ALTER ROLE flask_app_a SET timezone = 'America/New_York'")
    database.execute("ALTER DATABASE flask_app SET timezone = 'Asia/Kathmandu'")
    yield
    database.execute("ALTER ROLE flask_app_a RESET timezone")
    database.execute("ALTER DATABASE flask_app RESET timezone")


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("pooler", ["none", "session", "transaction"])
def test_times_are_in_utc(settings: Settings, pooler: str) -> None:
    with closing(log_in(replace(settings, database_pooler=pooler))) as found:
        assert found.execute("SHOW timezone").fetchall() == [("UTC",)]
        (row,) = found.execute("SELECT '2026-11-30 08:28:58-05'::timestamptz").fetchall()
        assert row[0].isoformat() == "2026-11-30T13:28:58+00:00"
        assert row[0].tzinfo is UTC


@pytest.mark.parametrize(
    ("stored", "loaded"),
    [
        ("infinity", datetime.max),
        ("-infinity", datetime.min),
        ("0044-03-15 12:00+00 BC", datetime.min),
        ("12026-11-30 12:00+00", datetime.max),
        ("9999-12-31 23:59:59.999999+00", datetime.max),
        ("0001-01-01 00:00+00", datetime.min),
    ],
)
def test_a_time_that_python_can_not_hold_is_the_nearest(
    settings: Settings, stored: str, loaded: datetime
) -> None:
    with closing(log_in(settings)) as found:
        rows = found.execute("SELECT %s::timestamptz", [stored]).fetchall()
    assert rows == [(loaded.replace(tzinfo=UTC),)]


#: What makes a login fail before the server has a word: the settings that differ.
FAULTS: dict[str, dict[str, Any]] = {
    "a wrong password": {},
    "a malformed host": {"database_host": "db..example"},
    "an endless host": {"database_host": f"{'a' * 64}.example"},
    "an unknown host": {"database_host": "db.invalid"},
    "no server": {"database_host": "127.0.0.1", "database_port": 1},
    "a malformed option": {"database_require_auth": "no-such-method"},
    "no certificate": {"database_ca_file": Path("/nowhere"), "database_sslmode": "verify-full"},
    "a NUL in the host": {"database_host": "db\0.example"},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_failed_login_holds_no_password(settings: Settings, fault: str) -> None:
    options = libpq_options(replace(settings, **FAULTS[fault]))
    with pytest.raises(LoginError) as caught:
        connect(options, USER, Secret("DATABASE_PASSWORD", PASSWORD))
    assert_harmless(caught.value)


def test_nor_does_one_without_a_file_to_open(settings: Settings) -> None:
    over_tcp = replace(settings, database_host="127.0.0.1", database_port=1)
    with pytest.raises(LoginError) as caught, no_more_files():
        connect(libpq_options(over_tcp), USER, Secret("DATABASE_PASSWORD", PASSWORD))
    assert_harmless(caught.value)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, MemoryError, RecursionError])
def test_nor_does_one_that_is_interrupted(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise kind(PASSWORD)

    monkeypatch.setattr(connection.LimitedConnection, "connect", fail)
    with pytest.raises((kind, LoginError)) as caught:
        connect(libpq_options(settings), USER, Secret("DATABASE_PASSWORD", PASSWORD))
    assert_harmless(caught.value)


def test_nor_does_one_that_fails_after_the_login(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "SESSION", {"no_such_setting": "x"})
    with pytest.raises(LoginError, match="no_such_setting") as caught:
        log_in(replace(settings, database_pooler="session"))
    assert_harmless(caught.value)


def assert_harmless(error: BaseException) -> None:
    """See that an error tracker would find no password, whatever it looks at."""
    found = traceback.TracebackException.from_exception(error, capture_locals=True)
    told = "".join(found.format()) + repr(error.args) + repr(vars(error))
    assert PASSWORD not in told
    assert error.__context__ is None


@pytest.fixture
def events() -> Iterator[list[Any]]:
    """Return what a real sentry-sdk, at its defaults, would send."""
    sent: list[Any] = []

    class Transport(sentry_sdk.Transport):
        def capture_envelope(self, envelope: Any) -> None:
            sent.extend(item.payload.json for item in envelope.items)

    sentry_sdk.init(dsn="https://key@sentry.example/1", transport=Transport)
    yield sent
    sentry_sdk.get_client().close()
    sentry_sdk.init()


@pytest.mark.parametrize("fault", ["a wrong password", "a malformed host"])
def test_an_error_tracker_gets_no_password(
    settings: Settings,
    mount: Mount,
    start: Callable[[Settings], Flask],
    events: list[Any],
    fault: str,
) -> None:
    mount.write({"DATABASE_PASSWORD": PASSWORD})
    app = start(replace(settings, secrets_dir=mount.folder, **FAULTS[fault]))
    client = app.test_client()
    assert client.get(items.PATH).status_code == 503
    assert client.get("/readyz").status_code == 503
    assert client.get("/status").get_json()["database"]["reached"] is False
    with pytest.raises(sqlalchemy.exc.OperationalError) as caught, app.app_context():
        app.extensions["database"].begin().__enter__()
    sentry_sdk.capture_exception(caught.value)
    assert events
    told = json.dumps(events, default=repr)
    assert "_login" in told  # frames, and what stands in them, are sent
    assert PASSWORD not in told


def test_without_that_care_it_does(settings: Settings, events: list[Any]) -> None:
    """The control: this is what psycopg alone does."""
    try:
        psycopg.connect(host="db..example", user="a", password=PASSWORD)
    except UnicodeError as error:
        sentry_sdk.capture_exception(error)
    assert PASSWORD in json.dumps(events, default=repr)


HINTS = {
    "DATABASE_PASSWORD": ("wrong-pw-93b25e0c\r", "DATABASE_PASSWORD ends with white space"),
    "DATABASE_USERNAME": ('"flask_app_a"', "DATABASE_USERNAME is in quotes"),
}


@pytest.mark.parametrize("name", HINTS)
def test_a_refused_pair_comes_with_a_hint(settings: Settings, name: str) -> None:
    value, phrase = HINTS[name]
    pair = {"DATABASE_USERNAME": "flask_app_a", "DATABASE_PASSWORD": PASSWORD}
    user, password = (Secret(key, text) for key, text in {**pair, name: value}.items())
    with pytest.raises(LoginError) as caught:
        connect(libpq_options(settings), user, password)
    assert caught.value.key == name
    assert phrase in str(caught.value)
    assert phrase in caught.value.summary


@pytest.mark.parametrize("asked", ["password", "trust"])
def test_a_server_that_asks_in_another_way_gets_nothing(
    server: OwnServer, own_settings: Settings, asked: str
) -> None:
    """One that asks for the password in clear text, or for none, could be anybody."""
    method = {"trust": "none"}.get(asked, asked)
    with server.first_rule(f"host all all 127.0.0.1/32 {asked}"):
        with pytest.raises(LoginError, match="authentication method requirement"):
            log_in(own_settings)
        log_in(replace(own_settings, database_require_auth=method)).close()
    log_in(own_settings).close()
