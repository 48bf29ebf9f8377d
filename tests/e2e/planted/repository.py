"""Leaks in a repository, which is made with all of them before it is looked at."""

from __future__ import annotations

import base64
import gzip
import hashlib
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.git import commit, git
from tools.leakscan.target import Target

from . import plants

#: The file that Docker is sent.
SENT = "app/notes.txt"


@plants("repository: history")
def removed_file(target: Target, canary: str) -> Iterator[None]:
    """A file that a later commit removes."""
    yield from _made(target)


@plants("repository: history")
def unreachable_object(target: Target, canary: str) -> Iterator[None]:
    """An object to which no commit leads."""
    yield from _made(target)


@plants("repository: working tree")
def ignored_file(target: Target, canary: str) -> Iterator[None]:
    """A file that git ignores."""
    yield from _made(target)


@plants("repository: working tree")
def file_name(target: Target, canary: str) -> Iterator[None]:
    """The name of an empty file."""
    yield from _made(target)


@plants("repository: build context", also=("repository: working tree",))
def sent_file(target: Target, canary: str) -> Iterator[None]:
    """A file beside the service's modules, which Docker is sent."""
    yield from _made(target)


def leaky_repository(root: Path, folder: Path, canaries: Mapping[str, str]) -> Path:
    """Make a repository with a leak in each place, and return its folder.

    :param root: where `.dockerignore` and `app` are copied from.
    :param folder: its own, in which nothing else is.
    :param canaries: by the names of the plants.
    """
    unkept = shutil.ignore_patterns("__pycache__")
    shutil.copytree(root / "app", folder / "app", ignore=unkept)
    shutil.copy(root / ".dockerignore", folder)
    (folder / ".gitignore").write_text(f"/.env*\n/{SENT}\n")
    git(folder, "init", "--quiet")
    commit(folder, "Begin")

    removed = base64.b64encode(canaries["repository removed_file"].encode())
    (folder / "settings.ini").write_bytes(base64.b64encode(b"key = " + removed))
    commit(folder, "Set")
    (folder / "settings.ini").unlink()
    commit(folder, "Unset")

    stdin = canaries["repository unreachable_object"]
    git(folder, "hash-object", "-w", "--stdin", stdin=stdin)

    ignored = hashlib.sha256(canaries["repository ignored_file"].encode())
    (folder / ".env").write_text(f"SHA256={ignored.hexdigest()}\n")
    named = canaries["repository file_name"].encode()
    (folder / f".env.{named.hex()}").touch()

    sent = gzip.compress(canaries["repository sent_file"].encode())
    (folder / SENT).write_bytes(base64.b64encode(sent))
    return folder


def _made(target: Target) -> Iterator[None]:
    assert (target.root / SENT).exists(), "that is not what leaky_repository makes"
    yield
