"""Every setting that is no secret, from the environment (and `.env` for local work)."""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Final, TypeVar

from dotenv import dotenv_values

from .keys import SECRET_NAMES

Value = TypeVar("Value")

SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
#: With these a connection without TLS fails.
TLS_MODES: Final = ("require", "verify-ca", "verify-full")
#: Which servers are accepted, in libpq's words:
#: https://www.postgresql.org/docs/17/libpq-connect.html#LIBPQ-CONNECT-TARGET-SESSION-ATTRS
SESSION_ATTRS: Final = ("read-write", "primary", "any")
#: libpq's words for what a server may ask for:
#: https://www.postgresql.org/docs/17/libpq-connect.html#LIBPQ-CONNECT-REQUIRE-AUTH
AUTH_METHODS: Final = ("scram-sha-256", "md5", "password", "gss", "sspi", "none")
CHANNEL_BINDINGS: Final = ("require", "prefer", "disable")
POOLERS: Final = ("none", "session", "transaction")
#: In seconds: the longest session.
TEN_YEARS: Final = 315_360_000
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
#: The file for a name, which has no separators here.
_FILES: Final = {re.sub("[^A-Z0-9]", "", name): name for name in SECRET_NAMES} | {
    "PGPASSWORD": "DATABASE_PASSWORD",
    "PGUSER": "DATABASE_USERNAME",
}
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
_OWN_KEY: Final = "add a key to app/keys.py, and its file to SECRETS_DIR"


class SettingsError(Exception):
    """A setting can't be used. The message is one line and names it."""


@dataclass(frozen=True)
class Settings:
    """The settings of one process; each is the environment variable of the same name."""

    #: "files" or "env": where the secrets come from. A choice, never a fallback.
    secrets_from: str
    #: Where the Secret is mounted.
    secrets_dir: Path
    #: How long, in seconds, a change of the Secret may go unnoticed.
    secrets_check_seconds: float
    #: A host name, an address, or the directory of a Unix socket; or several, with commas, which
    #: are tried in this order.
    database_host: str
    database_port: int
    database_name: str
    #: libpq's word: https://www.postgresql.org/docs/17/libpq-ssl.html#LIBPQ-SSL-PROTECTION
    database_sslmode: str
    #: The certificate authorities that the database's certificate is verified with.
    database_ca_file: Path | None
    #: Which of the hosts is accepted: one of `SESSION_ATTRS`.
    database_target_session_attrs: str
    #: How the server may ask for the password: some of `AUTH_METHODS`, with commas.
    database_require_auth: str
    #: Whether the server must prove that the TLS connection ends at itself: one of
    #: `CHANNEL_BINDINGS`.
    database_channel_binding: str
    #: What PgBouncer, or a pooler like it, assigns a server connection to: one of `POOLERS`.
    database_pooler: str
    #: Holds tls.crt and tls.key; None: plain HTTP.
    tls_dir: Path | None
    #: The address to listen on, for requests and for metrics.
    host: str
    port: int
    metrics_port: int
    #: How long a client may send or read nothing while a thread waits for it, in seconds.
    client_idle_seconds: float
    #: How long threads may wait for a client in sum, for one request and its answer, in seconds.
    client_total_seconds: float
    #: How long a connection may wait for its next request, in seconds.
    keep_alive_seconds: int
    #: The host names that requests may be for; empty: any.
    trusted_hosts: tuple[str, ...]
    #: How many proxies in front of the service set X-Forwarded-* headers; 0: they are ignored.
    trusted_proxies: int
    session_lifetime_seconds: int
    log_level: str

    @classmethod
    def load(cls) -> Settings:
        """Read `.env` in the current folder, if there is one, and the environment over it.

        :raises SettingsError: a setting is malformed, or a secret stands in `.env`.
        """
        local = _read_dotenv(Path(".env"))
        return cls.from_mapping({**local, **os.environ})

    @classmethod
    def from_mapping(cls, values: Mapping[str, str]) -> Settings:
        """Take the settings from `values`; what is missing or empty has its default.

        :raises SettingsError: a setting is malformed.
        """

        def setting(name: str, default: str, convert: Callable[[str], Value]) -> Value:
            try:
                return convert(values.get(name) or default)
            except ValueError as error:
                raise SettingsError(f"{name} {error}") from None

        if setting("PORT", "8080", _port) == setting("METRICS_PORT", "9090", _port):
            raise SettingsError("METRICS_PORT has to be another port than PORT")
        sslmode = setting("DATABASE_SSLMODE", "verify-full", _one_of(*SSL_MODES))
        methods = setting("DATABASE_REQUIRE_AUTH", "scram-sha-256", _auth_methods)
        pooler = setting("DATABASE_POOLER", "none", _one_of(*POOLERS))
        return cls(
            secrets_from=setting("SECRETS_FROM", "files", _one_of("files", "env")),
            secrets_dir=setting("SECRETS_DIR", "/etc/secrets", Path),
            secrets_check_seconds=setting("SECRETS_CHECK_SECONDS", "1", _seconds),
            database_host=setting("DATABASE_HOST", "localhost", str),
            database_port=setting("DATABASE_PORT", "5432", _port),
            database_name=setting("DATABASE_NAME", "flask_app", str),
            database_sslmode=sslmode,
            database_ca_file=setting("DATABASE_CA_FILE", "", _optional_path),
            database_target_session_attrs=setting(
                "DATABASE_TARGET_SESSION_ATTRS", "read-write", _one_of(*SESSION_ATTRS)
            ),
            database_require_auth=methods,
            database_channel_binding=setting(
                "DATABASE_CHANNEL_BINDING",
                "require" if sslmode in TLS_MODES and pooler == "none" else "prefer",
                _channel_binding(sslmode, methods),
            ),
            database_pooler=pooler,
            tls_dir=setting("TLS_DIR", "", _optional_path),
            host=setting("HOST", "127.0.0.1", str),
            port=setting("PORT", "8080", _port),
            metrics_port=setting("METRICS_PORT", "9090", _port),
            client_idle_seconds=setting("CLIENT_IDLE_SECONDS", "5", _positive_seconds),
            client_total_seconds=setting("CLIENT_TOTAL_SECONDS", "15", _positive_seconds),
            keep_alive_seconds=setting("KEEP_ALIVE_SECONDS", "75", _whole_number(1, 3600)),
            trusted_hosts=setting("TRUSTED_HOSTS", "", _hosts),
            trusted_proxies=setting("TRUSTED_PROXIES", "0", _whole_number(0, 10)),
            session_lifetime_seconds=setting("SESSION_LIFETIME_SECONDS", "86400", _whole_seconds),
            log_level=setting("LOG_LEVEL", "INFO", _one_of(*LOG_LEVELS)),
        )


def _read_dotenv(path: Path) -> dict[str, str]:
    try:
        raw = path.read_bytes()
    except (FileNotFoundError, IsADirectoryError):
        return {}
    except OSError:
        raise SettingsError(f"{path} can't be read: it must be a text file of yours") from None
    encoding = _encoding(raw)
    text = raw.decode(encoding, errors="replace")
    for number, line in enumerate(text.splitlines(), 1):
        if problem := _secret_in(line, f"{path} (line {number})"):
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


def _secret_in(line: str, place: str) -> str:
    """Return why a line of `.env` is rejected, without its value, or an empty text."""
    line = _COMMENT.sub("", line)
    for name in _names_in(line):
        if key := _FILES.get(_squeezed(name)):
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


def _one_of(*choices: str) -> Callable[[str], str]:
    def convert(text: str) -> str:
        if text not in choices:
            raise ValueError(f"has to be one of {', '.join(choices)}, not {text!r}")
        return text

    return convert


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 65535:
        raise ValueError(f"has to be a port from 1 to 65535, not {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    problem = f"has to be a number of seconds from 0 to 3600, not {text!r}"
    try:
        seconds = float(text)
    except ValueError:
        raise ValueError(problem) from None
    if not 0 <= seconds <= 3600:
        raise ValueError(problem)
    return seconds


def _positive_seconds(text: str) -> float:
    seconds = _seconds(text)
    if not seconds:
        raise ValueError("must be more than 0 seconds")
    return seconds


def _whole_number(least: int, most: int) -> Callable[[str], int]:
    def convert(text: str) -> int:
        if not re.fullmatch("[0-9]{1,9}", text) or not least <= int(text) <= most:
            raise ValueError(f"must be a whole number from {least} to {most}, not {text!r}")
        return int(text)

    return convert


def _auth_methods(text: str) -> str:
    methods = [method.strip() for method in text.split(",")]
    for method in methods:
        if method not in AUTH_METHODS:
            raise ValueError(f"must list some of {', '.join(AUTH_METHODS)}, not {method!r}")
    return ",".join(methods)


def _channel_binding(sslmode: str, methods: str) -> Callable[[str], str]:
    def convert(text: str) -> str:
        binding = _one_of(*CHANNEL_BINDINGS)(text)
        if binding == "require" and sslmode not in TLS_MODES:
            raise ValueError(
                f"is require, and DATABASE_SSLMODE {sslmode} allows a connection without TLS, "
                f"which has no channel to bind to: use one of {', '.join(TLS_MODES)}, or prefer"
            )
        if binding == "require" and "scram-sha-256" not in methods.split(","):
            raise ValueError(
                f"is require, which needs scram-sha-256, and DATABASE_REQUIRE_AUTH is {methods}: "
                "set it to prefer"
            )
        return binding

    return convert


def _hosts(text: str) -> tuple[str, ...]:
    # Flask compares them with the host in lower case, and knows no IPv6 address in its list
    hosts = tuple(host for host in (part.strip().lower() for part in text.split(",")) if host)
    for host in hosts:
        if not re.fullmatch(r"\.?[a-z0-9-]+(\.[a-z0-9-]+)*", host):
            raise ValueError(
                "must list host names without ports, with commas, as in "
                f"shop.example.org,.example.com (any name in example.com), not {host!r}"
            )
    return hosts


def _whole_seconds(text: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", text) or not 1 <= int(text) <= TEN_YEARS:
        raise ValueError(f"has to be a whole number of seconds from 1 to {TEN_YEARS}, not {text!r}")
    return int(text)


def _optional_path(text: str) -> Path | None:
    return Path(text) if text else None
