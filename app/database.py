"""The database engine, whose every new connection asks the store for its login."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import psycopg
import sqlalchemy
from sqlalchemy import URL, Connection, text

from .secret_files import SecretStore
from .settings import Settings

#: As many as gunicorn has threads: a request never waits for a connection.
POOL_SIZE = 8


class Database:
    """Connections with the user name and password of the current generation.

    :param on_login_failure: called whenever a connection can't be opened.
    """

    def __init__(
        self, settings: Settings, store: SecretStore, on_login_failure: Callable[[], None]
    ) -> None:
        self._store = store
        self._on_login_failure = on_login_failure
        self._reached = False
        url = URL.create(
            "postgresql+psycopg",
            host=settings.database_host,
            port=settings.database_port,
            database=settings.database_name,
        )
        options: dict[str, Any] = {
            "sslmode": settings.database_sslmode,
            "connect_timeout": 5,
            "application_name": "flask-app",
        }
        if settings.database_ca_file:
            options["sslrootcert"] = str(settings.database_ca_file)
        self.engine = sqlalchemy.create_engine(
            url,
            connect_args=options,
            pool_size=POOL_SIZE,
            max_overflow=0,
            pool_timeout=5,
            pool_pre_ping=True,
            hide_parameters=True,  # what people write is no matter for the log
        )
        sqlalchemy.event.listen(self.engine, "do_connect", self._login)

    def begin(self) -> AbstractContextManager[Connection]:
        """Open a transaction, which is committed at the end of its `with` block."""
        return self.engine.begin()

    def reached(self) -> bool:
        """Tell whether the database has answered once since the start; ask it until it has."""
        if not self._reached:
            try:
                with self.engine.connect() as connection:
                    connection.execute(text("SELECT 1"))
                self._reached = True
            except sqlalchemy.exc.SQLAlchemyError:
                return False
        return True

    def _login(
        self, dialect: sqlalchemy.Dialect, record: Any, arguments: Any, options: dict[str, Any]
    ) -> Any:
        snapshot = self._store.current()
        try:
            return dialect.connect(
                *arguments,
                **options,
                user=snapshot["DATABASE_USERNAME"].reveal(),
                password=snapshot["DATABASE_PASSWORD"].reveal(),
            )
        except psycopg.OperationalError as error:
            problem = str(error)
        self._on_login_failure()
        # raised out here, it has neither the connection nor the frames that hold the password
        raise psycopg.OperationalError(problem)
