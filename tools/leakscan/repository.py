"""The repository, and what Docker is sent of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fnmatch import fnmatch
from itertools import chain
from pathlib import Path
from typing import IO, Final

from .archive import CHUNK, as_file, entries, pieces
from .engine import Reading, Sample, Unreadable, place
from .target import Target

#: Folders that are not part of the working tree.
EXCEPTED: Final = (
    ".git",  # has a place of its own
    ".venv*",  # packages of others, with the hashes in requirements/
    "node_modules",  # the same of JavaScript
    "__pycache__",  # made of the files beside it
    ".mypy_cache",  # the same
    ".ruff_cache",  # the same
    ".pytest_cache",  # names of tests
)

#: A file that is in every working tree and build context of this project.
KNOWN: Final = "app/__init__.py"

DOCKERFILE: Final = b"FROM scratch\nCOPY . /\n"


@place("repository", "history")
def history(target: Target) -> Reading:
    """Every object of git, unreachable ones too, and git's own files."""
    git = ("git", "-C", str(target.root))
    head = target.cluster.run(*git, "rev-parse", "HEAD").strip()
    objects = target.cluster.stream(*git, "cat-file", "--batch-all-objects", "--batch", "--buffer")
    stream = as_file(objects)
    complete = False
    while header := stream.readline():
        name, kind, size = header.decode().split()
        yield Sample(f"{kind} {name[:12]}", _limited(stream, int(size)))
        if stream.read(1) != b"\n":
            raise Unreadable(f"git's {kind} {name} is not as long as it says")
        complete |= name == head
    if not complete:
        raise Unreadable("HEAD is not among git's objects")
    folder = target.root / target.cluster.run(*git, "rev-parse", "--git-common-dir").strip()
    for path in _files(folder):
        if path.relative_to(folder).parts[0] != "objects":
            yield from _sample(path, f".git/{path.relative_to(folder)}")
    if target.cluster.run(*git, "rev-parse", "--is-shallow-repository").strip() != "false":
        raise Unreadable("this clone does not have the whole history: git fetch --unshallow")
    reachable = target.cluster.run(*git, "rev-list", "--objects", "--all", "--missing=print")
    if missing := sum(line.startswith("?") for line in reachable.splitlines()):
        raise Unreadable(f"this clone lacks {missing} objects: git fetch --refetch --no-filter")


@place("repository", "working tree")
def working_tree(target: Target) -> Reading:
    """Every file below the repository's folder, ignored ones too, and its name."""
    complete = False
    for path in _files(target.root, EXCEPTED):
        name = str(path.relative_to(target.root))
        yield from _sample(path, name)
        complete |= name == KNOWN
    if not complete:
        raise Unreadable(f"{KNOWN} was not read")


@place("repository", "build context")
def build_context(target: Target) -> Reading:
    """Every file that Docker is sent for a build, and its name."""
    command = ("docker", "build", "--file", "-", "--output", "type=tar,dest=-", str(target.root))
    complete = False
    for entry in entries(as_file(target.cluster.stream(*command, stdin=DOCKERFILE))):
        yield Sample(entry.name, pieces(entry.content))
        complete |= entry.name == KNOWN
    if not complete:
        raise Unreadable(f"{KNOWN} is not in the build context")


def _files(root: Path, excepted: tuple[str, ...] = ()) -> Iterator[Path]:
    """Iterate over what is no folder below one; a folder that can't be listed is an error."""

    def refuse(error: OSError) -> None:
        # what has gone meanwhile can't be read, and need not
        if not isinstance(error, FileNotFoundError):
            raise error

    for folder, folders, files in os.walk(root, onerror=refuse):
        linked = [one for one in folders if Path(folder, one).is_symlink()]
        yield from (Path(folder, one) for one in chain(files, linked))
        folders[:] = [
            one for one in folders if not any(fnmatch(one, pattern) for pattern in excepted)
        ]


def _sample(path: Path, where: str) -> Iterator[Sample]:
    """Give a file's content; of a link, where it leads; of a socket, its name."""
    try:
        if path.is_symlink():
            yield Sample(where, os.fsencode(path.readlink()))
        elif path.is_file():
            with path.open("rb") as file:
                yield Sample(where, pieces(file))
        elif path.exists():
            yield Sample(where, b"")
    except FileNotFoundError:
        return


def _limited(stream: IO[bytes], size: int) -> Iterator[bytes]:
    while size > 0 and (chunk := stream.read(min(size, CHUNK))):
        size -= len(chunk)
        yield chunk
