"""One connection to PostgreSQL: how it is opened, and how long it may take to answer."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Final

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.pq import Format

from secret_files import Secret, hint

from .settings import CoreSettings

#: A login takes no longer, for each address that is tried.
CONNECT_SECONDS: Final = 5
#: A connection that is idle in the pool answers as fast, or is replaced.
PING_SECONDS: Final = 3.0
#: The server ends a statement that takes longer: the keeper disables an old role after 30 s.
STATEMENT_SECONDS: Final = 8
#: The client waits longer, for a server that can't end it.
ANSWER_SECONDS: Final = 10.0

#: How libpq notices a host that has vanished.
#: https://www.postgresql.org/docs/17/libpq-connect.html#LIBPQ-PARAMKEYWORDS
LOST_HOST: Final[Mapping[str, Any]] = {
    "keepalives_idle": 10,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,  # milliseconds
}

#: What a session is set to, whatever the role, the database or the server say.
SESSION: Final = {"statement_timeout": f"{STATEMENT_SECONDS}s", "timezone": "UTC"}

#: What the server says when it has no connection to give, in the words of PostgreSQL and PgBouncer.
#: A failed login has no SQLSTATE: https://github.com/psycopg/psycopg/issues/331
FULL: Final = re.compile(
    "too many clients|remaining connection slots|too many connections|no more connections allowed"
)
#: What it says of a user name that it does not know.
UNKNOWN_USER: Final = re.compile(
    r'role ".*" (does not exist|is not permitted to log in)|no such user'
)
#: What it says when it refuses a user name or a password.
REFUSED: Final = re.compile(
    f"password authentication failed|SASL authentication failed|{UNKNOWN_USER.pattern}"
)

PASSWORD: Final = "DATABASE_PASSWORD"  # noqa: S105 - a name

_TIMESTAMPTZ: Final = psycopg.postgres.types["timestamptz"].oid
_Loader: Final[Any] = psycopg.adapters.get_loader(_TIMESTAMPTZ, Format.TEXT)


class LoginError(psycopg.OperationalError):
    """No connection could be opened. It holds no byte of the password, nor the connection.

    :param text: what the server, libpq or the operating system says.
    :param key: the secret that is probably wrong.
    :param hints: what is odd about the user name or the password, such as a trailing line break.
    """

    def __init__(self, text: str, key: str = PASSWORD, hints: str = "") -> None:
        super().__init__(f"{text}; {hints}" if hints else text)
        self.key = key
        self.is_full = bool(FULL.search(text))
        self.is_refused = bool(REFUSED.search(text))
        self._hints = hints

    @property
    def summary(self) -> str:
        """What is wrong, without the names of hosts and roles that the server's text has."""
        if self.is_full:
            return "the database has no connection left"
        if self.is_refused:
            refused = "the database refuses the user name or the password"
            return f"{refused}; {self._hints}" if self._hints else refused
        return "the database can't be reached"


class Silent(psycopg.OperationalError):
    """The server did not answer in time; the connection is closed."""


class LimitedConnection(psycopg.Connection[Any]):
    """A connection on which no wait lasts longer than `limit`, in seconds.

    It holds for a server whose kernel still acknowledges what it is sent, as that of a stopped
    process does: keepalives and `tcp_user_timeout` never notice one.
    """

    limit = ANSWER_SECONDS

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """Wait as psycopg does, up to `limit`.

        :raises Silent: the server did not answer in time.
        """
        limit = self.limit if timeout is None else timeout
        with suppress(psycopg.errors._WaitTimeout):
            return super().wait(gen, interval, limit)
        self.pgconn.finish()  # it is in the middle of a statement: nothing else can be done with it
        raise Silent(f"the database did not answer within {limit:g} s")

    @contextmanager
    def limited(self, seconds: float) -> Iterator[None]:
        """Lower the limit within the `with` block."""
        self.limit = seconds
        try:
            yield
        finally:
            del self.limit


class TimestampLoader(Loader):
    """Loads a `timestamptz`; what Python can't hold becomes the nearest that it can.

    PostgreSQL has `infinity`, years before 1 and years after 9999:
    https://www.postgresql.org/docs/17/datatype-datetime.html
    """

    def __init__(self, oid: int, context: Any = None) -> None:
        super().__init__(oid, context)
        self._load = _Loader(oid, context).load

    def load(self, data: Buffer) -> datetime:
        """Return the time, in UTC."""
        try:
            found: datetime = self._load(data)
            return found.astimezone(UTC)
        except (psycopg.DataError, OverflowError):
            text = bytes(data)
            is_early = text.startswith(b"-") or text.endswith(b"BC")
            return (datetime.min if is_early else datetime.max).replace(tzinfo=UTC)


def libpq_options(settings: CoreSettings) -> dict[str, Any]:
    """Return what a connection needs except for its login, in libpq's words."""
    hosts = settings.database_host.split(",")
    options = {
        "host": settings.database_host,
        "port": settings.database_port,
        "dbname": settings.database_name,
        "sslmode": settings.database_sslmode,
        "target_session_attrs": settings.database_target_session_attrs,
        "require_auth": settings.database_require_auth,
        "channel_binding": settings.database_channel_binding,
        "gssencmode": "disable",
        "connect_timeout": max(2, CONNECT_SECONDS // len(hosts)),  # less than 2 is 2 for libpq
        "application_name": "flask-app",
        **LOST_HOST,
    }
    if settings.database_ca_file:
        options["sslrootcert"] = str(settings.database_ca_file)
    if settings.database_pooler == "none":
        options["options"] = " ".join(f"-c {name}={value}" for name, value in SESSION.items())
    if settings.database_pooler == "transaction":
        # the next statement may go to another server session, which has not prepared it
        options["prepare_threshold"] = None
    return options


def connect(options: Mapping[str, Any], user: Secret, password: Secret) -> LimitedConnection:
    """Log in.

    No exception that leaves this function holds the password: not in its arguments, its cause or
    its context, nor in a frame of its traceback, all of which an error tracker sends.

    :param options: those of `libpq_options`.
    :raises LoginError: the server can't be reached, or refuses; or the options are wrong.
    """
    problem: LoginError | None = None
    interruption: type[BaseException] | None = None
    try:
        connection = LimitedConnection.connect(
            **options, user=user.reveal(), password=password.reveal()
        )
    except Exception as error:
        problem = _describe(error, user, password)
    except BaseException as error:  # as at the end of the process
        interruption = type(error)
    if problem:
        raise problem
    if interruption:
        raise interruption
    connection.adapters.register_loader("timestamptz", TimestampLoader)
    if "options" not in options:  # a pooler rejects them
        _set_session(connection)
    return connection


def _set_session(connection: LimitedConnection) -> None:
    statements = "; ".join(f"SET {name} = '{value}'" for name, value in SESSION.items())
    try:
        connection.set_autocommit(True)
        connection.execute(statements.encode())
        connection.set_autocommit(False)
        return
    except psycopg.Error as error:
        problem = " ".join(str(error).split())
    connection.close()
    raise LoginError(problem)  # out here: psycopg's error leads to the password


def _describe(error: Exception, user: Secret, password: Secret) -> LoginError:
    """Return what went wrong, without a byte of the password."""
    if isinstance(error, psycopg.Error):
        text = " ".join(str(error).split()).replace(password.reveal(), "[redacted]")
    elif isinstance(error, OSError) and error.strerror:
        text = error.strerror.lower()
    elif isinstance(error, UnicodeError):
        text = "the host's name is malformed: see DATABASE_HOST"
    else:
        text = type(error).__name__
    if not REFUSED.search(text):
        return LoginError(text)
    odd = {secret.name: odd for secret in (user, password) if (odd := hint(secret))}
    is_of_user = user.name in odd or (UNKNOWN_USER.search(text) and password.name not in odd)
    hints = "; ".join(f"{name} {odd}" for name, odd in odd.items())
    return LoginError(text, user.name if is_of_user else password.name, hints)
