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
import threading
from collections.abc import Callable, Iterable, Iterator
from urllib.parse import quote, quote_plus

from .value import Secret

MASK = "[redacted]"
MIN_CHARACTERS = 8


class Redactor:
    """Knows every value that was ever current, and takes them out of texts.

    :param on_hit: called with the number of places, whenever there were any.
    """

    def __init__(self, on_hit: Callable[[int], None] = lambda count: None) -> None:
        self.on_hit = on_hit
        self._forms: set[str] = set()
        self._pattern: re.Pattern[str] | None = None
        self._learning = threading.Lock()

    def learn(self, secrets: Iterable[Secret]) -> None:
        """Redact these too, from now on, in every form in which they could be written.

        Values of fewer than 8 characters stay: they would be found everywhere.
        """
        with self._learning:
            for secret in secrets:
                if len(secret.reveal()) >= MIN_CHARACTERS:
                    self._forms.update(forms(secret.reveal()))
            # a longer form first, or the rest of it would stay
            longest_first = sorted(self._forms, key=len, reverse=True)
            if longest_first:
                self._pattern = re.compile("|".join(map(re.escape, longest_first)))

    def redact(self, text: str) -> str:
        """Return `text` with a mask in the place of each secret."""
        if self._pattern is None:
            return text
        redacted, hits = self._pattern.subn(MASK, text)
        if hits:
            self.on_hit(hits)
        return redacted


class RedactingFormatter(logging.Formatter):
    """Formats with another formatter, then redacts what comes out of it."""

    def __init__(self, formatter: logging.Formatter, redactor: Redactor) -> None:
        super().__init__()
        self._formatter = formatter
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        """Return the line to be written."""
        return self._redactor.redact(self._formatter.format(record))


def forms(value: str) -> Iterator[str]:
    """Iterate over the texts in which `value` could stand in a log."""
    raw = value.encode()
    yield value
    yield json.dumps(value)[1:-1]
    yield json.dumps(value, ensure_ascii=False)[1:-1]
    yield repr(value)[1:-1]
    yield quote(value)
    yield quote(value, safe="")
    yield quote_plus(value)
    yield raw.hex()
    yield raw.hex().upper()
    for text in _base64_alignments(raw):
        yield text
        yield text.replace("+", "-").replace("/", "_")


def _base64_alignments(raw: bytes) -> Iterator[str]:
    """Give the part that stays the same, whatever stands around `raw` in longer base64."""
    for shift in range(3):
        encoded = base64.b64encode(bytes(shift) + raw).decode()
        first = (0, 2, 3)[shift]
        last = len(encoded) - (0, 3, 2)[(shift + len(raw)) % 3]
        yield encoded[first:last]
