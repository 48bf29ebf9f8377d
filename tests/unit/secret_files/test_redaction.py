"""No form of a secret passes the formatter, and a control shows that it would be seen."""

from __future__ import annotations

import base64
import io
import json
import logging
from collections.abc import Callable, Iterator
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.secret_files import RedactingFormatter, Redactor, Secret

VALUE = 'p"w/ü+9f81c7 %word\\end'
OTHER = "previous-value-1b2c3d"

FORMS: dict[str, Callable[[str], str]] = {
    "raw": str,
    "json": lambda value: json.dumps({"password": value}),
    "repr": repr,
    "url": quote,
    "url, all": lambda value: quote(value, safe=""),
    "form": quote_plus,
    "hex": lambda value: value.encode().hex(),
    "HEX": lambda value: value.encode().hex().upper(),
    **{
        f"base64 after {length} bytes": lambda value, length=length: base64.b64encode(  # type: ignore[misc]
            b"x" * length + value.encode() + b"tail"
        ).decode()
        for length in range(3)
    },
    "base64, urlsafe": lambda value: base64.urlsafe_b64encode(value.encode()).decode(),
}


@pytest.fixture
def hits() -> list[int]:
    return []


@pytest.fixture
def redactor(hits: list[int]) -> Redactor:
    redactor = Redactor(hits.append)
    redactor.learn([Secret("OLD", OTHER)])
    redactor.learn([Secret("NEW", VALUE)])
    return redactor


def traces(value: str) -> set[str]:
    """Return what would be left in a text if a form of `value` had passed."""
    middle = base64.b64encode(b"xx" + value.encode() + b"xx").decode()[6:-6]
    return {value, json.dumps(value)[1:-1], quote(value), value.encode().hex(), middle}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("value", [VALUE, OTHER])
def test_every_form_is_redacted(redactor: Redactor, form: str, value: str) -> None:
    text = f"before {FORMS[form](value)} after"
    redacted = redactor.redact(text)
    assert "[redacted]" in redacted
    assert not [trace for trace in traces(value) if trace in redacted]
    assert redacted.startswith("before ")
    assert redacted.endswith(" after")


@given(st.text(min_size=8, max_size=80), st.binary(max_size=9), st.binary(max_size=9))
def test_base64_is_redacted_whatever_stands_around(value: str, before: bytes, after: bytes) -> None:
    redactor = Redactor()
    redactor.learn([Secret("TOKEN", value)])
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        encoded = encode(before + value.encode() + after).decode()
        redacted = redactor.redact(encoded)
        assert "[redacted]" in redacted
        # what is left is before and after it, and the characters that it shares with them
        assert len(redacted) - len("[redacted]") <= len(encoded) - len(value.encode()) * 4 / 3 + 4


def test_other_texts_stay_as_they_are(redactor: Redactor, hits: list[int]) -> None:
    assert redactor.redact("nothing to see: 42 äö") == "nothing to see: 42 äö"
    assert hits == []


def test_a_short_value_is_not_looked_for(hits: list[int]) -> None:
    redactor = Redactor(hits.append)
    redactor.learn([Secret("SHORT", ""), Secret("SHORT", "a"), Secret("SHORT", "1234567")])
    assert redactor.redact("a 1234567") == "a 1234567"
    assert hits == []


def test_hits_are_counted(redactor: Redactor, hits: list[int]) -> None:
    redactor.redact(f"{VALUE} and {OTHER}")
    assert hits == [2]


@pytest.fixture
def logger(redactor: Redactor) -> Iterator[tuple[logging.Logger, io.StringIO]]:
    """Return a logger of its own and what it wrote."""
    output = io.StringIO()
    handler = logging.StreamHandler(output)
    handler.setFormatter(RedactingFormatter(logging.Formatter("%(message)s %(extra)s"), redactor))
    logger = logging.Logger("test")
    logger.addHandler(handler)
    yield logger, output


def raise_with(value: str) -> None:
    try:
        raise KeyError(value)
    except KeyError as error:
        raise ValueError("outer") from error


def log_exception(logger: logging.Logger) -> None:
    try:
        raise_with(VALUE)
    except ValueError:
        logger.exception("failed", extra={"extra": ""})


WAYS: dict[str, Callable[[logging.Logger], None]] = {
    "message": lambda logger: logger.warning(VALUE, extra={"extra": ""}),
    "args": lambda logger: logger.warning("%s", VALUE, extra={"extra": ""}),
    "extra": lambda logger: logger.warning("x", extra={"extra": {"password": VALUE}}),
    "chained exception": log_exception,
    "child": lambda logger: _child(logger).warning("%r", [VALUE], extra={"extra": ""}),
}


def _child(logger: logging.Logger) -> logging.Logger:
    child = logging.Logger("test.child")
    child.parent = logger
    return child


@pytest.mark.parametrize("way", WAYS)
def test_every_way_into_the_log_is_redacted(
    logger: tuple[logging.Logger, io.StringIO], way: str
) -> None:
    WAYS[way](logger[0])
    written = logger[1].getvalue()
    assert "[redacted]" in written
    assert not [trace for trace in traces(VALUE) if trace in written]


@pytest.mark.parametrize("way", WAYS)
def test_without_the_formatter_every_way_leaks(
    logger: tuple[logging.Logger, io.StringIO], way: str
) -> None:
    logger[0].handlers[0].setFormatter(logging.Formatter("%(message)s %(extra)s"))
    WAYS[way](logger[0])
    assert VALUE in logger[1].getvalue() or repr(VALUE)[1:-1] in logger[1].getvalue()
