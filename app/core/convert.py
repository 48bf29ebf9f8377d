"""Makes a setting's value from its text: each raises a `ValueError` that says what it must be."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

#: libpq's words for what a server may ask for:
#: https://www.postgresql.org/docs/17/libpq-connect.html#LIBPQ-CONNECT-REQUIRE-AUTH
AUTH_METHODS: Final = ("scram-sha-256", "md5", "password", "gss", "sspi", "none")
#: In seconds: the longest session.
TEN_YEARS: Final = 315_360_000


def one_of(*choices: str, optional: bool = False) -> Callable[[str], str]:
    """Return what takes one of some words; an empty text too, if it is optional."""

    def convert(text: str) -> str:
        if text not in choices and not (optional and not text):
            raise ValueError(f"has to be one of {', '.join(choices)}, not {text!r}")
        return text

    return convert


def port(text: str) -> int:
    """Take a port, from 1 to 65535."""
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 65535:
        raise ValueError(f"has to be a port from 1 to 65535, not {text!r}")
    return int(text)


def seconds(text: str) -> float:
    """Take a number of seconds, from 0 to 3600."""
    problem = f"has to be a number of seconds from 0 to 3600, not {text!r}"
    try:
        found = float(text)
    except ValueError:
        raise ValueError(problem) from None
    if not 0 <= found <= 3600:
        raise ValueError(problem)
    return found


def positive_seconds(text: str) -> float:
    """Take a number of seconds, more than 0 and up to 3600."""
    found = seconds(text)
    if not found:
        raise ValueError("must be more than 0 seconds")
    return found


def whole_number(least: int, most: int) -> Callable[[str], int]:
    """Return what takes a whole number from `least` to `most`."""

    def convert(text: str) -> int:
        if not re.fullmatch("[0-9]{1,9}", text) or not least <= int(text) <= most:
            raise ValueError(f"must be a whole number from {least} to {most}, not {text!r}")
        return int(text)

    return convert


def auth_methods(text: str) -> str:
    """Take some of `AUTH_METHODS`, separated by commas."""
    methods = [method.strip() for method in text.split(",")]
    for method in methods:
        if method not in AUTH_METHODS:
            raise ValueError(f"must list some of {', '.join(AUTH_METHODS)}, not {method!r}")
    return ",".join(methods)


def hosts(text: str) -> tuple[str, ...]:
    """Take host names without ports, separated by commas."""
    # Flask compares them with the host in lower case, and knows no IPv6 address in its list
    found = tuple(host for host in (part.strip().lower() for part in text.split(",")) if host)
    for host in found:
        if not re.fullmatch(r"\.?[a-z0-9-]+(\.[a-z0-9-]+)*", host):
            raise ValueError(
                "must list host names without ports, with commas, as in "
                f"shop.example.org,.example.com (any name in example.com), not {host!r}"
            )
    return found


def whole_seconds(text: str) -> int:
    """Take a whole number of seconds, from 1 to `TEN_YEARS`."""
    if not re.fullmatch("[0-9]{1,9}", text) or not 1 <= int(text) <= TEN_YEARS:
        raise ValueError(f"has to be a whole number of seconds from 1 to {TEN_YEARS}, not {text!r}")
    return int(text)


def optional_path(text: str) -> Path | None:
    """Take a path; an empty text is none."""
    return Path(text) if text else None
