"""Every setting that is no secret, from the environment (and `.env` for local work)."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from dotenv import dotenv_values

from .keys import SECRET_NAMES

Value = TypeVar("Value")

SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
#: In seconds: the longest session.
TEN_YEARS: Final = 315_360_000
LOG_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR")


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
    #: A host name, an address, or the folder of a Unix socket.
    database_host: str
    database_port: int
    database_name: str
    #: libpq's word: https://www.postgresql.org/docs/17/libpq-ssl.html#LIBPQ-SSL-PROTECTION
    database_sslmode: str
    #: The certificate authorities that the database's certificate is verified with.
    database_ca_file: Path | None
    #: Holds tls.crt and tls.key; None: plain HTTP.
    tls_dir: Path | None
    #: The address to listen on, for requests and for metrics.
    host: str
    port: int
    metrics_port: int
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
        return cls(
            secrets_from=setting("SECRETS_FROM", "files", _one_of("files", "env")),
            secrets_dir=setting("SECRETS_DIR", "/etc/secrets", Path),
            secrets_check_seconds=setting("SECRETS_CHECK_SECONDS", "1", _seconds),
            database_host=setting("DATABASE_HOST", "localhost", str),
            database_port=setting("DATABASE_PORT", "5432", _port),
            database_name=setting("DATABASE_NAME", "flask_app", str),
            database_sslmode=setting("DATABASE_SSLMODE", "verify-full", _one_of(*SSL_MODES)),
            database_ca_file=setting("DATABASE_CA_FILE", "", _optional_path),
            tls_dir=setting("TLS_DIR", "", _optional_path),
            host=setting("HOST", "127.0.0.1", str),
            port=setting("PORT", "8080", _port),
            metrics_port=setting("METRICS_PORT", "9090", _port),
            session_lifetime_seconds=setting("SESSION_LIFETIME_SECONDS", "86400", _whole_seconds),
            log_level=setting("LOG_LEVEL", "INFO", _one_of(*LOG_LEVELS)),
        )


def _read_dotenv(path: Path) -> dict[str, str]:
    try:
        found = dotenv_values(path, interpolate=False)
    except (OSError, UnicodeDecodeError):
        raise SettingsError(f"{path} can't be read: it has to be a text file of yours") from None
    for name in SECRET_NAMES:
        if name in found:
            raise SettingsError(
                f"{name} stands in {path}, where no secret belongs: take the line out and "
                f"put the value into the file {name} in SECRETS_DIR "
                "(`make run` makes one in .local/secrets)"
            )
    return {name: value for name, value in found.items() if value is not None}


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


def _whole_seconds(text: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", text) or not 1 <= int(text) <= TEN_YEARS:
        raise ValueError(f"has to be a whole number of seconds from 1 to {TEN_YEARS}, not {text!r}")
    return int(text)


def _optional_path(text: str) -> Path | None:
    return Path(text) if text else None
