"""Archives and other streams, read as they come and never kept."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO, Any, Final, cast

from .engine import Unreadable

#: How much is read at once, in bytes.
CHUNK: Final = 1 << 20
#: The same of an archive: tarfile copies what is left of it at each read.
BLOCK: Final = 1 << 14


@dataclass(frozen=True)
class Entry:
    """An entry of an archive; its content can be read until the next one is asked for."""

    name: str
    #: Of a link, where it leads.
    content: io.BufferedReader


class _Raw(io.RawIOBase):
    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            self._rest = memoryview(next(self._chunks, b""))
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size


def as_file(chunks: Iterable[bytes]) -> io.BufferedReader:
    """Return what a command prints as a file to read from."""
    return io.BufferedReader(_Raw(chunks), CHUNK)


def pieces(file: IO[bytes] | io.BufferedIOBase) -> Iterator[bytes]:
    """Iterate over what a file holds."""
    return iter(lambda: file.read(CHUNK), b"")


def entries(stream: IO[bytes]) -> Iterator[Entry]:
    """Iterate over the entries of a tar archive, compressed or not.

    :raises Unreadable: it goes on after what looks like its end.
    :raises tarfile.TarError: it is none, or compressed in an unknown way.
    """
    with tarfile.open(fileobj=stream, mode="r|*", bufsize=BLOCK) as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isreg() else None
            if not isinstance(content, io.BufferedReader):
                content = as_file([os.fsencode(member.linkname)])
            yield Entry(member.name, content)
        # to tarfile, a header that is broken is the end
        rest = cast(io.BufferedReader, archive.fileobj)
        if any(piece.strip(b"\0") for piece in pieces(rest)):
            raise Unreadable("an archive has something after its end")
    # the exit status comes after the last byte
    for _ in pieces(stream):
        pass
