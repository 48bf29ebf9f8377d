"""Escapes are undone layer by layer, and each place leads back to where it was."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.secret_files.escapes import unescaped

ESCAPES: dict[str, Callable[[str], str]] = {
    "JSON": lambda text: json.dumps(text)[1:-1],
    "JSON with letters": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "repr": lambda text: repr("'\"" + text)[4:-1],
    "URL": lambda text: quote(text, safe=""),
}


@given(
    st.text(max_size=20),
    st.text(min_size=1, max_size=20),
    st.text(max_size=20),
    st.lists(st.sampled_from(sorted(ESCAPES)), min_size=1, max_size=4),
)
def test_a_text_is_found_below_its_escapes_and_where_it_was(
    before: str, middle: str, after: str, names: list[str]
) -> None:
    parts = [before, middle, after]
    for name in names:
        parts = [ESCAPES[name](part) for part in parts]
    escaped = "".join(parts)
    place, end = len(before), len(before) + len(middle)
    if escaped != before + middle + after:
        (origin,) = [
            origin for plain, origin in unescaped(escaped) if plain == before + middle + after
        ]
        assert escaped[origin(place) : origin(end)] == parts[1]


@given(st.text(alphabet='\\"%uUx0dD8cCF2\ud800', max_size=60))
def test_malformed_escapes_lead_back_to_some_place(text: str) -> None:
    for plain, origin in unescaped(text):
        places = [origin(place) for place in range(len(plain) + 1)]
        assert places == sorted(places)
        assert places[-1] == len(text)


def test_a_text_without_escapes_has_no_layers() -> None:
    assert list(unescaped("nothing: 100 % of it, C:/")) == []


def seconds(text: str) -> float:
    started = time.thread_time()
    for _ in unescaped(text):
        pass
    return time.thread_time() - started


@pytest.mark.parametrize("piece", ["\\", "%25", "\\u005c", "%5c%2525", "\\\\%25"])
def test_many_escapes_take_a_time_that_grows_with_their_number(piece: str) -> None:
    few, many = (min(seconds(piece * count) for _ in range(5)) for count in (500, 5000))
    assert many < 30 * few
