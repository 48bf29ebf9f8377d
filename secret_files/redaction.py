"""The log formatter that no secret passes.

A logging *filter* misses `args`, `exc_info`, `extra` and the records of child
loggers; a *formatter* sees the text as it will be written, whatever it was made
from.
"""

from __future__ import annotations

import base64
import logging
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Final

from .escapes import unescaped
from .key import MIN_CHARACTERS
from .value import Secret

log = logging.getLogger(__name__)

#: Where something begins in a text, and where it ends.
Place = tuple[int, int]

MASK: Final = "[redacted]"

#: How SQL and YAML, CSV, shells and XML's CDATA write what would end a text. No escape marks
#: these: undone in each line, every line with two quotation marks would cost twice as much.
_DOUBLED: Final = (
    ("'", "''"),
    ('"', '""'),
    ("'", "'\\''"),
    ("'", "'\"'\"'"),
    ("]]>", "]]]]><![CDATA[>"),
)

#: The index looks at no more of the shortest text than this: its size grows with the square.
MANY_CHARACTERS: Final = 64


class Redactor:
    """Knows every value that was ever current, and takes them out of texts.

    :param on_hit: called with the number of places, whenever there were any.
    """

    def __init__(self, on_hit: Callable[[int], None] = lambda count: None) -> None:
        self.on_hit = on_hit
        self._forms: set[str] = set()
        self._index: Index | None = None
        self._learning = threading.Lock()

    def learn(self, secrets: Iterable[Secret]) -> None:
        """Redact these too, from now on, in every form in which they could be written.

        Values of fewer than 8 characters stay, since they would be found everywhere; a
        `Key` refuses them.
        """
        with self._learning:
            values = [secret.reveal() for secret in secrets]
            new = {
                form for value in values if len(value) >= MIN_CHARACTERS for form in forms(value)
            } - self._forms
            if not new:
                return
            if self._index and self._index.takes(new):
                self._index.add(new)
            else:
                self._index = Index(self._forms | new)
            self._forms |= new  # at last: what failed on the way is learnt at the next try

    def redact(self, text: str) -> str:
        """Return `text` with a mask in the place of each secret."""
        places = _merged(self._find(text))
        if not places:
            return text
        self.on_hit(len(places))
        kept = []
        end = 0
        for start, next_end in places:
            kept.append(text[end:start])
            end = next_end
        return MASK.join([*kept, text[end:]])

    def _find(self, text: str) -> list[Place]:
        index = self._index
        if not index:
            return []
        places = index.find(text)
        for plain, origin in unescaped(text):
            places += [(origin(start), origin(end)) for start, end in index.find(plain)]
        return places


class Index:
    """Finds many texts in one, in a time that does not depend on how many they are.

    A value has 16 forms, so a service with five keys has 80 texts to look for, and 320 after three
    rotations. For these a plain loop takes 4 and 26 times as long, on a line of 300 bytes.

    Each occurrence of a text of at least m characters covers a whole piece of q
    characters that begins at a multiple of m - q + 1. So it is enough to look up the
    pieces at these places among the first pieces of the texts, and to compare where one
    is found.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        texts = list(texts)
        self._shortest = min(MANY_CHARACTERS, *map(len, texts))
        self._piece = self._shortest // 2
        self._step = self._shortest - self._piece + 1
        self._found_in: dict[str, list[tuple[str, int]]] = {}
        self.add(texts)

    def takes(self, texts: Iterable[str]) -> bool:
        """Tell whether these can be added: whether none is shorter than the shortest."""
        return min(map(len, texts)) >= self._shortest

    def add(self, texts: Iterable[str]) -> None:
        """Find these, too."""
        for text in texts:
            for offset in range(self._step):
                piece = text[offset : offset + self._piece]
                self._found_in.setdefault(piece, []).append((text, offset))

    def find(self, text: str) -> list[Place]:
        """Return where they are in `text`, as start and end."""
        piece, found_in = self._piece, self._found_in
        return [
            (place - offset, place - offset + len(wanted))
            for place in range(0, len(text) - piece + 1, self._step)
            if text[place : place + piece] in found_in
            for wanted, offset in found_in[text[place : place + piece]]
            if place >= offset and text.startswith(wanted, place - offset)
        ]


def _merged(places: list[Place]) -> list[Place]:
    """Return the places in their order; what overlaps is one."""
    merged: list[Place] = []
    for start, end in sorted(places):
        if merged and start < merged[-1][1]:
            start, end = merged[-1][0], max(end, merged.pop()[1])
        merged.append((start, end))
    return merged


class RedactingFormatter(logging.Formatter):
    """Formats with another formatter, then redacts what comes out of it."""

    def __init__(self, formatter: logging.Formatter, redactor: Redactor) -> None:
        super().__init__()
        self._formatter = formatter
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        """Return the line to be written."""
        try:
            text = self._formatter.format(record)
        except Exception as error:
            # otherwise logging would write message and arguments to stderr, past this formatter
            text = self._formatter.format(_without_content(record, error))
        return self._redactor.redact(text)


def _without_content(record: logging.LogRecord, error: Exception) -> logging.LogRecord:
    place = f"{record.pathname}:{record.lineno}"
    return logging.LogRecord(
        record.name,
        record.levelno,
        record.pathname,
        record.lineno,
        f"a log record of {place} can't be formatted: {type(error).__name__}",
        None,
        None,
    )


def log_uncaught() -> None:
    """Log the exceptions that nobody handles, of every thread, instead of printing them.

    And let logging print nothing about a handler that fails: that holds the arguments.
    """

    def hook(found: Any) -> None:
        _log_uncaught(found.exc_type, found.exc_value, found.exc_traceback)

    sys.excepthook = _log_uncaught
    threading.excepthook = hook
    sys.unraisablehook = hook
    logging.raiseExceptions = False


def _log_uncaught(
    kind: type[BaseException], error: BaseException | None, traceback: TracebackType | None
) -> None:
    if issubclass(kind, SystemExit | KeyboardInterrupt):
        return
    try:
        log.critical("uncaught exception", exc_info=(kind, error or kind(), traceback))
    except Exception:  # what it says may hold a value, and Python would print it
        print(f"uncaught exception: {kind.__name__}", file=sys.stderr)


def forms(value: str) -> Iterator[str]:
    """Iterate over the texts in which `value` could stand in a log, but for escapes."""
    lines = [line.strip() for line in value.splitlines()]
    # the lines of a longer value, too: a traceback indents each; not what all PEM files have
    whole = [value, *(line for line in lines if line[:5] != "-----" and line != value)]
    for whole_text in whole:
        if len(whole_text) >= MIN_CHARACTERS:
            for text in _quoted(whole_text):
                yield text
                yield text.replace(" ", "+")  # as forms do
                yield text.encode().decode("latin-1")  # as WSGI does, and gunicorn's logs with it
    raw = value.encode()
    yield raw.hex()
    yield raw.hex().upper()
    for text in _alignments(raw, base64.b64encode, 3, 6):
        yield text
        yield text.replace("+", "-").replace("/", "_")
    for text in _alignments(raw, base64.b32encode, 5, 5):
        yield text
        yield text.lower()


def _quoted(text: str) -> set[str]:
    """Return `text` as it is, with its quotation marks doubled, and with these once more."""
    texts = {text}
    if not any(mark in text for mark, _ in _DOUBLED):
        return texts
    for _ in range(2):
        texts |= {one.replace(mark, doubled) for one in texts for mark, doubled in _DOUBLED}
    return texts


def _alignments(
    raw: bytes, encode: Callable[[bytes], bytes], group: int, bits: int
) -> Iterator[str]:
    """Give the part that stays the same, whatever stands around `raw` in a longer text.

    :param group: how many bytes are encoded together.
    :param bits: how many bits a character stands for.
    """
    for shift in range(group):
        encoded = encode(bytes(shift) + raw).decode()
        first = -(-shift * 8 // bits)  # the first character of which no bit is of what is before
        yield encoded[first : (shift + len(raw)) * 8 // bits]
