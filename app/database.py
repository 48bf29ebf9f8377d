"""The database engine: every connection has the login of the current generation."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from typing import Any, Final

import psycopg
import sqlalchemy
from sqlalchemy import URL, Connection, QueuePool, text

from .secret_files import Secret, SecretError, SecretStore, Snapshot
from .settings import Settings

#: As many as gunicorn has threads, each with a connection: a request never waits for one.
POOL_SIZE: Final = 8

#: A statement that takes longer is ended: the keeper locks an old role after 30 s.
STATEMENT_SECONDS: Final = 20

POOL: Final[Mapping[str, Any]] = {
    "pool_size": POOL_SIZE + 1,  # and the journal's thread
    "max_overflow": 0,
    "pool_timeout": 5,
    "pool_pre_ping": True,
}


class NotNeeded(Exception):
    """There is no connection, and none has to be opened."""


class Database:
    """Connections with the user name and password of the current generation.

    A new pair is tried before the store publishes it. Once it does, connections of an
    older generation are closed: idle ones at once, the others when their request is done.

    :param on_login_failure: called whenever a connection can't be opened.
    :param pool: SQLAlchemy's words for the pool.
        https://docs.sqlalchemy.org/en/20/core/engines.html#sqlalchemy.create_engine
    """

    def __init__(
        self,
        settings: Settings,
        store: SecretStore,
        on_login_failure: Callable[[], None],
        pool: Mapping[str, Any] = POOL,
    ) -> None:
        self._store = store
        self._on_login_failure = on_login_failure
        self._reached = False
        self._options = libpq_options(settings)
        self.engine = sqlalchemy.create_engine(
            URL.create("postgresql+psycopg"),
            connect_args=self._options,
            hide_parameters=True,  # what people write is no matter for the log
            **pool,
        )
        self._closing_thread = 0
        sqlalchemy.event.listen(self.engine, "do_connect", self._connect)
        sqlalchemy.event.listen(self.engine, "checkout", self._check_generation)
        sqlalchemy.event.listen(self.engine, "checkin", self._close_if_old)
        store.on_try.append(self._try)
        store.on_adopt.append(self._close_idle)

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

    def _connect(
        self, dialect: sqlalchemy.Dialect, record: Any, arguments: Any, options: dict[str, Any]
    ) -> Any:
        """Log in; once more, if the login was replaced meanwhile."""
        if self._closing_thread == threading.get_ident():
            raise NotNeeded  # a place in the pool that is empty stays so
        snapshot = self._store.current()
        try:
            connection = self._login(dialect.connect, options, snapshot)
        except psycopg.OperationalError:
            newer = self._store.refresh()
            if newer.version == snapshot.version:
                raise
            snapshot = newer
            connection = self._login(dialect.connect, options, snapshot)
        record.info.update(version=snapshot.version, is_new=True)
        return connection

    def _login(
        self, connect: Callable[..., Any], options: Mapping[str, Any], snapshot: Snapshot
    ) -> Any:
        try:
            return connect(
                **options,
                user=snapshot["DATABASE_USERNAME"].reveal(),
                password=snapshot["DATABASE_PASSWORD"].reveal(),
            )
        except psycopg.OperationalError as error:
            problem = str(error)
        self._on_login_failure()
        # raised out here, it has neither the connection nor the frames that hold the password
        raise psycopg.OperationalError(problem)

    def _try(self, snapshot: Snapshot) -> None:
        """Refuse a generation whose pair the database does not accept."""
        current = self._store.current()
        if _pair(snapshot) == _pair(current):
            return  # proven already; a database that is away must not hold up another key
        try:
            self._login(psycopg.connect, self._options, snapshot).close()
        except psycopg.OperationalError as error:
            reason = f"can't log in to the database: {' '.join(str(error).split())}"
            raise SecretError("DATABASE_PASSWORD", str(self._store.source), reason) from None

    def _close_idle(self, snapshot: Snapshot) -> None:
        """Close what nobody uses; its place in the pool is filled when somebody needs it.

        Each is taken as for a request: an old one is closed then, and no new one is opened.
        Not with `Engine.dispose`, which replaces the pool: a thread that has the old one
        already would put its connection back where nobody looks again.
        """
        pool = self.engine.pool
        self._closing_thread = threading.get_ident()
        try:
            for _ in range(pool.checkedin() if isinstance(pool, QueuePool) else 0):
                with suppress(NotNeeded):
                    pool.connect().close()  # the one that has been idle for longest
        finally:
            self._closing_thread = 0

    def _check_generation(self, connection: Any, record: Any, proxy: Any) -> None:
        # a new one is as new as can be, and SQLAlchemy gives up after it was refused twice
        is_new = record.info.pop("is_new", False)
        if not is_new and record.info["version"] != self._store.current().version:
            raise sqlalchemy.exc.DisconnectionError("this connection's login was replaced")

    def _close_if_old(self, connection: Any, record: Any) -> None:
        if record.info.get("version") != self._store.current().version:
            record.invalidate()


def libpq_options(settings: Settings) -> dict[str, Any]:
    """Return what a connection needs but for its login, in libpq's words."""
    options = {
        "host": settings.database_host,
        "port": settings.database_port,
        "dbname": settings.database_name,
        "sslmode": settings.database_sslmode,
        "connect_timeout": 5,
        "application_name": "flask-app",
        "options": f"-c statement_timeout={STATEMENT_SECONDS * 1000}",
    }
    if settings.database_ca_file:
        options["sslrootcert"] = str(settings.database_ca_file)
    return options


def _pair(snapshot: Snapshot) -> tuple[Secret, Secret]:
    return snapshot["DATABASE_USERNAME"], snapshot["DATABASE_PASSWORD"]
