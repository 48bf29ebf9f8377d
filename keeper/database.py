"""The database as the keeper sees it: an administrator, two login roles, the tables."""

from __future__ import annotations

import secrets
import socket
import ssl
import struct
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import sql
from psycopg.abc import RV, PQGen
from psycopg.rows import TupleRow

from secret_files import Redactor, Secret

from .tables import make_tables

SCHEMA: Final = (Path(__file__).parent / "schema.sql").read_text()

#: One keeper at a time changes roles; any number that nobody else uses will do.
ADVISORY_LOCK: Final = 4_157_320_418

#: How long a session that was told to end may take, in seconds.
END_SECONDS: Final = 10.0

#: How long a statement may take, in seconds, and how long it may wait in it for somebody's lock:
#: shorter, so that a server which answers is the one to say so.
ANSWER_SECONDS: Final = 60.0
LOCK_SECONDS: Final = 30.0

#: PostgreSQL cuts longer names, so that two of them may become one.
#: https://www.postgresql.org/docs/17/sql-syntax-lexical.html#SQL-SYNTAX-IDENTIFIERS
NAME_BYTES: Final = 63

#: What follows the database's name in the names of its roles: the group's, and the two logins'.
GROUP_SUFFIX: Final = "_service"
LOGIN_SUFFIXES: Final = ("_a", "_b")

#: What libpq is told: a database that vanishes without a word is noticed within half a minute,
#: and so is a keeper that does, which holds a lock there.
#: https://www.postgresql.org/docs/17/libpq-connect.html#LIBPQ-PARAMKEYWORDS
KEEPALIVES: Final[Mapping[str, Any]] = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
    "options": "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3",
}

#: Parts of what is said of a server that takes nobody at the moment, whoever asks: by itself, and
#: by libpq and psycopg of one that does not answer, or takes no writes (`target_session_attrs`).
BUSY: Final = (
    "sorry, too many clients",
    "remaining connection slots are reserved",
    "too many connections for",
    "the database system is",
    "timeout expired",
    "session is read-only",
    "server is in hot standby mode",
)

#: What a client sends to ask for TLS: its length and a code.
#: https://www.postgresql.org/docs/17/protocol-message-formats.html
SSL_REQUEST: Final = struct.pack("!ii", 8, 80877103)


@dataclass(frozen=True)
class Login:
    """A user name and its password."""

    user: str
    password: Secret


class LimitedConnection(psycopg.Connection[TupleRow]):
    """A connection on which no answer is waited for without a limit.

    Neither TCP keepalives nor `tcp_user_timeout` end the wait for a process that is stopped, while
    the kernel of its machine still acknowledges what it gets.
    """

    #: How long one statement may take, in seconds.
    limit_seconds: float = ANSWER_SECONDS

    def wait(
        self,
        gen: PQGen[RV],
        interval: float = 0.1,  # as psycopg's: Ctrl-C is noticed so soon
        timeout: float | None = None,
    ) -> RV:
        """Wait for an answer; without one in time, close the connection.

        :raises psycopg.OperationalError: there was none.
        """
        limit = self.limit_seconds if timeout is None else timeout
        try:
            return super().wait(gen, interval, limit)
        except psycopg.errors._WaitTimeout:
            self.pgconn.finish()
        raise psycopg.OperationalError(
            f"the database did not answer within {limit:g} s: the connection is closed"
        )


@dataclass(frozen=True)
class Server:
    """Where the database is. The fields are libpq's."""

    #: Or several, with commas, which are tried in this order.
    host: str
    port: int
    database: str
    sslmode: str
    sslrootcert: str = ""
    #: One that asks for the password in another way, such as in clear text, does not get it.
    require_auth: str = "scram-sha-256"
    channel_binding: str = "prefer"
    #: The keeper writes: a standby, or a primary that became one, is of no use.
    target_session_attrs: str = "read-write"

    def connect(self, login: Login, database: str = "") -> LimitedConnection:
        """Log in.

        :raises psycopg.OperationalError: the server can't be reached or refuses; the error
            has neither the password nor the connection.
        """
        options: dict[str, Any] = {"sslrootcert": self.sslrootcert} if self.sslrootcert else {}
        try:
            return LimitedConnection.connect(
                host=self.host,
                port=self.port,
                dbname=database or self.database,
                sslmode=self.sslmode,
                require_auth=self.require_auth,
                channel_binding=self.channel_binding,
                target_session_attrs=self.target_session_attrs,
                user=login.user,
                password=login.password.reveal(),
                application_name="flask-app-keeper",
                autocommit=True,
                **KEEPALIVES,
                **options,
            )
        except Exception as error:  # whatever it is, its frames hold the password
            problem = self._reason(error, login.password)
        except BaseException as error:  # Ctrl-C: its own frames go, and those of its origin
            error.__context__ = None
            raise error.with_traceback(None) from None
        raise psycopg.OperationalError(problem)

    def _reason(self, error: Exception, password: Secret) -> str:
        """Return why a login failed, without the password; few texts of others are repeated."""
        if isinstance(error, psycopg.Error):
            redactor = Redactor()
            redactor.learn([password])
            return redactor.redact(str(error))
        what = (error.strerror if isinstance(error, OSError) else "") or type(error).__name__
        return f"the connection to the database at {self.host!r} failed: {what}"

    def accepts(self, login: Login) -> bool:
        """Tell whether the database lets this login in; it has to be reachable.

        :raises psycopg.OperationalError: it takes nobody at the moment.
        """
        try:
            self.connect(login).close()
        except psycopg.OperationalError as error:
            if any(reason in str(error) for reason in BUSY):
                raise
            return False
        return True

    def one_of(self, connection: psycopg.Connection) -> Server:
        """Return that one of several hosts which a connection goes to."""
        return replace(self, host=connection.info.host)

    def bound(self) -> Server:
        """Return the same, without its certificate being verified, which is not valid now.

        SCRAM with channel binding proves both to each other all the same: the server knows the
        password's verifier, and this TLS connection ends at it.
        https://www.postgresql.org/docs/17/sasl-authentication.html#SASL-SCRAM-SHA-256
        """
        return replace(
            self,
            sslmode="require",
            sslrootcert="",
            require_auth="scram-sha-256",
            channel_binding="require",
        )

    def certificate(self) -> bytes:
        """Return the certificate that the server shows to a new connection, in DER.

        :raises OSError: it can't be reached, or has none.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False  # which one it is, is the question
        context.verify_mode = ssl.CERT_NONE
        first = self.host.partition(",")[0]
        with socket.create_connection((first, self.port), timeout=5) as plain:
            plain.sendall(SSL_REQUEST)
            if plain.recv(1) != b"S":
                raise ConnectionRefusedError("the database has no TLS")
            with context.wrap_socket(plain) as encrypted:
                return encrypted.getpeercert(binary_form=True) or b""


class StillLetIn(Exception):
    """The database lets in a role whose login was taken away."""


class Administration:
    """What the administrator does to one database and its roles."""

    def __init__(self, connection: LimitedConnection, server: Server, administrator: Login) -> None:
        self._connection = connection
        # what a standby says of a login, or a server that is away, is nothing about this one
        self._server = server.one_of(connection)
        self._administrator = administrator
        self._database = database = server.database
        #: Has the privileges; nobody logs in with it. Not the database's name alone, which
        #: often is its owner's, whose rights the service must not inherit.
        self.group = f"{database}{GROUP_SUFFIX}"
        #: Log in; one of the two is in use.
        self.logins = (f"{database}{LOGIN_SUFFIXES[0]}", f"{database}{LOGIN_SUFFIXES[1]}")

    def lock(self, wait_seconds: float) -> None:
        """Keep other keepers waiting until the connection is closed.

        :raises psycopg.errors.LockNotAvailable: another one was at work all the time.
        """
        # a connection that was closed a moment ago may hold it still; and 0 would be for ever
        seconds = max(1.0, wait_seconds)
        usual = self._connection.limit_seconds
        self._set_lock_timeout(seconds)
        self._connection.limit_seconds = seconds + usual  # the server is the one to say so
        self._connection.execute("SELECT pg_advisory_lock(%s)", [ADVISORY_LOCK])
        self._connection.limit_seconds = usual
        self._set_lock_timeout(min(seconds, LOCK_SECONDS))

    def other(self, role: str) -> str:
        """Return the one of the two login roles that is not `role`."""
        return self.logins[1] if role == self.logins[0] else self.logins[0]

    def prepare(self, tables: Mapping[Path, bytes]) -> None:
        """Make the roles, the tables and the grants that are missing.

        :param tables: the files with the service's tables.
        :raises psycopg.Error: a statement fails; one of a file, with its name.
        """
        self.prepare_group(tables)
        for role in self.logins:
            self._make_role(role)
            self._execute("GRANT {} TO {}", self.group, role)

    def prepare_group(self, tables: Mapping[Path, bytes]) -> None:
        """Make the tables, and the group that may use them; who logs in is somebody else's.

        :param tables: the files with the service's tables.
        :raises psycopg.Error: a statement fails; one of a file, with its name.
        """
        with self._connection.transaction():
            self._make_role(self.group)
            self._connection.execute(SCHEMA.encode())
            self._execute("REVOKE ALL ON DATABASE {} FROM PUBLIC", self._database)
            self._execute("GRANT CONNECT ON DATABASE {} TO {}", self._database, self.group)
            self._execute("GRANT USAGE ON SCHEMA public TO {}", self.group)
            # what the service does with the keeper's tables, and no more, whatever the defaults are
            self._execute("REVOKE ALL ON public.secret_events FROM {}", self.group)
            self._execute("REVOKE ALL ON public.secret_pods FROM {}", self.group)
            self._execute("GRANT SELECT, INSERT ON public.secret_events TO {}", self.group)
            self._execute("GRANT SELECT, INSERT, UPDATE ON public.secret_pods TO {}", self.group)
            make_tables(self._connection, tables, self.group)

    def let_in(self, login: Login) -> None:
        """Let a role log in with a password, of which the server sees a SCRAM verifier only."""
        self._set_password(login, "LOGIN")

    def may_log_in(self, role: str) -> bool:
        """Tell whether the role has the right to log in, with whatever password."""
        return self._exists("SELECT 1 FROM pg_roles WHERE rolname = %s AND rolcanlogin", role)

    def sessions(self, role: str) -> list[str]:
        """Describe each session of a role: the program, and the address that it comes from."""
        rows = self._connection.execute(
            "SELECT coalesce(nullif(application_name, ''), 'unknown'), "
            "coalesce(host(client_addr), 'local') FROM pg_stat_activity WHERE usename = %s",
            [role],
        )
        return [f"{program} from {address}" for program, address in rows]

    def accepts(self, login: Login) -> bool:
        """Tell whether the database lets this login in; that it does not, is a refusal.

        A server that ends, or whose name or way to it is gone already, still serves those who are
        in: only where it lets the administrator in, and was there all the time, did it refuse.

        :raises psycopg.OperationalError: it takes nobody at the moment.
        """
        if self._server.accepts(login):
            return True
        self._server.connect(self._administrator).close()
        self._connection.execute("SELECT 1")
        return False

    def lock_out(self, role: str) -> list[str]:
        """Take a role's login away, end what is left of its sessions, and see it refused.

        :returns: the sessions that had to be ended.
        :raises StillLetIn: it is not refused.
        :raises psycopg.Error: the database went away, or forbids it.
        """
        # With a password that is known here it has to be refused, so that a refusal does not
        # depend on the password; and whatever password it had is gone with that.
        known = Login(role, Secret("password", secrets.token_urlsafe(32)))
        self._set_password(known, "NOLOGIN")
        ended = self._end_sessions(role)
        if self.accepts(known):
            raise StillLetIn(f"the database still lets {role} in: see its pg_hba.conf")
        self._execute("ALTER ROLE {} PASSWORD NULL", role)
        return ended

    def reload_configuration(self) -> None:
        """Let the server read its configuration, and its certificate, again."""
        self._connection.execute("SELECT pg_reload_conf()")

    def _end_sessions(self, role: str) -> list[str]:
        ended = self.sessions(role)
        deadline = time.monotonic() + END_SECONDS
        while self.sessions(role):
            if time.monotonic() > deadline:
                raise StillLetIn(f"the sessions of {role} do not end")
            self._connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", [role]
            )
            time.sleep(0.1)
        return ended

    def _set_lock_timeout(self, seconds: float) -> None:
        self._connection.execute(f"SET lock_timeout = {int(seconds * 1000)}".encode())

    def _make_role(self, role: str) -> None:
        if not self._exists("SELECT 1 FROM pg_roles WHERE rolname = %s", role):
            self._execute("CREATE ROLE {} NOLOGIN", role)

    def _exists(self, query: str, name: str) -> bool:
        return self._connection.execute(query.encode(), [name]).fetchone() is not None

    def _set_password(self, login: Login, right: str) -> None:
        verifier = self._connection.pgconn.encrypt_password(
            login.password.reveal().encode(), login.user.encode(), b"scram-sha-256"
        )
        self._connection.execute(
            sql.SQL("ALTER ROLE {} {} PASSWORD {}").format(
                sql.Identifier(login.user), sql.SQL(right), sql.Literal(verifier.decode())
            )
        )

    def _execute(self, statement: str, *names: str) -> None:
        identifiers = [sql.Identifier(name) for name in names]
        self._connection.execute(sql.SQL(statement).format(*identifiers))


@contextmanager
def administer(
    server: Server, administrator: Login, wait_seconds: float
) -> Iterator[Administration]:
    """Administer the database, while no other keeper does.

    The lock and what it protects share one connection: when that is lost, both are.

    :raises psycopg.Error: the server can't be reached or refuses, or another keeper was at
        work all the time.
    """
    with closing(server.connect(administrator)) as connection:
        administration = Administration(connection, server, administrator)
        administration.lock(wait_seconds)
        yield administration


def ensure_database(server: Server, administrator: Login) -> None:
    """Make the database, if it is missing.

    :raises psycopg.Error: the server can't be reached, refuses, or forbids it.
    """
    try:
        server.connect(administrator).close()
        return
    except psycopg.OperationalError as error:
        problem = str(error)
    # it is missing, or the server is away: that too is seen here
    with server.connect(administrator, "postgres") as connection:
        wanted = "SELECT 1 FROM pg_database WHERE datname = %s"
        if connection.execute(wanted, [server.database]).fetchone():
            raise psycopg.OperationalError(problem)
        statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(server.database))
        with suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
            connection.execute(statement)


def check_name(database: str) -> None:
    """See that the names of the database's roles fit.

    :raises ValueError: they don't; the message goes on after the name of the setting.
    """
    longest = max(GROUP_SUFFIX, *LOGIN_SUFFIXES, key=len)
    length, limit = len(database.encode()), NAME_BYTES - len(longest)
    if length > limit:
        raise ValueError(
            f"must have at most {limit} bytes, not {length}: the keeper names roles after it, as "
            f"…{longest}, and PostgreSQL cuts a name after {NAME_BYTES} bytes; use a shorter name"
        )
