"""New connections have the current login, and a failed one holds no password."""

from __future__ import annotations

import traceback
from pathlib import Path

import psycopg
import pytest
import sqlalchemy

from app import KEYS
from app.database import Database as ServiceDatabase
from app.secret_files import Secret, SecretStore
from app.settings import Settings
from tests.integration.conftest import Database
from tests.mount import SECRETS, Mount

WRONG = "wrong-pw-73feffa4b7f6bb68e44cf984c85f6e88"


def connect_to(settings: Settings, store: SecretStore) -> tuple[ServiceDatabase, list[str]]:
    failures: list[str] = []
    database = ServiceDatabase(settings, store, lambda: failures.append("login"))
    return database, failures


def test_a_failed_login_holds_no_password(settings: Settings, mount: Mount) -> None:
    mount.write({"DATABASE_PASSWORD": WRONG})
    database, failures = connect_to(settings, SecretStore(mount.folder, KEYS))
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


def test_a_new_connection_has_the_new_login(
    settings: Settings, database: Database, mount: Mount
) -> None:
    login = Secret("DATABASE_PASSWORD", "second-pw-0cc175b9c0f1b6a831c399e2")
    service, _ = connect_to(settings, SecretStore(mount.folder, KEYS, check_seconds=0))
    database.execute(f"ALTER ROLE flask_app_b LOGIN PASSWORD '{login.reveal()}'")
    mount.write({"DATABASE_USERNAME": "flask_app_b", "DATABASE_PASSWORD": login.reveal()})
    try:
        with service.begin() as connection:
            user = connection.execute(sqlalchemy.text("SELECT current_user")).scalar_one()
        assert user == "flask_app_b"
    finally:
        service.engine.dispose()
        database.execute("ALTER ROLE flask_app_b NOLOGIN PASSWORD NULL")


def test_the_service_may_do_what_it_does_and_no_more(
    database: Database, settings: Settings
) -> None:
    service, _ = connect_to(settings, SecretStore(Path(settings.secrets_dir), KEYS))
    for statement in (
        "DROP TABLE notes",
        "ALTER TABLE notes ADD COLUMN extra text",
        "TRUNCATE notes",
        "UPDATE notes SET text = 'x'",
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
