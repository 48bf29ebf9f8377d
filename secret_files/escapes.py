"""Texts with their escapes undone, and where each character came from.

A value that is escaped for JSON, for Python or for a URL has many forms, and each of
them has more where one stands in the other. So the forms are not listed: the escapes
of the text are undone, one layer after the other, and the value is looked for in what
comes out. Bytes that are written one by one in hex are brought together as well.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from html.entities import html5
from typing import Final, NamedTuple

#: How deep escapes may stand in each other: JSON in JSON in a URL in a line of JSON.
LAYERS: Final = 4

_NAMED: Final = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}

_BACKSLASH: Final = re.compile(
    r"\\(?:u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})"
    r"|(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|x([0-9a-fA-F]{2}))|([0-3][0-7]{2})|(.))",
    re.DOTALL,
)
_PERCENT: Final = re.compile(r"(?:%[0-9a-fA-F]{2})+")
_ENTITY: Final = re.compile(
    r"&(?:#([0-9]{1,10})|#[xX]([0-9a-fA-F]{1,8})|([A-Za-z][A-Za-z0-9]{1,31}));"
)

#: Bytes in hex, one by one: `70 22`, `70:22`, `0x70, 0x22`; no fewer than a secret has.
_PAIR: Final = re.compile(r"[0-9a-fA-F]{2}")
_PAIRS: Final = re.compile(
    r"(?:0[xX])?[0-9a-fA-F]{2}(?:[ :,;+\-_\t\n]{1,2}(?:0[xX])?[0-9a-fA-F]{2}){7,}"
)
#: What these look like with h for a digit and s for a separator. A line's bytes are translated and
#: searched in 1 µs, for which the regular expression takes ten.
_KINDS: Final = bytes.maketrans(
    b"0123456789abcdefABCDEF" + b" :,;+-_\t\n" + b"X", b"h" * 22 + b"s" * 9 + b"x"
)
_SINGLE: Final = b"hh" + b"shh" * 7
_DOUBLE: Final = b"hh" + b"sshh" * 7
_PREFIXED: Final = re.compile(rb"hxhh(?:ss?hxhh){7}")

Origin = Callable[[int], int]


class Escape(NamedTuple):
    """A kind of escape: how to find each, and to undo it.

    `offsets` gives, for each character of what an escape stands for, where it begins in it.
    """

    pattern: re.Pattern[str]
    undo: Callable[[re.Match[str]], str]
    offsets: Callable[[re.Match[str]], Iterator[int]]


def unescaped(text: str) -> Iterator[tuple[str, Origin]]:
    """Iterate over `text` with one layer of escapes undone, with two, and so on.

    With each comes a function that tells where in `text` what stands at a place began.
    """
    layer: list[tuple[str, Origin]] = [(text, lambda place: place)]
    known = {text}
    for _ in range(LAYERS):
        next_layer = []
        for escaped, origin in layer:
            for escape in _likely(escaped):
                result = escape.pattern.sub(escape.undo, escaped)
                if result not in known:
                    known.add(result)
                    next_layer.append((result, _origin(escaped, escape, origin)))
        if not next_layer:
            return
        yield from next_layer
        layer = next_layer


def _undo_backslash(found: re.Match[str]) -> str:
    high, low, four, eight, two, octal, other = found.groups()
    if high:  # https://www.rfc-editor.org/rfc/rfc8259#section-7: two for one character
        return chr(0x10000 + (int(high, 16) - 0xD800) * 0x400 + int(low, 16) - 0xDC00)
    if digits := four or eight or two:
        return chr(min(int(digits, 16), sys.maxunicode))
    if octal:  # a byte, as a shell's $'…' has it
        return chr(int(octal, 8))
    return _NAMED.get(other, other)


def _undo_percent(found: re.Match[str]) -> str:
    return bytes.fromhex(found[0].replace("%", "")).decode(errors="surrogateescape")


def _undo_entity(found: re.Match[str]) -> str:
    decimal, digits, name = found.groups()
    if name:
        return html5.get(f"{name};", found[0])
    return chr(min(int(decimal) if decimal else int(digits, 16), sys.maxunicode))


def _undo_pairs(found: re.Match[str]) -> str:
    return "".join(_PAIR.findall(found[0])).lower()


def _offset_of_one(found: re.Match[str]) -> Iterator[int]:
    yield 0


def _offsets_of_percent(found: re.Match[str]) -> Iterator[int]:
    place = 0
    for character in _undo_percent(found):
        yield place
        place += 3 * len(character.encode(errors="replace"))


def _offsets_of_entity(found: re.Match[str]) -> Iterator[int]:
    return (0 for _ in _undo_entity(found))  # a few names stand for two characters


def _offsets_of_pairs(found: re.Match[str]) -> Iterator[int]:
    return (pair.start() for pair in _PAIR.finditer(found[0]) for _ in range(2))


_BACKSLASHES: Final = Escape(_BACKSLASH, _undo_backslash, _offset_of_one)
_PERCENTS: Final = Escape(_PERCENT, _undo_percent, _offsets_of_percent)
_ENTITIES: Final = Escape(_ENTITY, _undo_entity, _offsets_of_entity)
_DUMPS: Final = Escape(_PAIRS, _undo_pairs, _offsets_of_pairs)


def _likely(text: str) -> list[Escape]:
    """Return the kinds that may be in `text`, in a time that a line without one hardly feels."""
    found = []
    if "\\" in text:
        found.append(_BACKSLASHES)
    if "%" in text:
        found.append(_PERCENTS)
    if "&" in text:
        found.append(_ENTITIES)
    looks = text.encode("latin-1", "replace").translate(_KINDS)
    has_prefix = "0x" in text or "0X" in text
    if _SINGLE in looks or _DOUBLE in looks or (has_prefix and _PREFIXED.search(looks)):
        found.append(_DUMPS)
    return found


def _origin(text: str, escape: Escape, before: Origin) -> Origin:
    """Return a function that leads from a place in the result to one in the first text."""
    places: list[int] = []

    def origin(place: int) -> int:
        if not places:  # made when something was found, which is seldom
            places.extend(_places(text, escape))
        return before(places[place])

    return origin


def _places(text: str, escape: Escape) -> Iterator[int]:
    end = 0
    for found in escape.pattern.finditer(text):
        yield from range(end, found.start())
        yield from (found.start() + offset for offset in escape.offsets(found))
        end = found.end()
    yield from range(end, len(text) + 1)
