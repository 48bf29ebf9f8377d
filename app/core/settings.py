"""What the template's parts are set to, from the environment (and `.env` for local work).

app/settings.py adds a service's own.
"""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from io import StringIO
from pathlib import Path
from typing import ClassVar, Final, Self, TypeVar

from dotenv import dotenv_values

from . import convert

Value = TypeVar("Value")

SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
#: With these a connection without TLS fails.
TLS_MODES: Final = ("require", "verify-ca", "verify-full")
#: Which servers are accepted, in libpq's words:
#: https://www.postgresql.org/docs/17/libpq-connect.html#LIBPQ-CONNECT-TARGET-SESSION-ATTRS
SESSION_ATTRS: Final = ("read-write", "primary", "any")
CHANNEL_BINDINGS: Final = ("require", "prefer", "disable")
POOLERS: Final = ("none", "session", "transaction")
LOG_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR")

#: The name that a line of `.env` begins with, and those before ``=`` or ``:``: what a shell, YAML,
#: JSON or Docker takes for an assignment.
_FIRST_NAME: Final = re.compile(r"\W*(?:export\s+)?([\w.-]+)")
_ASSIGNED_NAME: Final = re.compile(r"(?<![\w./-])([A-Za-z_][\w.-]*)[\"']?\s*[:=]")
_COMMENT: Final = re.compile(r"(?:^|\s)#.*")
#: What a name ends with if its value is a secret, whether it is written in capitals or not.
_SECRET_NAME: Final = re.compile(
    r"(?:password|passwd|passphrase|(?:^|_)pass|(?:^|_)pwd|token|secret|credentials?"
    r"|(?:secret|api|access|private|signing|encryption)[_.-]?key|(?:^|_)dsn)$",
    re.IGNORECASE,
)
#: libpq's own variables, without separators, and the files for them.
_LIBPQ_FILES: Final = {"PGPASSWORD": "DATABASE_PASSWORD", "PGUSER": "DATABASE_USERNAME"}
_DATABASE_URLS: Final = ("DATABASEURL", "DATABASEURI", "DBURL", "DBURI", "POSTGRESURL")
#: A URL with a password, or libpq's words for one:
#: https://www.postgresql.org/docs/17/libpq-connect.html#LIBPQ-CONNSTRING
_LOGIN_IN_VALUE: Final = re.compile(
    r"[a-z][a-z0-9+.-]*://[^/\s:@]*:(?!\d{1,5}(?:[/?#]|$))[^@\s]+@"
    r"|\b(?:host|user|dbname)\s*=.*\bpassword\s*=",
    re.IGNORECASE,
)
_LOGIN_IN_FILES: Final = (
    "put user name and password into the files DATABASE_USERNAME and DATABASE_PASSWORD in "
    "SECRETS_DIR, and the rest into DATABASE_HOST, DATABASE_PORT and DATABASE_NAME"
)
_OWN_KEY: Final = "add a key to app/secret_keys.py, and its file to SECRETS_DIR"


class SettingsError(Exception):
    """A setting can't be used. The message is one line and names it."""


def setting(default: str, convert: Callable[[str], Value]) -> Value:
    """Declare a setting; the environment variable has the field's name, in capitals.

    :param default: what it is where the variable is missing or empty, as text.
    :param convert: makes the value from the text; its `ValueError` ends the sentence that begins
        with the variable's name.
    """
    declared: Value = field(metadata={"default": default, "convert": convert})
    return declared


@dataclass(frozen=True)
class CoreSettings:
    """The settings of one process; each is the environment variable of the same name."""

    #: What can't stand in `.env`: the names of the service's secrets.
    secret_names: ClassVar[tuple[str, ...]] = ()

    #: "files" or "env": where the secrets come from. A choice, never a fallback.
    secrets_from: str = setting("files", convert.one_of("files", "env"))
    #: Where the Secret is mounted.
    secrets_dir: Path = setting("/etc/secrets", Path)
    #: How long, in seconds, a change of the Secret may go unnoticed.
    secrets_check_seconds: float = setting("1", convert.seconds)
    #: A host name, an address, or the directory of a Unix socket; or several, with commas, which
    #: are tried in this order.
    database_host: str = setting("localhost", str)
    database_port: int = setting("5432", convert.port)
    database_name: str = setting("flask_app", str)
    #: libpq's word: https://www.postgresql.org/docs/17/libpq-ssl.html#LIBPQ-SSL-PROTECTION
    database_sslmode: str = setting("verify-full", convert.one_of(*SSL_MODES))
    #: The certificate authorities that the database's certificate is verified with.
    database_ca_file: Path | None = setting("", convert.optional_path)
    #: Which of the hosts is accepted: one of `SESSION_ATTRS`.
    database_target_session_attrs: str = setting("read-write", convert.one_of(*SESSION_ATTRS))
    #: How the server may ask for the password: some of `convert.AUTH_METHODS`, with commas.
    database_require_auth: str = setting("scram-sha-256", convert.auth_methods)
    #: Whether the server must prove that the TLS connection ends at itself: one of
    #: `CHANNEL_BINDINGS`.
    database_channel_binding: str = setting("", convert.one_of(*CHANNEL_BINDINGS, optional=True))
    #: What PgBouncer, or a pooler like it, assigns a server connection to: one of `POOLERS`.
    database_pooler: str = setting("none", convert.one_of(*POOLERS))
    #: Holds tls.crt and tls.key; None: plain HTTP.
    tls_dir: Path | None = setting("", convert.optional_path)
    #: The address to listen on, for requests and for metrics.
    host: str = setting("127.0.0.1", str)
    port: int = setting("8080", convert.port)
    metrics_port: int = setting("9090", convert.port)
    #: How long a client may send or read nothing while a thread waits for it, in seconds.
    client_idle_seconds: float = setting("5", convert.positive_seconds)
    #: How long threads may wait for a client in sum, for one request and its answer, in seconds.
    client_total_seconds: float = setting("15", convert.positive_seconds)
    #: How long a connection may wait for its next request, in seconds.
    keep_alive_seconds: int = setting("75", convert.whole_number(1, 3600))
    #: The host names that requests may be for; empty: any.
    trusted_hosts: tuple[str, ...] = setting("", convert.hosts)
    #: How many proxies in front of the service set X-Forwarded-* headers; 0: they are ignored.
    trusted_proxies: int = setting("0", convert.whole_number(0, 10))
    session_lifetime_seconds: int = setting("86400", convert.whole_seconds)
    log_level: str = setting("INFO", convert.one_of(*LOG_LEVELS))

    @classmethod
    def load(cls) -> Self:
        """Read `.env` in the current directory, if there is one, and the environment over it.

        :raises SettingsError: a setting is malformed, or `.env` contains a secret.
        """
        local = _read_dotenv(Path(".env"), cls.secret_names)
        return cls.from_mapping({**local, **os.environ})

    @classmethod
    def from_mapping(cls, values: Mapping[str, str]) -> Self:
        """Take the settings from `values`; what is missing or empty has its default.

        :raises SettingsError: a setting is malformed.
        """
        found = {}
        for declared in fields(cls):
            name, options = declared.name.upper(), declared.metadata
            try:
                found[declared.name] = options["convert"](values.get(name) or options["default"])
            except ValueError as error:
                raise SettingsError(f"{name} {error}") from None
        return cls(**found)._consistent()

    def _consistent(self) -> Self:
        """Check what depends on several settings, and fill in a default that does."""
        if self.port == self.metrics_port:
            raise SettingsError("METRICS_PORT has to be another port than PORT")
        has_tls = self.database_sslmode in TLS_MODES
        binding = self.database_channel_binding
        if not binding:
            binding = "require" if has_tls and self.database_pooler == "none" else "prefer"
        if binding == "require" and not has_tls:
            raise SettingsError(
                f"DATABASE_CHANNEL_BINDING is require, and DATABASE_SSLMODE {self.database_sslmode}"
                " allows a connection without TLS, which has no channel to bind to: use one of "
                f"{', '.join(TLS_MODES)}, or prefer"
            )
        if binding == "require" and "scram-sha-256" not in self.database_require_auth.split(","):
            raise SettingsError(
                "DATABASE_CHANNEL_BINDING is require, which needs scram-sha-256, and "
                f"DATABASE_REQUIRE_AUTH is {self.database_require_auth}: set it to prefer"
            )
        return replace(self, database_channel_binding=binding)


def _read_dotenv(path: Path, secret_names: Sequence[str]) -> dict[str, str]:
    try:
        raw = path.read_bytes()
    except (FileNotFoundError, IsADirectoryError):
        return {}
    except OSError:
        raise SettingsError(f"{path} can't be read: it must be a text file of yours") from None
    encoding = _encoding(raw)
    text = raw.decode(encoding, errors="replace")
    for number, line in enumerate(text.splitlines(), 1):
        if problem := _secret_in(line, f"{path} (line {number})", secret_names):
            raise SettingsError(problem)
    if encoding != "utf-8-sig" or "\ufffd" in text:
        raise SettingsError(f"{path} can't be read: save it as UTF-8 text")
    found = dotenv_values(stream=StringIO(text), interpolate=False)
    return {name: value for name, value in found.items() if value is not None}


def _encoding(raw: bytes) -> str:
    """Guess it from the byte order mark, or from where the NUL bytes are."""
    marks = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32"}
    marks |= {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}  # the shorter last
    for mark, encoding in marks.items():
        if raw.startswith(mark):
            return encoding
    if b"\0" in raw[:4]:
        return "utf-16-be" if raw[:1] == b"\0" else "utf-16-le"
    return "utf-8-sig"


def _secret_in(line: str, place: str, secret_names: Sequence[str]) -> str:
    """Return why a line of `.env` is rejected, without its value, or an empty text."""
    line = _COMMENT.sub("", line)
    files = {_squeezed(name): name for name in secret_names} | _LIBPQ_FILES
    for name in _names_in(line):
        if key := files.get(_squeezed(name)):
            return _moved(name, place, f"put the value into the file {key} in SECRETS_DIR")
        if _squeezed(name).endswith(_DATABASE_URLS):
            return _moved(name, place, _LOGIN_IN_FILES)
    if _LOGIN_IN_VALUE.search(line):
        is_other = "://" in line and "postgres" not in line.lower()
        return _moved("a login", place, _OWN_KEY if is_other else _LOGIN_IN_FILES)
    if "PRIVATE KEY-----" in line:
        return _moved("a private key", place, "put the key into a file in SECRETS_DIR or TLS_DIR")
    for name in filter(_SECRET_NAME.search, _names_in(line)):
        return _moved(name, place, _OWN_KEY)
    return ""


def _names_in(line: str) -> list[str]:
    return [*_FIRST_NAME.findall(line)[:1], *_ASSIGNED_NAME.findall(line)]


def _moved(what: str, place: str, remedy: str) -> str:
    return (
        f"{what} stands in {place}, where no secret belongs: take the line out and {remedy} "
        "(`make run` makes them in .local/secrets)"
    )


def _squeezed(name: str) -> str:
    return re.sub("[^A-Z0-9]", "", name.upper())
