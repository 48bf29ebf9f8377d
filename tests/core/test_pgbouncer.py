"""A real PgBouncer in front of the database, at its defaults, in both modes that are supported."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy
from sqlalchemy import text

from app.core.connection import LoginError
from app.core.database import Database as ServiceDatabase
from app.secret_keys import KEYS
from app.settings import Settings
from secret_files import Folder, SecretStore
from tests.load import THREADS, Load
from tests.mount import Mount
from tests.rotation import ROLES, Rotation, restore
from tools.local.postgres import _own, _unprivileged
from tools.local.server import OwnServer, own_server
from tools.service import free_port, listens

ROTATIONS = 4

CONFIG = """
[databases]
* = host={host} port={port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own_port}
pool_mode = {mode}
auth_type = scram-sha-256
auth_file = {folder}/users.txt
auth_user = postgres
unix_socket_dir =
# fewer than there are clients, so that each gets another one in turn
default_pool_size = {size}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnServer]:
    if not shutil.which("pgbouncer"):
        pytest.skip("needs pgbouncer: apt-get install pgbouncer")
    with own_server(tmp_path_factory.mktemp("own")) as server:
        yield server


@pytest.fixture(params=["session", "transaction"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def pooler(
    server: OwnServer, mode: str, tmp_path: Path, wait_for: Callable[..., None]
) -> Iterator[int]:
    """Return the port of a PgBouncer that looks the passwords' verifiers up in the server."""
    folder = tmp_path / "pgbouncer"
    folder.mkdir()
    port = free_port()
    size = 20 if mode == "session" else 3
    (folder / "users.txt").write_text(f'"postgres" "{server.password}"\n')
    (folder / "pgbouncer.ini").write_text(
        CONFIG.format(
            host=server.address,
            port=server.port,
            own_port=port,
            mode=mode,
            folder=folder,
            size=size,
        )
    )
    for path in (folder, *folder.iterdir()):
        _own(path)
    with (tmp_path / "pgbouncer.log").open("wb") as log:
        command = _unprivileged(["pgbouncer", str(folder / "pgbouncer.ini")])
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait_for(lambda: listens(port), "PgBouncer")
        yield port
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture
def rotation(
    server: OwnServer, mount: Mount, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Rotation]:
    monkeypatch.setattr("keeper.rotation.GRACE_SECONDS", 0)
    yield Rotation(server.database, mount)
    restore(server.database)


@pytest.fixture
def settings(server: OwnServer, pooler: int, mode: str, mount: Mount) -> Settings:
    return replace(
        Settings.from_mapping(server.settings),
        secrets_dir=mount.folder,
        database_port=pooler,
        database_pooler=mode,
    )


@pytest.fixture
def connect(settings: Settings, rotation: Rotation) -> Iterator[Callable[..., ServiceDatabase]]:
    """Return a function that makes a database as the service does; each is closed."""
    made: list[ServiceDatabase] = []

    def connect(**changes: object) -> ServiceDatabase:
        store = SecretStore(Folder(rotation.mount.folder, KEYS), 0.05)
        changed = replace(settings, **changes)  # type: ignore[arg-type]
        made.append(ServiceDatabase(changed, store, lambda: None))
        return made[-1]

    yield connect
    for database in made:
        database.engine.dispose()


def test_a_rotation_through_it_fails_no_query(
    connect: Callable[..., ServiceDatabase], rotation: Rotation, wait_for: Callable[..., None]
) -> None:
    database = connect()
    with Load(database) as load:
        for _ in range(ROTATIONS):
            rotation.rotate()
            new, store = rotation.role(), database._store
            wait_for(
                lambda new=new, store=store: store.current()["DATABASE_USERNAME"].reveal() == new,
                "the adoption",
            )
            # each thread has returned what it had by then; PgBouncer keeps its own sessions
            wait_for(load.turn(), "queries of every thread")
            rotation.lock_out()
            wait_for(load.turn(), "queries of every thread")
    assert load.failures == []
    assert load.roles == set(ROLES)


def test_statements_that_are_repeated_succeed(connect: Callable[..., ServiceDatabase]) -> None:
    """Psycopg prepares one at its sixth time, and another server session does not have it."""
    database = connect()
    failures: list[str] = []

    def repeat(number: int) -> None:
        for turn in range(40):
            try:
                with database.begin() as connection:
                    statement = text(f"SELECT {number % 3} + :turn")
                    connection.execute(statement, {"turn": turn}).scalar_one()
            except sqlalchemy.exc.SQLAlchemyError as error:
                failures.append(str(error))

    threads = [threading.Thread(target=repeat, args=[number]) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_each_statement_is_limited_and_in_utc(
    connect: Callable[..., ServiceDatabase], server: OwnServer
) -> None:
    server.execute("ALTER DATABASE flask_app SET timezone = 'America/New_York'")
    try:
        databases = [connect() for _ in range(6)]
        for database in databases * 3:
            with database.begin() as connection:
                assert connection.execute(text("SHOW timezone")).scalar_one() == "UTC"
                assert connection.execute(text("SHOW statement_timeout")).scalar_one() == "8s"
    finally:
        server.execute("ALTER DATABASE flask_app RESET timezone")


def test_without_the_setting_it_refuses(connect: Callable[..., ServiceDatabase]) -> None:
    """The control: PgBouncer takes no `options` at the start."""
    with (
        pytest.raises(sqlalchemy.exc.OperationalError, match="options") as caught,
        connect(database_pooler="none").begin(),
    ):
        pass
    assert isinstance(caught.value.orig, LoginError)
