"""A hint names what is seldom meant in a value, and is empty for an ordinary one."""

from __future__ import annotations

import base64
import secrets
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secret_files import Secret, hint
from tests.forms import CURRENT, PREVIOUS

VALUE = "Xq7-ab12-Zk3w"

ODD = {
    f"{VALUE}\n": "ends with white space",
    f"{VALUE}\r": "ends with white space",
    f"{VALUE}\r\n": "ends with white space",
    f"{VALUE} ": "ends with white space",
    f"{VALUE}\xa0": "ends with white space",
    f"\t{VALUE}": "begins with white space",
    f" {VALUE}\n": "begins with white space and ends with white space",
    f"\ufeff{VALUE}": "begins with a byte order mark",
    f"{VALUE}\n{VALUE}": "has several lines",
    f"{VALUE}\xa0{VALUE}": "contains a no-break space",
    f"{VALUE}\u200b": "contains an invisible character",
    f"{VALUE}\xad{VALUE}": "contains an invisible character",
    f"\u202a{VALUE}": "contains an invisible character",
    f"{VALUE}\x1b[A": "contains a control character",
    f"{VALUE}\x7f": "contains a control character",
    f"{VALUE}\\n": "ends with an escaped line break",
    f"{VALUE}\\r\\n": "ends with an escaped line break",
    f'"{VALUE}"': "is in quotes",
    f"'{VALUE}'": "is in quotes",
    f"`{VALUE}`": "is in quotes",
    f"\u201c{VALUE}\u201d": "is in quotes",
    f'"{VALUE}"\n': "ends with white space and is in quotes",
    f"<{VALUE}>": "is in angle brackets",
    "${DATABASE_PASSWORD}": "looks like a template that nobody filled in",
    "$DATABASE_PASSWORD": "looks like a template that nobody filled in",  # pragma: allowlist secret
    "$(DATABASE_PASSWORD)": "looks like a template that nobody filled in",
    "{{ .Data.data.password }}": "looks like a template that nobody filled in",
    "<%= password %>": "looks like a template that nobody filled in",
    f'{{"password": "{VALUE}"}}': "looks like JSON",
    f'["{VALUE}"]': "looks like JSON",
    f"postgresql://flask:{VALUE}@db/app": "looks like a URL",
    "Xq7%40ab%2F": "looks like percent-encoding",
    "p%C3%BCnktlich": "looks like percent-encoding",
    f"DATABASE_PASSWORD={VALUE}": "looks like KEY=value",
    f"export PGPASSWORD={VALUE}": "looks like KEY=value",
    f"password={VALUE}": "looks like KEY=value",
    f"DB_PASS = {VALUE}": "looks like KEY=value",
    f"password: {VALUE}": "looks like a line of YAML",
    base64.b64encode(b"correct-horse").decode(): "looks like base64",
    base64.b64encode(b"twelve-chars").decode(): "looks like base64",
    base64.b64encode(b"flask_app\n").decode(): "looks like base64",
    base64.b64encode(VALUE.encode() + b"\n").decode(): "looks like base64",
    base64.b64encode("pünktlich-um-drei".encode()).decode(): "looks like base64",
    base64.b64encode(b"Xq7-ab12-Zk3w-Xq7-ab12-Zk3w-Xq7").decode(): "looks like base64",
    base64.urlsafe_b64encode(b"Xq7?>~-Xq7?>~-").decode(): "looks like base64",
}


@pytest.mark.parametrize("value", ODD, ids=ascii)
def test_an_odd_value_has_a_hint(value: str) -> None:
    assert hint(Secret("DATABASE_PASSWORD", value)) == ODD[value]


@pytest.mark.parametrize(
    "value",
    [
        "",
        VALUE,
        CURRENT,
        PREVIOUS,
        "flask_app_a",
        "postgres",
        "correct horse battery staple",
        "a'quote\"in-it",
        "'starts-with-one",
        "100%-sure-of-it",
        "50%off%the%price",
        "%41%42-letters-need-no-code",
        "a=b+c-and-more",
        "AB=cd!ef-gh",
        "ends-with-an-equals-sign=",
        "a<b>c-compared",
        "<one-bracket",
        "it: costs $5, or {so}",
        "$ecret-with-a-dollar",
        "C:\\no-escape\\x",
        "🔑🔐-key-9🗝️",
        "👩\u200d🚀-to-the-moon",
        "🏴\U000e0067\U000e0062\U000e007f-flag",
        "می\u200cخواهم-سه",  # noqa: RUF001
        "pässwörd-ünd-mehr",
    ],
    ids=ascii,
)
def test_an_ordinary_value_has_none(value: str) -> None:
    assert hint(Secret("DATABASE_PASSWORD", value)) == ""


@pytest.mark.parametrize(
    "make",
    [
        secrets.token_urlsafe,
        secrets.token_hex,
        lambda: secrets.token_urlsafe(24),  # as long as base64 of 24 bytes without padding
        lambda: base64.b64encode(secrets.token_bytes(32)).decode(),
        lambda: base64.b64encode(secrets.token_bytes(24)).decode(),
        lambda: "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(20)),
    ],
)
def test_a_random_token_has_none(make: object) -> None:
    assert callable(make)
    assert {hint(Secret("TOKEN", make())) for _ in range(5000)} == {""}


def test_a_password_of_any_punctuation_has_seldom_one() -> None:
    characters = string.ascii_letters + string.digits + string.punctuation
    values = ["".join(secrets.choice(characters) for _ in range(20)) for _ in range(5000)]
    assert sum(bool(hint(Secret("PASSWORD", value))) for value in values) < 50


PHRASES = {phrase for hinted in ODD.values() for phrase in hinted.split(" and ")}


@given(st.text())
def test_a_hint_is_made_of_known_phrases_and_holds_no_byte_of_the_value(value: str) -> None:
    found = hint(Secret("DATABASE_PASSWORD", value))
    assert set(filter(None, found.split(" and "))) <= PHRASES
