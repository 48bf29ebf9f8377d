"""One consistent generation of a mounted folder of secrets.

The kubelet (and the CSI driver) write a new generation into a new folder and
then swap the link `..data` with one rename. Two plain ``open()`` calls can
straddle that swap and return a user name of one generation and a password of
the next. Here `..data` is opened once, as a folder, and every file is read
relative to it; plain folders are read until two looks at them agree.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from .value import Secret

#: A Kubernetes Secret holds at most 1 MiB.
#: https://kubernetes.io/docs/concepts/configuration/secret/#restriction-data-size
MAX_BYTES: Final = 1024 * 1024

#: How often a read starts again when the folder changes under it.
ATTEMPTS: Final = 10

#: What people write where a secret belongs; a value made of nothing else is refused.
_PLACEHOLDER_WORDS: Final = """
    a admin an app change changeit changeme changethis default demo dev develop development
    django dummy enter example flask foo bar here in insecure insert it jwt key letmein me my
    new none not null passphrase password passwd placeholder please postgres production put
    qwerty qwertyuiop random replace replaceme sample secret session signing so some string
    super test testing the this todo token top undefined update use value very your
""".split()
_PLACEHOLDER: Final = re.compile(
    rf"[\W\d_]*+(?:(?:{'|'.join(sorted(_PLACEHOLDER_WORDS, key=len, reverse=True))})[\W\d_]*+)++"
)

_SEQUENCES: Final = ("0123456789", "0123456789abcdef", "abcdefghijklmnopqrstuvwxyz")

#: The end of the year 9999, in Unix seconds: what is later is not in seconds.
_LAST_SECOND: Final = 253_402_300_799


class SecretError(Exception):
    """A secret can't be used. The message is one line and holds no byte of it.

    `key` is the name of the secret, `path` its file, and `reason` the rest.
    """

    def __init__(self, key: str, path: Path, reason: str) -> None:
        super().__init__(f"{key} in {path} {reason}")
        self.key = key
        self.path = path
        self.reason = reason


@dataclass(frozen=True)
class Key:
    """What a secret has to be.

    :param name: the file's name, which is the key's in the Kubernetes Secret.
    :param min_bytes: fewer bytes are refused.
    :param required: False: the file may be missing or empty.
    :param lines: the file holds any number of values, one a line.
    :param public: True for what is no secret, such as a user name: logs may show it.
    """

    name: str
    min_bytes: int = 8
    required: bool = True
    lines: bool = False
    public: bool = False


@dataclass(frozen=True, eq=False)
class Snapshot(Mapping[str, Secret]):
    """The secrets of one generation. It never changes; the next one is another object."""

    #: Unique for each generation: what `folder_version` gave.
    version: str
    #: Unix time, in seconds, at which the values were made; None where nobody says.
    generation: int | None
    _values: Mapping[str, tuple[Secret, ...]] = field(repr=False)
    _public: frozenset[str] = field(repr=False)

    def __getitem__(self, name: str) -> Secret:
        """Return the secret of that name, or the first one of several lines."""
        values = self._values.get(name, ())
        if not values:
            raise KeyError(name)
        return values[0]

    def __iter__(self) -> Iterator[str]:
        return (name for name, values in self._values.items() if values)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def lines(self, name: str) -> tuple[Secret, ...]:
        """Return every value of a key with ``lines=True``; none where it is empty."""
        return self._values.get(name, ())

    def confidential(self) -> Iterator[Secret]:
        """Iterate over the values that nobody may see, each line on its own."""
        for name, values in self._values.items():
            if name not in self._public:
                yield from values


def folder_version(folder: Path, names: Sequence[str]) -> str:
    """Return a text that differs for each generation of the files in `folder`.

    With a `..data` link it is the link's target, which the kubelet never uses
    twice; otherwise the names, times and sizes of the files.

    :raises OSError: `folder` can't be read.
    """
    try:
        return str((folder / "..data").readlink())
    except FileNotFoundError:
        return _fingerprint(folder, names)


def read_snapshot(folder: Path, keys: Sequence[Key]) -> Snapshot:
    """Read all `keys` from one generation of `folder` and check them.

    :raises SecretError: a value is missing, unreadable or unfit; it says which and why.
    """
    names = [key.name for key in keys]
    reason = ""
    for _ in range(ATTEMPTS):
        try:
            version = folder_version(folder, names)
            found = _read_files(folder, names)
            if folder_version(folder, names) == version:
                return _checked(folder, keys, version, found)
            reason = f"changed during each of {ATTEMPTS} reads: wait until its writer is done"
        except OSError as error:
            # the generation that was being opened may be gone by now: look again
            reason = f"can't be read: {_why(error)}"
    raise SecretError(names[0], folder / names[0], reason)


def _why(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()


def _fingerprint(folder: Path, names: Sequence[str]) -> str:
    marks = []
    for name in names:
        try:
            stat = (folder / name).stat()
        except FileNotFoundError:
            continue
        marks.append(f"{name}:{stat.st_mtime_ns}:{stat.st_ino}:{stat.st_size}")
    return " ".join(marks) or f"empty:{folder.stat().st_mtime_ns}"


def _read_files(folder: Path, names: Sequence[str]) -> dict[str, bytes | OSError]:
    """Return each file's bytes, or why it can't be read."""
    found: dict[str, bytes | OSError] = {}
    data = folder / "..data"
    directory = os.open(data if data.is_symlink() else folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for name in names:
            try:
                found[name] = _read_file(name, directory)
            except OSError as error:
                found[name] = error
    finally:
        os.close(directory)
    return found


def _read_file(name: str, directory: int) -> bytes:
    """Return at most one byte more than a secret may have."""
    # O_NONBLOCK: a pipe in the place of a file is empty, it does not hang the service.
    descriptor = os.open(name, os.O_RDONLY | os.O_NONBLOCK, dir_fd=directory)
    with open(descriptor, "rb") as file:
        return file.read(MAX_BYTES + 1)


def _checked(
    folder: Path, keys: Sequence[Key], version: str, found: Mapping[str, bytes | OSError]
) -> Snapshot:
    values = {key.name: _parse(key, folder / key.name, found[key.name]) for key in keys}
    return Snapshot(
        version,
        _generation(folder, values.get("GENERATION", ())),
        values,
        frozenset(key.name for key in keys if key.public),
    )


def _generation(folder: Path, values: tuple[Secret, ...]) -> int | None:
    if not values:
        return None
    text = values[0].reveal()
    if not re.fullmatch(r"[0-9]{1,12}", text) or int(text) > _LAST_SECOND:
        path = folder / "GENERATION"
        raise SecretError("GENERATION", path, "is not a Unix time in whole seconds")
    return int(text)


def _parse(key: Key, path: Path, content: bytes | OSError) -> tuple[Secret, ...]:
    if isinstance(content, OSError):
        if content.errno != errno.ENOENT:
            raise SecretError(key.name, path, f"can't be read: {_why(content)}")
        if key.required:
            raise SecretError(key.name, path, "is missing: create the file, or mount the Secret")
        return ()
    text = _decode(key, path, content)
    if not text and key.required:
        raise SecretError(key.name, path, "is empty: write the value into the file")
    values = [line for line in text.splitlines() if line] if key.lines else [text] if text else []
    for value in values:
        _check_value(key, path, value)
    return tuple(Secret(key.name, value) for value in values)


def _decode(key: Key, path: Path, content: bytes) -> str:
    if len(content) > MAX_BYTES:
        raise SecretError(key.name, path, "is larger than 1 MiB: is this the right file?")
    if b"\0" in content:
        raise SecretError(key.name, path, "holds a NUL byte: write the value as plain text")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        # not `from error`: that one carries the bytes
        raise SecretError(key.name, path, "is not UTF-8: write the value as plain text") from None
    # editors and `echo` end a file with one line break, which is no part of the value
    return re.sub(r"\r?\n\Z", "", text)


def _check_value(key: Key, path: Path, value: str) -> None:
    if not key.public and _is_placeholder(value.casefold()):
        raise SecretError(key.name, path, "is a known placeholder: put a random value there")
    if len(value.encode()) < key.min_bytes:
        raise SecretError(
            key.name, path, f"is too short: at least {key.min_bytes} bytes, from a random source"
        )


def _is_placeholder(value: str) -> bool:
    if _PLACEHOLDER.fullmatch(value) or len(set(value)) == 1:
        return True
    return len(value) < 64 and any(value in sequence * 8 for sequence in _SEQUENCES)
