"""Texts with their escapes undone, and where each character came from.

A value that is escaped for JSON, for Python or for a URL has many forms, and each of
them has more where one stands in the other. So the forms are not listed: the escapes
of the text are undone, one layer after the other, and the value is looked for in what
comes out.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from typing import Final

#: How deep escapes may stand in each other: JSON in JSON in a URL in a line of JSON.
LAYERS: Final = 4

_NAMED: Final = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}

_BACKSLASH: Final = re.compile(
    r"\\(?:u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})"
    r"|(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|x([0-9a-fA-F]{2}))|(.))",
    re.DOTALL,
)
_PERCENT: Final = re.compile(r"(?:%[0-9a-fA-F]{2})+")

Origin = Callable[[int], int]


def unescaped(text: str) -> Iterator[tuple[str, Origin]]:
    """Iterate over `text` with one layer of escapes undone, with two, and so on.

    With each comes a function that tells where in `text` what stands at a place began.
    """
    layer: list[tuple[str, Origin]] = [(text, lambda place: place)]
    known = {text}
    for _ in range(LAYERS):
        next_layer = []
        for escaped, origin in layer:
            for mark, pattern, undo in (
                ("\\", _BACKSLASH, _undo_backslash),
                ("%", _PERCENT, _undo_percent),
            ):
                if mark in escaped and (result := pattern.sub(undo, escaped)) not in known:
                    known.add(result)
                    next_layer.append((result, _origin(escaped, pattern, undo, origin)))
        yield from next_layer
        layer = next_layer


def _undo_backslash(found: re.Match[str]) -> str:
    high, low, four, eight, two, other = found.groups()
    if high:  # https://www.rfc-editor.org/rfc/rfc8259#section-7: two for one character
        return chr(0x10000 + (int(high, 16) - 0xD800) * 0x400 + int(low, 16) - 0xDC00)
    if digits := four or eight or two:
        return chr(min(int(digits, 16), sys.maxunicode))
    return _NAMED.get(other, other)


def _undo_percent(found: re.Match[str]) -> str:
    return bytes.fromhex(found[0].replace("%", "")).decode(errors="surrogateescape")


def _origin(
    text: str, pattern: re.Pattern[str], undo: Callable[[re.Match[str]], str], before: Origin
) -> Origin:
    """Return a function that leads from a place in the result to one in the first text."""
    places: list[int] = []

    def origin(place: int) -> int:
        if not places:  # made when something was found, which is seldom
            places.extend(_places(text, pattern, undo))
        return before(places[place])

    return origin


def _places(
    text: str, pattern: re.Pattern[str], undo: Callable[[re.Match[str]], str]
) -> Iterator[int]:
    end = 0
    for found in pattern.finditer(text):
        yield from range(end, found.start())
        place = found.start()
        for character in undo(found):  # one, but for %, of which each byte of it has one
            yield place
            place += 3 * len(character.encode(errors="replace"))
        end = found.end()
    yield from range(end, len(text) + 1)
