"""Escapes are undone layer by layer, and each place leads back to where it was."""

from __future__ import annotations

import html
import json
import time
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secret_files.escapes import unescaped

ESCAPES: dict[str, Callable[[str], str]] = {
    "JSON": lambda text: json.dumps(text)[1:-1],
    "JSON with letters": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "repr": lambda text: repr("'\"" + text)[4:-1],
    "URL": lambda text: quote(text, safe=""),
    "HTML": html.escape,
    "decimal entities": lambda text: "".join(f"&#{ord(one)};" for one in text),
    "hex entities": lambda text: "".join(f"&#x{ord(one):04X};" for one in text),
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


@given(st.text(alphabet='\\"%uUx0dD8cCF2\ud800&#;39ltNfj :,', max_size=60))
def test_malformed_escapes_lead_back_to_some_place(text: str) -> None:
    for plain, origin in unescaped(text):
        places = [origin(place) for place in range(len(plain) + 1)]
        assert places == sorted(places)
        assert places[-1] == len(text)


@pytest.mark.parametrize(
    "text",
    [
        "nothing: 100 % of it, C:/",
        "a & b, &unknown; &#; &#x; AT&T;",
        "2026-01-31T12:00:00+00:00",
        "aa:bb:cc:dd:ee:ff 2001:db8::1",
    ],
)
def test_a_text_without_escapes_has_no_layers(text: str) -> None:
    assert list(unescaped(text)) == []


@pytest.mark.parametrize(
    "dump",
    [
        "70 22 77 27 2f c3 bc 2B 39",
        "70:22:77:27:2f:c3:bc:2b:39",
        "0x70, 0x22,0x77 0x27:0x2F, 0xC3, 0xBC, 0x2b, 0x39",
        "0X70 0X22 0X77 0X27 0X2F 0XC3 0XBC 0X2B 0X39",
    ],
)
def test_bytes_in_hex_are_brought_together_and_lead_back(dump: str) -> None:
    text = f"id {dump} end"
    if "," in dump:  # with one separator to begin with: what follows may have others
        text = text.replace(", ", ",")
    ((plain, origin),) = unescaped(text)
    assert plain == "id 702277272fc3bc2b39 end"
    assert text[origin(3) :].lower().startswith(("70", "0x70"))
    assert text[: origin(21)].lower().endswith("39")
    assert text[origin(21) :] == " end"


def seconds(text: str) -> float:
    started = time.thread_time()
    for _ in unescaped(text):
        pass
    return time.thread_time() - started


@pytest.mark.parametrize(
    "piece",
    ["\\", "%25", "\\u005c", "%5c%2525", "\\\\%25", "&amp;", "&#38;", "&amp;#38;", "70 ", "0x70, "],
)
def test_many_escapes_take_a_time_that_grows_with_their_number(piece: str) -> None:
    few, many = (min(seconds(piece * count) for _ in range(5)) for count in (500, 5000))
    assert many < 30 * few
