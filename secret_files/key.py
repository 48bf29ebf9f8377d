"""What a secret has to be, and why one is refused."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .value import Secret

#: A Kubernetes Secret holds at most 1 MiB.
#: https://kubernetes.io/docs/concepts/configuration/secret/#restriction-data-size
MAX_BYTES: Final = 1024 * 1024

#: A shorter value would be found everywhere: it can't be redacted, so it is refused.
MIN_CHARACTERS: Final = 8

#: What people write where a secret belongs; a value made of nothing else is refused.
_PLACEHOLDER_WORDS: Final = """
    a admin an app change changeit changeme changethis default demo dev develop development
    django dummy enter example flask foo bar here in insecure insert it jwt key letmein me my
    new none not null passphrase password passwd placeholder please postgres production put
    qwerty qwertyuiop random replace replaceme sample secret session signing so some string
    super test testing the this todo token top undefined update use value very your
""".split()
#: What stands between these words: ASCII without letters, and typographic quotes, dashes and
#: blanks. An emoji or a character of another script is content, as a letter is.
_FILLER: Final = r"[\x00-\x60\x7b-\x7f\xa0\xab\xbb\u2000-\u206f]*+"
_PLACEHOLDER: Final = re.compile(
    rf"{_FILLER}(?:(?:{'|'.join(sorted(_PLACEHOLDER_WORDS, key=len, reverse=True))}){_FILLER})++"
)

#: How a key with ``lines=True`` is written.
_ONE_PER_LINE: Final = "write one value per line, with nothing around it"
QUOTES: Final = ('""', "''", "``", "\u201c\u201d", "\u2018\u2019")
BYTE_ORDER_MARK: Final = "\ufeff"
#: What people write between values: the last one is a line break that stayed an escape.
_SEPARATORS: Final = re.compile(r"(?:[,;\s]|\\r?\\n|\\[nr])+")
_TOKEN: Final = re.compile(r"[A-Za-z0-9+/=_.~-]+")

_SEQUENCES: Final = ("0123456789", "0123456789abcdef", "abcdefghijklmnopqrstuvwxyz")


class SecretError(Exception):
    """A secret can't be used. The message is one line and holds no byte of it.

    `key` is the name of the secret, `place` where it was looked for (a file, or the
    environment), and `reason` the rest of the sentence.
    """

    def __init__(self, key: str, place: Path | str, reason: str) -> None:
        super().__init__(f"{key} in {place} {reason}")
        self.key = key
        self.place = place
        self.reason = reason


@dataclass(frozen=True)
class Key:
    """What a secret has to be.

    :param name: the file's name, which is the key's in the Kubernetes Secret.
    :param min_bytes: fewer bytes are refused.
    :param required: False: it may be missing or empty.
    :param lines: it holds any number of values, one per line; a list in another form is rejected.
    :param public: True for what is no secret, such as a user name: logs may show it.
    :raises ValueError: secrets of fewer than 8 bytes are allowed, which nothing can redact.
    """

    name: str
    min_bytes: int = MIN_CHARACTERS
    required: bool = True
    lines: bool = False
    public: bool = False

    def __post_init__(self) -> None:
        if not self.public and self.min_bytes < MIN_CHARACTERS:
            raise ValueError(f"{self.name}: min_bytes has to be at least {MIN_CHARACTERS}")


def parse(key: Key, content: bytes) -> tuple[Secret, ...] | str:
    """Return the values in `content`, or the reason for which it is refused.

    The reason is returned, not raised: a traceback has frames, and these hold the value.
    """
    if len(content) > MAX_BYTES:
        return "is larger than 1 MiB: is this the right one?"
    if b"\0" in content:
        return "holds a NUL byte: write the value as plain text"
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return "is not UTF-8: write the value as plain text"
    # editors and `echo` end a file with one line break, which is no part of the value
    text = re.sub(r"\r?\n\Z", "", text)
    if not text and key.required:
        return "is empty: write the value there"
    # not splitlines(): that one breaks lines where a value may have a character
    values = [line for line in (re.split(r"\r?\n", text) if key.lines else [text]) if line]
    if key.lines and (form := _wrong_form(key, text, values)):
        return f"{form}: {_ONE_PER_LINE}"
    for value in values:
        if fault := _fault(key, value):
            return fault
    return tuple(Secret(key.name, value) for value in values)


def _wrong_form(key: Key, text: str, lines: list[str]) -> str:
    """Return how the values are written, if not one per line, or an empty text."""
    if text.startswith(BYTE_ORDER_MARK):
        return "begins with a byte order mark"
    stripped = text.strip()
    if stripped[:1] + stripped[-1:] in ("[]", "{}"):
        return "is a list in brackets, as in JSON"
    if all(line.startswith("- ") for line in lines) and lines:
        return "is a list with dashes, as in YAML"
    if any(line.endswith((",", ";")) for line in lines):
        return "has lines that end with a separator"
    if any(value[:1] + value[-1:] in QUOTES for value in (stripped, *lines)):
        return "is in quotes, or a value of it is"
    for line in lines:
        if line != line.strip():
            return "has white space around a value"
        if re.match(rf"{key.name}\s*[=:]", line, re.IGNORECASE):
            return "repeats its own name before a value"
        if _are_several(key, line):
            return "has several values in one line"
    return ""


def _are_several(key: Key, line: str) -> bool:
    """Tell whether every part of a line would be a value by itself.

    One long value with all kinds of punctuation may have a comma in its middle: so without
    white space, the parts must have a token's characters, or one length.
    """
    parts = [part for part in _SEPARATORS.split(line) if part]
    if len(parts) < 2 or any(_fault(key, part) for part in parts):
        return False
    have_one_length = len({len(part) for part in parts}) == 1
    return have_one_length or bool(re.search(r"\s", line)) or all(map(_TOKEN.fullmatch, parts))


def _fault(key: Key, value: str) -> str:
    if not key.public and _is_placeholder(value.casefold()):
        return "is a known placeholder: put a random value there"
    if len(value.encode()) < key.min_bytes:
        return f"is too short: at least {key.min_bytes} bytes, from a random source"
    if not key.public and len(value) < MIN_CHARACTERS:
        return f"is too short: at least {MIN_CHARACTERS} characters, from a random source"
    return ""


def _is_placeholder(value: str) -> bool:
    if _PLACEHOLDER.fullmatch(value) or len(set(value)) == 1:
        return True
    return len(value) < 64 and any(value in sequence * 8 for sequence in _SEQUENCES)
