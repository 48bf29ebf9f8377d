"""The database engine: every connection has the login of the current generation."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, Final

import psycopg
import sqlalchemy
from sqlalchemy import URL, Connection, ExceptionContext, QueuePool

from secret_files import Secret, SecretError, SecretStore, Snapshot

from .connection import (
    PING_SECONDS,
    STATEMENT_SECONDS,
    LimitedConnection,
    LoginError,
    Silent,
    connect,
    libpq_options,
)
from .settings import CoreSettings

log = logging.getLogger(__name__)

#: How many requests have a connection at once. The others wait for one.
POOL_SIZE: Final = 8

POOL: Final[Mapping[str, Any]] = {
    "pool_size": POOL_SIZE + 1,  # and the journal's thread
    "max_overflow": 0,
    "pool_timeout": 3,  # seconds
}

#: A server that ends a session may take as long, in seconds, until it gives the place away.
PLACE_SECONDS: Final = (0.05, 0.2, 0.5)

#: While a request has found no database within so many seconds, no new pair is tried.
WATCH_SECONDS: Final = 10

#: SQLSTATE of a server that takes no writes, such as a standby.
READ_ONLY: Final = "25006"
#: Errors that are the session's or the server's, not the statement's, by the beginning of their
#: SQLSTATE: https://www.postgresql.org/docs/17/errcodes-appendix.html
USELESS: Final = (
    READ_ONLY,
    "08",  # connection exception
    "25P03",  # idle in a transaction for too long
    "26",  # a prepared statement is not there: a pooler gave another server session
    "42P05",  # or is there already
    "57P",  # operator intervention, such as a shutdown
    "58",  # system error
)
#: Where PostgreSQL says "cached plan must not change result type", after a table was altered; its
#: SQLSTATE, 0A000, is that of many errors.
STALE_PLAN: Final = "RevalidateCachedQuery"


class NotNeeded(Exception):
    """There is no connection, and none has to be opened."""


class Away(LoginError):
    """The database can't be reached, and another thread is trying."""


class Outage:
    """While the database can't be reached, one thread at a time tries, and the others fail at once.

    Otherwise each request would wait for the limit of a login.
    """

    def __init__(self) -> None:
        self._since = 0.0
        self._tried_at = 0.0
        self._trying = threading.Lock()

    @property
    def is_watched(self) -> bool:
        """Whether the database can't be reached, and a request has tried lately."""
        return bool(self._since) and time.monotonic() - self._tried_at < WATCH_SECONDS

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Log in within the `with` block.

        :raises Away: another thread is trying.
        """
        is_probe = bool(self._since)
        if is_probe and not self._trying.acquire(blocking=False):
            raise Away("the database can't be reached: another request is trying")
        try:
            yield
        except LoginError as error:
            self._tried_at = time.monotonic()
            if error.is_refused or error.is_full:
                self._end()
            else:
                self._begin(error)
            raise
        else:
            self._end()
        finally:
            if is_probe:
                self._trying.release()

    def _begin(self, error: LoginError) -> None:
        if not self._since:
            self._since = time.monotonic()
            log.error("the database can't be reached, what needs it gets 503: %s", error)

    def _end(self) -> None:
        if self._since:
            seconds = time.monotonic() - self._since
            self._since = 0.0
            log.warning("the database can be reached again, after %.0f s", seconds)


class Database:
    """Connections with the user name and password of the current generation.

    A new pair is tried before the store publishes it. Once it does, connections of an
    older generation are closed: idle ones at once, the others when their request is done.
    So are those that answer and are of no use, as that of a server which became a standby.

    :param on_login_failure: called whenever a connection can't be opened.
    :param pool: SQLAlchemy's words for the pool.
        https://docs.sqlalchemy.org/en/20/core/engines.html#sqlalchemy.create_engine
    :param on_lost: called with the reason whenever connections are replaced: `timeout`,
        `read_only` or `broken`.
    """

    def __init__(
        self,
        settings: CoreSettings,
        store: SecretStore,
        on_login_failure: Callable[[], None],
        pool: Mapping[str, Any] = POOL,
        on_lost: Callable[[str], object] = lambda reason: None,
    ) -> None:
        self._store = store
        self._on_login_failure = on_login_failure
        self._on_lost = on_lost
        self._reached = False
        self._outage = Outage()
        self._options = libpq_options(settings)
        self.engine = sqlalchemy.create_engine(
            URL.create("postgresql+psycopg"),
            connect_args=self._options,
            hide_parameters=True,  # what people write is no matter for the log
            **pool,
        )
        self._closing_thread = 0
        self._closed = 0
        sqlalchemy.event.listen(self.engine, "do_connect", self._connect)
        sqlalchemy.event.listen(self.engine, "checkout", self._check)
        sqlalchemy.event.listen(self.engine, "checkin", self._close_if_old)
        sqlalchemy.event.listen(self.engine, "handle_error", self._give_up_useless)
        if settings.database_pooler == "transaction":
            # what is set for a session may be another client's by the next transaction
            sqlalchemy.event.listen(self.engine, "begin", _limit_statements)
        store.on_try.append(self._try)
        store.on_adopt.append(self._close_idle)

    def begin(self) -> AbstractContextManager[Connection]:
        """Open a transaction, which is committed at the end of its `with` block."""
        return self.engine.begin()

    def reached(self) -> bool:
        """Tell whether the database has answered once since the start; ask it until it has.

        While it does not, that takes as long as a login, and one thread asks at a time.
        """
        if not self._reached:
            try:
                self.engine.connect().close()  # a new one has logged in, another one was pinged
                self._reached = True
            except sqlalchemy.exc.SQLAlchemyError:
                return False
        return True

    def _connect(
        self, dialect: sqlalchemy.Dialect, record: Any, arguments: Any, options: dict[str, Any]
    ) -> LimitedConnection:
        """Log in; once more, if the login was replaced meanwhile.

        Also where the old one was still let in: it may be locked before the first statement.
        """
        if self._closing_thread == threading.get_ident():
            raise NotNeeded  # a place in the pool that is empty stays so
        with self._outage.attempt():
            snapshot = self._store.current()
            while True:
                try:
                    connection = self._login(options, snapshot)
                except LoginError:
                    newer = self._store.refresh()
                    if newer.version == snapshot.version:
                        raise
                else:
                    newer = self._store.current()
                    if newer.version == snapshot.version:
                        break
                    connection.close()
                snapshot = newer
        record.info.update(version=snapshot.version, is_new=True)
        return connection

    def _login(self, options: Mapping[str, Any], snapshot: Snapshot) -> LimitedConnection:
        """Log in; again, while a session that has ended still has its place on the server."""
        pauses = iter(PLACE_SECONDS)
        while True:
            try:
                return connect(
                    options, snapshot["DATABASE_USERNAME"], snapshot["DATABASE_PASSWORD"]
                )
            except LoginError as error:
                pause = next(pauses, None) if error.is_full else None
                if pause is None:
                    self._on_login_failure()
                    raise
            time.sleep(pause)

    def _try(self, snapshot: Snapshot) -> None:
        """Refuse a generation whose pair the database does not accept."""
        current = self._store.current()
        if _pair(snapshot) == _pair(current):
            return  # proven already; a database that is away must not hold up another key
        try:
            # the request that comes by may need no database: others see when the outage is over
            if self._outage.is_watched:
                raise Away("the database can't be reached: it is tried again later")
            with self._outage.attempt():
                self._try_login(snapshot)
        except LoginError as error:
            reason = f"can't be used, {error.summary}: {error}"
            raise SecretError(error.key, str(self._store.source), reason) from None

    def _try_login(self, snapshot: Snapshot) -> None:
        """Log in with a pair, in the place of an idle connection if the server has none left."""
        try:
            self._login(self._options, snapshot).close()
        except LoginError as error:
            if not error.is_full:
                raise
            self._close_idle(snapshot, most=1)
            self._login(self._options, snapshot).close()

    def _close_idle(self, snapshot: Snapshot, most: int = POOL_SIZE + 1) -> None:
        """Close what nobody uses; its place in the pool is filled when somebody needs it.

        :param most: so many are closed at most.

        Each is taken as for a request, and no new one is opened. Not with `Engine.dispose`, which
        replaces the pool: a thread that has the old one already would put its connection back
        where nobody looks again.
        """
        pool = self.engine.pool
        self._closing_thread = threading.get_ident()
        try:
            idle = pool.checkedin() if isinstance(pool, QueuePool) else 0
            self._closed = 0
            for _ in range(idle):
                if self._closed < most:
                    with suppress(NotNeeded, sqlalchemy.exc.TimeoutError):
                        pool.connect().close()  # the one that has been idle for longest
        finally:
            self._closing_thread = 0

    def _check(self, connection: LimitedConnection, record: Any, proxy: Any) -> None:
        """Replace a connection that does not answer, or whose login was replaced."""
        # a new one is as new as can be, and SQLAlchemy gives up after it was refused twice
        if record.info.pop("is_new", False):
            return
        is_closing = self._closing_thread == threading.get_ident()
        self._closed += is_closing
        if is_closing or record.info["version"] != self._store.current().version:
            raise sqlalchemy.exc.DisconnectionError("this connection's login was replaced")
        try:
            with connection.limited(PING_SECONDS):
                self.engine.dialect.do_ping(record.dbapi_connection)
        except psycopg.Error as error:
            self._lose(error)
            raise sqlalchemy.exc.InvalidatePoolError from None

    def _close_if_old(self, connection: Any, record: Any) -> None:
        if record.info.get("version") != self._store.current().version:
            record.invalidate()

    def _give_up_useless(self, context: ExceptionContext) -> None:
        """Replace every connection of the pool after an error that the next statement would get."""
        error = context.original_exception
        if not isinstance(error, psycopg.Error) or isinstance(error, LoginError):
            return
        is_stale = error.diag.source_function == STALE_PLAN
        if context.is_disconnect or is_stale or (error.sqlstate or "").startswith(USELESS):
            context.is_disconnect = True
            self._lose(error)

    def _lose(self, error: psycopg.Error) -> None:
        reason = "read_only" if error.sqlstate == READ_ONLY else "broken"
        reason = "timeout" if isinstance(error, Silent) else reason
        log.warning("connections to the database are replaced (%s): %s", reason, _line(error))
        self._on_lost(reason)


def _limit_statements(connection: Connection) -> None:
    connection.exec_driver_sql(f"SET LOCAL statement_timeout = '{STATEMENT_SECONDS}s'")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def _pair(snapshot: Snapshot) -> tuple[Secret, Secret]:
    return snapshot["DATABASE_USERNAME"], snapshot["DATABASE_PASSWORD"]
