"""New connections have the current login, and a failed one holds no password."""

from __future__ import annotations

import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy
from flask import Flask
from sqlalchemy import NullPool, text

from app.core.database import POOL
from app.core.database import Database as ServiceDatabase
from app.secret_keys import KEYS
from app.settings import Settings
from secret_files import Folder, SecretError, SecretStore
from secret_files import store as store_module
from tests.conftest import Database
from tests.mount import SECRETS, Mount
from tests.rotation import ROLES, Rotation

WRONG = "wrong-pw-73feffa4b7f6bb68e44cf984c85f6e88"


def connect_to(settings: Settings, store: SecretStore) -> tuple[ServiceDatabase, list[str]]:
    failures: list[str] = []
    database = ServiceDatabase(settings, store, lambda: failures.append("login"))
    return database, failures


def test_a_failed_login_holds_no_password(settings: Settings, mount: Mount) -> None:
    mount.write({"DATABASE_PASSWORD": WRONG})
    database, failures = connect_to(settings, SecretStore(Folder(mount.folder, KEYS)))
    with pytest.raises(sqlalchemy.exc.OperationalError) as caught, database.begin():
        pass
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert "password authentication failed" in str(caught.value)
    assert WRONG not in "".join(shown.format())
    assert isinstance(caught.value.orig, psycopg.OperationalError)
    assert caught.value.orig.pgconn is None
    assert failures == ["login"]


def test_without_that_care_a_failed_login_shows_the_password(settings: Settings) -> None:
    """The control: this is what psycopg's own error does."""
    with pytest.raises(psycopg.OperationalError) as caught:
        psycopg.connect(
            host=settings.database_host,
            port=settings.database_port,
            user=SECRETS["DATABASE_USERNAME"],
            password=WRONG,
            dbname=settings.database_name,
        )
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert WRONG in "".join(shown.format())


@dataclass
class Service:
    """A database, its store, and what they reported."""

    database: ServiceDatabase
    store: SecretStore
    failures: list[str]
    rejected: list[SecretError]

    def role(self) -> str:
        """Ask the database who asks."""
        with self.database.begin() as connection:
            return str(connection.execute(text("SELECT current_user")).scalar_one())

    def session(self) -> int:
        """Ask the database which session this is."""
        with self.database.begin() as connection:
            return int(connection.execute(text("SELECT pg_backend_pid()")).scalar_one())


@pytest.fixture
def serve(settings: Settings, rotation: Rotation) -> Iterator[Callable[..., Service]]:
    """Return a function that connects with the pair that rotates; each is closed."""
    services: list[Service] = []

    def serve(check_seconds: float = 0, pool: Mapping[str, Any] = POOL, host: str = "") -> Service:
        store = SecretStore(Folder(rotation.mount.folder, KEYS), check_seconds)
        failures: list[str] = []
        rejected: list[SecretError] = []
        where = replace(settings, database_host=host or settings.database_host)
        database = ServiceDatabase(where, store, lambda: failures.append("login"), pool)
        store.on_reject.append(rejected.append)
        services.append(Service(database, store, failures, rejected))
        return services[-1]

    yield serve
    for service in services:
        service.database.engine.dispose()


def test_a_new_connection_has_the_new_login(
    serve: Callable[..., Service], rotation: Rotation
) -> None:
    service = serve(pool={"poolclass": NullPool})
    before = service.role()
    rotation.rotate()
    assert {before, service.role()} == set(ROLES)


def test_a_login_that_was_replaced_before_it_was_done_is_not_used(
    serve: Callable[..., Service], rotation: Rotation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a thread that stood still meanwhile: its role may be locked before it asks anything."""
    service = serve()
    login = ServiceDatabase._login

    def slowly(self: ServiceDatabase, *arguments: Any) -> Any:
        monkeypatch.setattr(ServiceDatabase, "_login", login)
        connection = login(self, *arguments)
        rotation.rotate()
        return connection

    monkeypatch.setattr(ServiceDatabase, "_login", slowly)
    assert service.role() == rotation.role()
    assert service.failures == []


def test_idle_connections_are_closed_when_a_generation_is_adopted(
    serve: Callable[..., Service], rotation: Rotation, wait_for: Callable[..., None]
) -> None:
    service = serve()
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(service.database.begin())
    rotation.rotate()
    assert rotation.sessions() == 3
    service.store.current()  # nobody asks the database for anything
    assert service.failures == []
    wait_for(lambda: rotation.sessions() == 0, "the end of the old role's sessions")


def test_closing_idle_connections_opens_none(
    serve: Callable[..., Service], rotation: Rotation, wait_for: Callable[..., None]
) -> None:
    service = serve()
    opened: list[object] = []
    sqlalchemy.event.listen(service.database.engine, "connect", lambda *new: opened.append(new))
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(service.database.begin())
    rotation.database.execute(  # one of them breaks meanwhile
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name = 'flask-app' LIMIT 1"
    )
    for _ in range(2):
        rotation.rotate()
        service.store.current()
    assert len(opened) == 3
    assert service.database.engine.pool.checkedin() == 3  # type: ignore[attr-defined]
    wait_for(lambda: rotation.sessions() == 0, "the end of the old role's sessions")
    assert service.role() == service.store.current()["DATABASE_USERNAME"].reveal()


def test_a_connection_in_use_ends_its_work_and_is_closed_then(
    serve: Callable[..., Service], rotation: Rotation, wait_for: Callable[..., None]
) -> None:
    service = serve()
    with service.database.begin() as connection:
        rotation.rotate()
        new = service.store.current()["DATABASE_USERNAME"].reveal()
        old = connection.execute(text("SELECT current_user")).scalar_one()
        assert old != new
        assert rotation.sessions() == 1
    wait_for(lambda: rotation.sessions() == 0, "the end of the old role's session")
    assert service.role() == new


def test_a_connection_that_was_not_closed_in_time_is_not_used_again(
    serve: Callable[..., Service], rotation: Rotation
) -> None:
    service = serve()
    old = service.role()
    service.store.on_adopt.clear()  # as between the publication and the announcement
    rotation.rotate()
    assert service.role() != old


def test_a_failed_login_is_tried_once_more_with_a_newer_generation(
    serve: Callable[..., Service], rotation: Rotation
) -> None:
    service = serve(check_seconds=3600)
    old = service.role()
    rotation.rotate()
    rotation.lock_out()
    assert service.role() != old
    assert service.failures == ["login"]
    assert service.session() == service.session()  # the connection is as new as it can be


def test_a_connection_that_broke_as_the_login_changed_is_replaced(
    serve: Callable[..., Service], rotation: Rotation
) -> None:
    service = serve()
    old = service.role()
    rotation.database.execute(
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{old}'"
    )
    sqlalchemy.event.listen(service.database.engine, "connect", rotate_once(rotation))
    assert service.role() in ROLES
    assert service.role() != old


def rotate_once(rotation: Rotation) -> Callable[..., None]:
    """Return a listener that publishes a new pair as soon as a connection is opened, once."""
    turns = iter([rotation.rotate])

    def rotate(*arguments: object) -> None:
        for turn in turns:
            turn()

    return rotate


def test_a_failed_login_without_a_newer_generation_fails_at_once(
    serve: Callable[..., Service], rotation: Rotation
) -> None:
    service = serve(check_seconds=3600, pool={"poolclass": NullPool})
    rotation.rotate()
    rotation.lock_out()
    rotation.mount.write({"DATABASE_PASSWORD": WRONG})
    with pytest.raises(sqlalchemy.exc.OperationalError):
        service.role()
    # its own login, and that of the generation which was refused, too
    assert service.failures == ["login", "login"]
    with pytest.raises(sqlalchemy.exc.OperationalError):
        service.role()
    assert service.failures == ["login"] * 3


def test_a_pair_that_the_database_refuses_is_not_adopted(
    serve: Callable[..., Service], rotation: Rotation, caplog: pytest.LogCaptureFixture
) -> None:
    service = serve()
    role = service.role()
    rotation.mount.write({"DATABASE_PASSWORD": WRONG})
    assert [service.role() for _ in range(3)] == [role] * 3
    assert [error.key for error in service.rejected] == ["DATABASE_PASSWORD"]
    reason = service.rejected[0].reason
    assert reason.startswith("can't be used, the database refuses the user name or the password: ")
    assert "password authentication failed" in reason
    assert "\n" not in reason
    errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 1
    assert WRONG not in errors[0]
    rotation.rotate()
    assert service.role() != role


def test_a_pair_that_can_not_be_tried_is_adopted_once_the_database_is_back(
    serve: Callable[..., Service],
    settings: Settings,
    rotation: Rotation,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    service = serve(host=str(tmp_path / "socket"))  # nobody listens there
    old = service.store.current()
    rotation.rotate()
    assert service.store.current() is old
    assert "the database can't be reached: connection" in service.rejected[0].reason
    (tmp_path / "socket").symlink_to(settings.database_host)
    assert service.role() == old["DATABASE_USERNAME"].reveal()  # the outage is over
    monkeypatch.setattr(store_module, "REFRESH_PAUSE", 0)
    assert service.store.refresh() is not old
    assert service.role() == service.store.current()["DATABASE_USERNAME"].reveal()


@pytest.fixture
def silent() -> Iterator[int]:
    """Return a port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_database_that_hangs_holds_up_one_thread_and_no_probe(
    settings: Settings, start: Callable[[Settings], Flask], rotation: Rotation, silent: int
) -> None:
    app = start(
        replace(
            settings,
            database_host="127.0.0.1",
            database_port=silent,
            secrets_dir=rotation.mount.folder,
        )
    )
    store = app.extensions["secrets"]
    rotation.rotate()
    trying = threading.Thread(target=store.current)
    trying.start()
    started = time.monotonic()
    for _ in range(3):
        assert app.test_client().get("/livez").status_code == 200
        store.current()
    assert time.monotonic() - started < 4
    assert trying.is_alive()
    trying.join(20)
    assert time.monotonic() - started < 10  # the login has 5 s


def test_a_probe_does_not_try_a_new_login(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise AssertionError("a probe asked the store")

    monkeypatch.setattr(app.extensions["secrets"], "current", fail)
    assert app.test_client().get("/livez").status_code == 200


def test_another_key_is_adopted_while_the_database_is_away(
    serve: Callable[..., Service], rotation: Rotation, tmp_path: Path
) -> None:
    service = serve(host=str(tmp_path))
    key = SECRETS["SECRET_KEY"][::-1]
    rotation.mount.write({"SECRET_KEY": key})
    assert service.store.current()["SECRET_KEY"].reveal() == key
    assert service.failures == []


def test_the_service_may_do_what_it_does_and_no_more(
    settings: Settings,
) -> None:
    service, _ = connect_to(settings, SecretStore(Folder(Path(settings.secrets_dir), KEYS)))
    for statement in (
        "DROP TABLE test_items",
        "ALTER TABLE test_items ADD COLUMN extra text",
        "TRUNCATE test_items",
        "DELETE FROM secret_events",
        "UPDATE secret_events SET origin = 'keeper'",
        "DELETE FROM secret_pods",
        "CREATE TABLE other (id int)",
        "CREATE ROLE other",
        "SELECT * FROM pg_authid",
    ):
        with (
            pytest.raises(
                sqlalchemy.exc.ProgrammingError, match=r"permission denied|must be owner"
            ),
            service.begin() as connection,
        ):
            connection.execute(sqlalchemy.text(statement))
    service.engine.dispose()


def test_a_pair_is_not_tried_in_an_outage(
    settings: Settings, rotation: Rotation, silent: int
) -> None:
    """The request that comes by may need no database, and a login takes 5 s."""
    store = SecretStore(Folder(rotation.mount.folder, KEYS), 0)
    where = replace(settings, database_host="127.0.0.1", database_port=silent)
    database = ServiceDatabase(where, store, lambda: None)
    with pytest.raises(sqlalchemy.exc.OperationalError), database.begin():
        pass
    rotation.rotate()
    started = time.monotonic()
    store.current()
    assert time.monotonic() - started < 2
    assert store.refused
    assert store.refused.summary == "can't be used, the database can't be reached"
    database.engine.dispose()


@pytest.fixture
def nine_connections(database: Database) -> Iterator[None]:
    """Let the server have as many connections for the service as one pod's pool."""
    database.execute("ALTER DATABASE flask_app CONNECTION LIMIT 9")
    yield
    database.execute("ALTER DATABASE flask_app CONNECTION LIMIT -1")


def hold(service: Service, number: int) -> ExitStack:
    """Use so many connections at once."""
    with ExitStack() as stack:
        for _ in range(number):
            stack.enter_context(service.database.begin())
        return stack.pop_all()


@pytest.mark.usefixtures("nine_connections")
def test_a_trial_login_takes_the_place_of_an_idle_connection(
    serve: Callable[..., Service], rotation: Rotation
) -> None:
    service = serve()
    with hold(service, 9):
        pass
    service.database._close_idle(service.store.current(), most=3)  # empty places are no connection
    with hold(service, 6):
        pass
    rotation.rotate()
    rotation.database.execute("ALTER DATABASE flask_app CONNECTION LIMIT 6")
    assert service.role() == rotation.role()
    assert service.failures == ["login"]  # the trial's first, before it had a place
    assert service.rejected == []
    rotation.database.execute("ALTER DATABASE flask_app CONNECTION LIMIT -1")
    with hold(service, 9):
        pass  # each place can be had again


def test_a_trial_login_without_a_place_says_so(
    serve: Callable[..., Service],
    rotation: Rotation,
    wait_for: Callable[..., None],
    request: pytest.FixtureRequest,
) -> None:
    service = serve()
    with hold(service, 9):
        rotation.rotate()
        request.getfixturevalue("nine_connections")
        service.store.current()
    (error,) = service.rejected
    assert error.reason.startswith("can't be used, the database has no connection left: ")
    assert "too many connections" in error.reason
    wait_for(lambda: service.role() == rotation.role(), "the next attempt")
