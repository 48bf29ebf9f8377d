"""A value is taken as it was written, but for one line break, or refused for a reason."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.secret_files import Key
from app.secret_files.key import parse

TOKEN = Key("TOKEN")

REASONS = {
    "holds a NUL byte: write the value as plain text",
    "is a known placeholder: put a random value there",
    "is empty: write the value there",
    "is not UTF-8: write the value as plain text",
    "is too short: at least 8, from a random source",
}


WITHOUT_RETURN = st.text(min_size=8).filter(lambda value: not value.endswith("\r"))


@given(WITHOUT_RETURN, st.sampled_from(["\n", "\r\n"]))
def test_a_value_loses_one_line_break_and_nothing_else(value: str, line_break: str) -> None:
    parsed = parse(TOKEN, (value + line_break).encode())
    if isinstance(parsed, str):
        assert parsed.startswith(("is too short", "is a known placeholder", "holds a NUL"))
    else:
        assert [secret.reveal() for secret in parsed] == [value]


@given(st.binary())
def test_whatever_is_there_is_taken_or_refused_for_one_of_a_few_reasons(content: bytes) -> None:
    """The reasons are sentences of this package: none can hold a byte of the content."""
    parsed = parse(TOKEN, content)
    if isinstance(parsed, str):
        assert re.sub("at least 8 (bytes|characters)", "at least 8", parsed) in REASONS
    else:
        assert parsed[0].reveal().encode() in content


@pytest.mark.parametrize("value", ["Xq7-ab1", "éßñé", "äöüßäöü"])
def test_a_value_that_is_too_short_to_be_redacted_is_refused(value: str) -> None:
    parsed = parse(TOKEN, value.encode())
    assert isinstance(parsed, str)
    assert parsed.startswith("is too short: at least 8 ")


def test_a_key_may_be_a_fallback_whatever_characters_it_has() -> None:
    """For `str.splitlines`, each of these characters would end a line."""
    values = ["with-\x0b-and-\x85-in-it", "with-\u2028-in-it"]
    parsed = parse(Key("KEYS", lines=True), "\r\n".join([*values, "", ""]).encode())
    assert [value.reveal() for value in parsed if not isinstance(value, str)] == values


def test_a_public_value_may_be_short() -> None:
    parsed = parse(Key("USER", min_bytes=1, public=True), b"me")
    assert [value.reveal() for value in parsed if not isinstance(value, str)] == ["me"]


def test_a_key_can_not_allow_what_nothing_redacts() -> None:
    with pytest.raises(ValueError, match="PIN: min_bytes has to be at least 8"):
        Key("PIN", min_bytes=4)
