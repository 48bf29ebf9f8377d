"""The values that are looked for, in every form in which one could be written somewhere."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import sys
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Final, NamedTuple
from urllib.parse import quote, quote_plus

from secret_files import Secret

#: A shorter value would be found everywhere. In bytes; the shortest form is an MD5 of 16.
MIN_BYTES: Final = 16

#: The bytes of a machine's word; a form has one at each of as many offsets.
WORD: Final = 8

#: How much of the chunk before is looked at again with the next one, in bytes: what is longer
#: (a Helm release is packed as one text) can be missed where it lies across two chunks.
OVERLAP: Final = 256 * 1024

#: Packed texts are unpacked up to this size, in bytes, and so deep.
MAX_UNPACKED: Final = 64 * 1024 * 1024
MAX_DEPTH: Final = 3
PIECE: Final = 64 * 1024

#: gzip's first three bytes in base64, and in base64 twice, with what follows.
_PACKED: Final = re.compile(rb"(?:H4sI|SDRzS)(?:[A-Za-z0-9+/_-]|\s|\\n){16,}=*")
_GZIP: Final = b"\x1f\x8b\x08"

#: What different programs leave as it is in a URL.
URL_SAFE: Final = ("", "/", "!'()*", " +:@!$&'()*,;=~\"/\\")


class Hit(NamedTuple):
    """A value that was found, by its name, and the form in which it stood there."""

    needle: str
    form: str


class Needles:
    """Finds secrets in bytes. It shows their names alone.

    Wherever a form stands, it covers a whole word of 8 bytes that begins at a multiple of 8: only
    these are looked up, and how many there are does not depend on the number of forms.

    :param secrets: each is named for where it comes from,
        as `flask-app-secrets/SECRET_KEY`.
    :raises ValueError: there is none, or one is too short to be looked for.
    """

    def __init__(self, secrets: Iterable[Secret]) -> None:
        self.names: list[str] = []
        self._forms: dict[bytes, Hit] = {}
        for secret in secrets:
            self.names.append(secret.name)
            for form, content in forms(secret):
                self._forms.setdefault(content, Hit(secret.name, form))
        if not self._forms:
            raise ValueError("there is no value to look for")
        self._words: dict[int, set[bytes]] = {}
        for content in self._forms:
            for offset in range(WORD):
                word = int.from_bytes(content[offset : offset + WORD], sys.byteorder)
                self._words.setdefault(word, set()).add(content)

    def lines(self) -> bytes:
        """Return the forms one a line, for a search by another program.

        Without those that no line can hold, which are bytes and no text.
        """
        return b"".join(form + b"\n" for form in self._forms if not {0, 10} & set(form))

    def find(self, content: bytes, depth: int = 0) -> set[Hit]:
        """Return what stands in `content`, also packed with gzip, in base64 or not."""
        words = memoryview(content)[: len(content) // WORD * WORD].cast("Q")
        hits = set()
        if not self._words.keys().isdisjoint(words):
            found = self._words.keys() & set(words)
            likely = {form for word in found for form in self._words[word]}
            hits = {self._forms[form] for form in likely if form in content}
        if depth < MAX_DEPTH:
            for unpacked in _unpacked(content):
                hits |= {
                    Hit(name, f"{form} in gzip") for name, form in self.find(unpacked, depth + 1)
                }
        return hits

    def find_in(self, chunks: Iterable[bytes]) -> tuple[set[Hit], int]:
        """Return what stands in a stream, and how many bytes that has."""
        hits: set[Hit] = set()
        size, before = 0, b""
        for chunk in chunks:
            size += len(chunk)
            content = before + chunk
            hits |= self.find(content)
            before = content[-OVERLAP:]
        return hits, size


def forms(secret: Secret) -> Iterator[tuple[str, bytes]]:
    """Iterate over the forms of a value, each with its name; of a longer one line by line.

    :raises ValueError: it is too short to be looked for.
    """
    value = secret.reveal()
    # not what every PEM file has
    lines = [line for line in value.splitlines() if line[:5] != "-----" and len(line) >= MIN_BYTES]
    if not lines:
        raise ValueError(f"{secret.name} is too short to be looked for: under {MIN_BYTES} bytes")
    for line in lines:
        yield from _written(line)
    for text in {value, value.strip(), *lines}:
        yield from _digests(text.encode())
    if "-----BEGIN" in value:
        yield (
            "DER",
            base64.b64decode("".join(line for line in value.splitlines() if "-----" not in line)),
        )


def _written(text: str) -> Iterator[tuple[str, bytes]]:
    raw = text.encode()
    yield "raw", raw
    for escaped in _escaped(text):
        yield "escaped", escaped.encode()
        for in_url in (quote_plus(escaped), *(quote(escaped, safe=safe) for safe in URL_SAFE)):
            yield "URL", in_url.encode()
            yield "URL", re.sub("%..", lambda code: code[0].lower(), in_url).encode()
            yield "URL", quote(in_url, safe="").encode()
    yield "hex", raw.hex().encode()
    yield "hex", raw.hex().upper().encode()
    for once in base64_middles(raw):
        for form in (once, once.replace(b"+", b"-").replace(b"/", b"_")):
            yield "base64", form
            yield "base64", quote(form).encode()
            yield "base64", quote(form, safe="").encode()
        for twice in base64_middles(once):
            yield "base64 twice", twice


def _escaped(text: str) -> set[str]:
    """Return a text as JSON, Python, HTML and WSGI write it, and each once more within JSON.

    Most values have no character that is escaped: then these are all the same.
    """
    in_json = json.dumps(text)[1:-1]
    once = {
        *(text, in_json, json.dumps(text, ensure_ascii=False)[1:-1], in_json.replace("/", "\\/")),
        in_json.replace("'", "\\u0027").replace("&", "\\u0026").replace("<", "\\u003c"),
        *(repr(text)[1:-1], repr([text])[2:-2], ascii(text)[1:-1], repr(text.encode())[2:-1]),
        *(html.escape(text), text.encode().decode("latin-1")),
    }
    return once | {json.dumps(one)[1:-1] for one in once}


def base64_middles(raw: bytes) -> Iterator[bytes]:
    """Give the part that stays the same, whatever stands around `raw` in longer base64."""
    for shift in range(3):
        encoded = base64.b64encode(bytes(shift) + raw)
        first = (0, 2, 3)[shift]
        last = len(encoded) - (0, 3, 2)[(shift + len(raw)) % 3]
        yield encoded[first:last]


def _digests(raw: bytes) -> Iterator[tuple[str, bytes]]:
    """Give the unkeyed digests, against which anybody can try values."""
    for algorithm in ("md5", "sha1", "sha256"):
        for text in (raw, raw + b"\n", base64.b64encode(raw)):
            digest = hashlib.new(algorithm, text, usedforsecurity=False)
            yield algorithm, digest.digest()
            yield algorithm, digest.hexdigest().encode()
            yield algorithm, digest.hexdigest().upper().encode()
            yield algorithm, base64.b64encode(digest.digest()).rstrip(b"=")


def _unpacked(content: bytes) -> Iterator[bytes]:
    # looking for these two first is much faster than the expression
    packed = b"H4sI" in content or b"SDRzS" in content
    for found in _PACKED.finditer(content) if packed else ():
        text = re.sub(rb"\s|\\n|=", b"", found[0]).replace(b"-", b"+").replace(b"_", b"/")
        once = base64.b64decode(text[: len(text) // 4 * 4])
        yield _gunzip(once) if once.startswith(_GZIP) else once
    place = content.find(_GZIP)
    while place >= 0:
        yield _gunzip(content[place:])
        place = content.find(_GZIP, place + 1)


def _gunzip(packed: bytes) -> bytes:
    """Return as much as can be unpacked."""
    stream = zlib.decompressobj(wbits=31)
    unpacked = bytearray()
    with suppress(zlib.error):
        for start in range(0, len(packed), PIECE):
            unpacked += stream.decompress(packed[start : start + PIECE], MAX_UNPACKED)
            if stream.eof or len(unpacked) > MAX_UNPACKED:
                break
    return bytes(unpacked)
