"""A real PostgreSQL, prepared by the keeper, the service on it, and what all tests use."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import hypothesis
import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.settings import Settings
from keeper.database import Server
from keeper.folder_secrets import FolderSecrets
from keeper.keeper import Keeper
from secret_files import Redactor
from tests.items import create_app, create_table
from tests.mount import SECRETS, Mount
from tests.rotation import Rotation, restore
from tools.local.place import GIVEN_KEYS, plan_for
from tools.local.postgres import Postgres
from tools.local.server import Database as Database
from tools.local.server import hurry
from tools.poll import poll
from tools.service import Service

# an example takes as long as the machine lets it: beside others, many times its usual time
hypothesis.settings.register_profile("without deadlines", deadline=None)
hypothesis.settings.load_profile("without deadlines")


def pytest_configure(config: pytest.Config) -> None:
    """Heed Ctrl-C: what a shell starts in the background ignores it, and hands that on."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Let the garbage collector pass over what was imported and collected: it all stays."""
    gc.freeze()


def pytest_xdist_auto_num_workers() -> int:
    """Return one more than there are processors, up to four: some tests wait for others' work."""
    return min((os.cpu_count() or 1) + 1, 4)


@pytest.fixture
def mount(tmp_path: Path) -> Mount:
    """Return a mounted Secret with good values."""
    mount = Mount(tmp_path / "secrets")
    mount.write(SECRETS)
    return mount


@pytest.fixture(scope="session")
def wait_for() -> Callable[[Callable[[], bool], str], None]:
    """Return a function that waits for a condition, and fails with what was awaited."""

    def wait(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
        # long: beside other work a start takes ten times as long, and who succeeds waits for less
        poll(condition, what, seconds, 0.05)

    return wait


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    root = tmp_path_factory.mktemp("local")
    nowhere = Server("", 0, "flask_app", "disable")
    login = Keeper(FolderSecrets(root), plan_for(nowhere), Redactor()).fill_administrator()
    postgres = Postgres(root / "postgres", login.user, login.password.reveal())
    postgres.start()
    try:
        hurry(Server(postgres.host, postgres.port, "postgres", "disable"), login)
        plan = plan_for(Server(postgres.host, postgres.port, "flask_app", "disable"))
        Keeper(FolderSecrets(root), plan, Redactor()).run()
        Mount(root / "secrets").write({key: SECRETS[key] for key in GIVEN_KEYS})
        database = Database(plan.server, login, root, plan)
        create_table(database)
        yield database
    finally:
        postgres.stop()


@pytest.fixture
def rotation(
    database: Database, mount: Mount, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Rotation]:
    """Return a rotation of the server's two roles, which then are as they were."""
    monkeypatch.setattr("keeper.rotation.GRACE_SECONDS", 0)
    yield Rotation(database, mount)
    restore(database)


@pytest.fixture
def settings(database: Database) -> Settings:
    return Settings.from_mapping(
        {
            "SECRETS_DIR": str(database.root / "secrets"),
            "SECRETS_CHECK_SECONDS": "0",
            "DATABASE_HOST": database.server.host,
            "DATABASE_PORT": str(database.server.port),
            "DATABASE_SSLMODE": "disable",
        }
    )


#: The tables that a service can have written to.
WRITTEN = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"


@pytest.fixture
def start(database: Database) -> Iterator[Callable[[Settings], Flask]]:
    """Return a function that starts a service; each is ended, and what it wrote is removed."""
    apps: list[Flask] = []

    def start(settings: Settings) -> Flask:
        apps.append(create_app(settings))
        return apps[-1]

    yield start
    for app in apps:
        app.extensions["journal"].close()
        app.extensions["database"].engine.dispose()
    written = ", ".join(str(name) for (name,) in database.execute(WRITTEN))
    database.execute(f"TRUNCATE {written} RESTART IDENTITY")


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Return a function that starts gunicorn with some settings; each is ended."""
    services: list[Service] = []

    def serve(config: str = "app/gunicorn.conf.py", **settings: str) -> Service:
        services.append(Service.start(tmp_path / f"output-{len(services)}", settings, config))
        return services[-1]

    yield serve
    for service in services:
        service.stop()


def service_settings(database: Database) -> dict[str, str]:
    """Return the environment of a service on that database, with its Secret mounted."""
    return {
        "SECRETS_DIR": str(database.root / "secrets"),
        "DATABASE_HOST": database.server.host,
        "DATABASE_PORT": str(database.server.port),
        "DATABASE_SSLMODE": "disable",
    }


@pytest.fixture
def settings_of(database: Database) -> dict[str, str]:
    return service_settings(database)


@pytest.fixture
def app(settings: Settings, start: Callable[[Settings], Flask]) -> Flask:
    return start(settings)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def unreachable(
    settings: Settings, start: Callable[[Settings], Flask], tmp_path: Path
) -> FlaskClient:
    """Return a client of a service whose database is away."""
    return start(replace(settings, database_host=str(tmp_path))).test_client()
