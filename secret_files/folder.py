"""A mounted folder of secrets, read as one generation.

The kubelet (and the CSI driver) write a new generation into a new folder and
then swap the link `..data` with one rename. Two plain ``open()`` calls can
straddle that swap and return a user name of one generation and a password of
the next. Here `..data` is opened once, as a folder, and every file is read
relative to it.

Without `..data`, the files are replaced one by one (the Vault Agent does so, by
rename) or written in place. Nothing then says which belong together, so they
are taken when two looks, a moment apart, found the same files, and a third one
after the read still does.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from time import monotonic
from typing import Final

from .key import MAX_BYTES, Key, SecretError
from .snapshot import Found, Snapshot, check

#: How often a read starts again when the folder changes under it.
ATTEMPTS: Final = 10

#: Seconds without a change after which plain files are taken to belong together. A file's times
#: are as coarse as the kernel's clock tick, up to 0.01 s, and ext4 was seen to change them 5 ms
#: after its content: a shorter look could miss a change.
SETTLE_SECONDS: Final = 0.1

MISSING: Final = "create the file, or mount the Secret"

#: Compose mounts the file itself, with its mode:
#: https://docs.docker.com/reference/compose-file/services/#secrets
CLOSE_IT: Final = (
    "set defaultMode: 0440 on the volume in Kubernetes, chmod 0440 on the file in Compose "
    "(mode: 0440 if its source is environment:), or chmod 0440 elsewhere"
)

#: Whom a mode lets in who is neither the owner nor in the group.
EVERYBODY: Final = stat.S_IRWXO


class Unsettled(SecretError):
    """Plain files are being written: look again in `SETTLE_SECONDS`."""


class Folder:
    """A folder with one file for each key, as Kubernetes mounts a Secret.

    :param path: where the Secret is mounted.
    :param keys: what has to be there.
    :raises ValueError: there is no key.
    """

    def __init__(self, path: Path | str, keys: Iterable[Key]) -> None:
        self.path = Path(path)
        self.keys = tuple(keys)
        if not self.keys:
            raise ValueError("keys: a folder has to have one at least")
        self._names = tuple(key.name for key in self.keys)
        self._folder = str(self.path)  # a Path takes longer than the call that it is for
        self._seen = ("", 0.0)

    def __str__(self) -> str:
        return str(self.path)

    def version(self) -> str:
        """Return a text that differs for each generation.

        :raises OSError: the folder can't be read.
        """
        return folder_version(self._folder, self._names)

    def read(self) -> Snapshot:
        """Read all keys from one generation and check them.

        :raises SecretError: a value is missing, unreadable or unfit; it says which and why.
        """
        outcome = self._read()
        if isinstance(outcome, SecretError):
            raise outcome  # out here, no frame of its traceback holds a value
        return outcome

    def _read(self) -> Snapshot | SecretError:
        first = self.path / self._names[0]
        problem = f"changed during each of {ATTEMPTS} reads: wait until its writer is done"
        for _ in range(ATTEMPTS):
            try:
                version = self.version()
                if not _is_linked(self._folder) and not self._is_settled(version):
                    return Unsettled(self._names[0], self.path, "is being written: wait until then")
                found = self._read_files()
                if self.version() == version:
                    return check(self.keys, version, found, self.path.joinpath, MISSING)
            except OSError as error:
                # the generation that was being opened may be gone by now: look again
                problem = f"can't be read: {_why(error)}"
        return SecretError(self._names[0], first, problem)

    def _read_files(self) -> dict[str, Found]:
        folder = f"{self._folder}/..data" if _is_linked(self._folder) else self._folder
        directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            return {name: _read_file(name, directory) for name in self._names}
        finally:
            os.close(directory)

    def _is_settled(self, version: str) -> bool:
        """Tell whether the files are as they were `SETTLE_SECONDS` ago."""
        now = monotonic()
        if version != self._seen[0]:
            self._seen = (version, now)
        return now - self._seen[1] >= SETTLE_SECONDS


def folder_version(folder: Path | str, names: Sequence[str]) -> str:
    """Return a text that differs for each generation of the files in `folder`.

    With a `..data` link it is the link's target, which the kubelet never uses
    twice; otherwise the names, numbers, sizes and times of the files.

    :raises OSError: `folder` can't be read.
    """
    try:
        return os.readlink(f"{folder}/..data")
    except FileNotFoundError:
        return _fingerprint(folder, names)


def _is_linked(folder: str) -> bool:
    return os.path.islink(f"{folder}/..data")


def _fingerprint(folder: Path | str, names: Sequence[str]) -> str:
    marks = []
    for name in names:
        try:
            found = os.stat(f"{folder}/{name}")
        except FileNotFoundError:
            continue
        except OSError as error:
            marks.append(f"{name}:{error.errno}")  # reading it says why
            continue
        # st_ctime, since a writer can set st_mtime to what it was
        marks.append(f"{name}:{found.st_ino}:{found.st_size}:{found.st_ctime_ns}")
    return " ".join(marks) or f"empty:{os.stat(folder).st_mtime_ns}"


def _read_file(name: str, directory: int) -> Found:
    """Return the file's bytes, at most one more than a secret may have, or what is wrong."""
    try:
        # O_NONBLOCK: a pipe in the place of a file must not hang the service
        descriptor = os.open(name, os.O_RDONLY | os.O_NONBLOCK, dir_fd=directory)
    except FileNotFoundError:
        return None
    except OSError as error:
        return f"can't be read: {_why(error)}"
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            return "is not a regular file: mount the Secret's key there"
        if found.st_mode & EVERYBODY:
            mode = stat.S_IMODE(found.st_mode)
            return f"is open to every user (mode {mode:04o}): {CLOSE_IT}"
        with open(descriptor, "rb", closefd=False) as file:
            content = file.read(min(found.st_size, MAX_BYTES) + 1)
            if len(content) > found.st_size:  # it grew, or its file system knows no sizes
                content += file.read(MAX_BYTES)
            return content
    except OSError as error:
        return f"can't be read: {_why(error)}"
    finally:
        os.close(descriptor)


def _why(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()
