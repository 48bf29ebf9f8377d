"""The log formatter that no secret passes.

A logging *filter* misses `args`, `exc_info`, `extra` and the records of child
loggers; a *formatter* sees the text as it will be written, whatever it was made
from.
"""

from __future__ import annotations

import base64
import json
import logging
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Final
from urllib.parse import quote, quote_plus

from .key import MIN_CHARACTERS
from .value import Secret

log = logging.getLogger(__name__)

MASK: Final = "[redacted]"

#: How deep JSON or Python's repr may stand in each other, the line of the log included.
ESCAPES: Final = 4


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
            self._forms |= new
            if self._index and self._index.takes(new):
                self._index.add(new)
            else:
                self._index = Index(self._forms)

    def redact(self, text: str) -> str:
        """Return `text` with a mask in the place of each secret."""
        index = self._index
        places = index.find(text) if index else []
        if not places:
            return text
        self.on_hit(len(places))
        kept = []
        end = 0
        for start, next_end in places:
            kept.append(text[end:start])
            end = next_end
        return MASK.join([*kept, text[end:]])


class Index:
    """Finds many texts in one, in a time that does not depend on how many they are.

    Each occurrence of a text of at least m characters covers a whole piece of q
    characters that begins at a multiple of m - q + 1. So it is enough to look up the
    pieces at these places among the first pieces of the texts, and to compare where one
    is found.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        texts = list(texts)
        self._shortest = min(map(len, texts))
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

    def find(self, text: str) -> list[tuple[int, int]]:
        """Return where they are in `text`, as start and end; what overlaps is one place."""
        piece, found_in = self._piece, self._found_in
        places = [
            (place - offset, place - offset + len(wanted))
            for place in range(0, len(text) - piece + 1, self._step)
            if text[place : place + piece] in found_in
            for wanted, offset in found_in[text[place : place + piece]]
            if place >= offset and text.startswith(wanted, place - offset)
        ]
        return _merged(places) if places else places


def _merged(places: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
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
    """Log the exceptions that nobody handles, of every thread, instead of printing them."""

    def hook(found: Any) -> None:
        _log_uncaught(found.exc_type, found.exc_value, found.exc_traceback)

    sys.excepthook = _log_uncaught
    threading.excepthook = hook
    sys.unraisablehook = hook


def _log_uncaught(
    kind: type[BaseException], error: BaseException | None, traceback: TracebackType | None
) -> None:
    if not issubclass(kind, SystemExit | KeyboardInterrupt):
        log.critical("uncaught exception", exc_info=(kind, error or kind(), traceback))


def forms(value: str) -> Iterator[str]:
    """Iterate over the texts in which `value` could stand in a log."""
    texts = new = {value}
    for _ in range(ESCAPES):
        new = {escaped for text in new for escaped in _escaped(text)} - texts
        texts = texts | new
    yield from texts
    for text in _percent_encoded(value):
        yield text
        yield re.sub("%..", lambda code: code[0].lower(), text)
    raw = value.encode()
    yield raw.hex()
    yield raw.hex().upper()
    for text in _base64_alignments(raw):
        yield text
        yield text.replace("+", "-").replace("/", "_")


def _escaped(text: str) -> Iterator[str]:
    """Escape as JSON and as Python does, inside either kind of quotation marks."""
    for ensure_ascii in (True, False):
        escaped = json.dumps(text, ensure_ascii=ensure_ascii)[1:-1]
        yield escaped
        yield escaped.replace("/", "\\/")
        yield re.sub(r"\\u....", lambda code: code[0][:2] + code[0][2:].upper(), escaped)
    for shown in (repr("'\"" + text)[4:-1], repr(b"'\"" + text.encode())[5:-1]):
        yield shown
        yield shown.replace("\\'", "'")


def _percent_encoded(value: str) -> Iterator[str]:
    """Encode as Python, forms and JavaScript's encodeURIComponent and encodeURI do."""
    yield quote(value)
    yield quote(value, safe="")
    yield quote_plus(value)
    yield quote(value, safe="!'()*")
    yield quote(value, safe="!'()*;/?:@&=+$,#")


def _base64_alignments(raw: bytes) -> Iterator[str]:
    """Give the part that stays the same, whatever stands around `raw` in longer base64."""
    for shift in range(3):
        encoded = base64.b64encode(bytes(shift) + raw).decode()
        first = (0, 2, 3)[shift]
        last = len(encoded) - (0, 3, 2)[(shift + len(raw)) % 3]
        yield encoded[first:last]
