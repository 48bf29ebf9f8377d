"""The database as the keeper sees it: an administrator, two login roles, the tables."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import sql

from ..secret_files import Secret

SCHEMA: Final = (Path(__file__).parent / "schema.sql").read_text()

#: One keeper at a time changes roles; any number that nobody else uses will do.
ADVISORY_LOCK: Final = 4_157_320_418


@dataclass(frozen=True)
class Login:
    """A user name and its password."""

    user: str
    password: Secret


@dataclass(frozen=True)
class Server:
    """Where the database is. The fields are libpq's."""

    host: str
    port: int
    database: str
    sslmode: str
    sslrootcert: str = ""

    def connect(self, login: Login, database: str = "") -> psycopg.Connection:
        """Log in.

        :raises psycopg.OperationalError: the server can't be reached or refuses; the error
            has neither the password nor the connection.
        """
        options: dict[str, Any] = {"sslrootcert": self.sslrootcert} if self.sslrootcert else {}
        try:
            return psycopg.connect(
                host=self.host,
                port=self.port,
                dbname=database or self.database,
                sslmode=self.sslmode,
                user=login.user,
                password=login.password.reveal(),
                connect_timeout=5,
                application_name="flask-app-keeper",
                autocommit=True,
                **options,
            )
        except psycopg.OperationalError as error:
            problem = str(error)
        raise psycopg.OperationalError(problem)

    def accepts(self, login: Login) -> bool:
        """Tell whether the database lets this login in; it has to be reachable."""
        try:
            self.connect(login).close()
        except psycopg.OperationalError:
            return False
        return True


class Administration:
    """What the administrator does to one database and its roles."""

    def __init__(self, connection: psycopg.Connection, database: str) -> None:
        self._connection = connection
        self._database = database
        #: Has the privileges; nobody logs in with it. Not the database's name alone, which
        #: often is its owner's, whose rights the service must not inherit.
        self.group = f"{database}_service"
        #: Log in; one of the two is in use.
        self.logins = (f"{database}_a", f"{database}_b")

    def lock(self, wait_seconds: float) -> None:
        """Keep other keepers waiting until the connection is closed.

        :raises psycopg.errors.LockNotAvailable: another one was at work all the time.
        """
        milliseconds = max(1, int(wait_seconds * 1000))  # 0 would be for ever
        self._connection.execute(f"SET lock_timeout = {milliseconds}".encode())
        self._connection.execute("SELECT pg_advisory_lock(%s)", [ADVISORY_LOCK])

    def prepare(self) -> None:
        """Make the roles, the tables and the grants that are missing."""
        for role in (self.group, *self.logins):
            if not self._exists("SELECT 1 FROM pg_roles WHERE rolname = %s", role):
                self._execute("CREATE ROLE {} NOLOGIN", role)
        for role in self.logins:
            self._execute("GRANT {} TO {}", self.group, role)
        with self._connection.transaction():
            self._connection.execute(SCHEMA.encode())
            self._execute("REVOKE ALL ON DATABASE {} FROM PUBLIC", self._database)
            self._execute("GRANT CONNECT ON DATABASE {} TO {}", self._database, self.group)
            self._execute("GRANT USAGE ON SCHEMA public TO {}", self.group)
            # what the service does, and no more: it can't change or drop a table
            self._execute("GRANT SELECT, INSERT, DELETE ON public.notes TO {}", self.group)

    def let_in(self, login: Login) -> None:
        """Let a role log in with a password, of which the server sees a SCRAM verifier only."""
        verifier = self._connection.pgconn.encrypt_password(
            login.password.reveal().encode(), login.user.encode(), b"scram-sha-256"
        )
        self._connection.execute(
            sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(
                sql.Identifier(login.user), sql.Literal(verifier.decode())
            )
        )

    def _exists(self, query: str, name: str) -> bool:
        return self._connection.execute(query.encode(), [name]).fetchone() is not None

    def _execute(self, statement: str, *names: str) -> None:
        identifiers = [sql.Identifier(name) for name in names]
        self._connection.execute(sql.SQL(statement).format(*identifiers))


def ensure_database(server: Server, administrator: Login) -> None:
    """Make the database, if it is missing.

    :raises psycopg.Error: the server can't be reached, refuses, or forbids it.
    """
    if server.accepts(administrator):
        return
    # it is missing, or the server is away: that too is seen here
    with server.connect(administrator, "postgres") as connection:
        statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(server.database))
        with suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
            connection.execute(statement)
