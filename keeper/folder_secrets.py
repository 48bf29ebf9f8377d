"""Secrets in a local folder, in the layout in which the kubelet mounts them.

It takes the place of the Kubernetes API where there is no cluster.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from secret_files import Secret

from .objects import NO_NOTES, Conflict, StoredSecret, Unavailable

#: Stands beside the values, in the place of a Secret's annotations.
NOTES: Final = ".notes.json"


class FolderSecrets:
    """The Secrets are folders under `root`, with files of mode 0400 in folders of mode 0700."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def get(self, name: str) -> StoredSecret:
        """Return the Secret as it is now; one that was never written is empty."""
        link = self._root / name / "..data"
        try:
            while True:
                version = str(link.readlink())
                stored = StoredSecret(name, "", {})
                with suppress(FileNotFoundError):
                    stored = _read_generation(name, version, link.parent / version)
                # swapped meanwhile: what was read may be half of what is removed
                if str(link.readlink()) == version:
                    return stored
        except FileNotFoundError:
            return StoredSecret(name, "", {})
        except (OSError, ValueError) as error:
            raise Unavailable(f"can't read {link}: {_why(error)}", transient=False) from None

    def patch(
        self, secret: StoredSecret, data: Mapping[str, str], notes: Mapping[str, str] = NO_NOTES
    ) -> StoredSecret:
        """Write a new generation of the folder, if it still has the version of `secret`."""
        folder = self._root / secret.name
        try:
            with _alone(folder):
                before = self.get(secret.name)
                if before.version != secret.version:
                    raise Conflict(f"{folder} was changed by somebody else")
                after = {**before.data, **{key: Secret(key, value) for key, value in data.items()}}
                noted = {**before.notes, **notes}
                files = {**after, NOTES: Secret(NOTES, json.dumps(noted))}
                version = write_generation(folder, files)
        except OSError as error:
            raise Unavailable(f"can't write {folder}: {_why(error)}", transient=False) from None
        return StoredSecret(secret.name, version, after, noted)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Make the folder, where it is missing, and keep other writers waiting."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _read_generation(name: str, version: str, folder: Path) -> StoredSecret:
    data = {path.name: Secret(path.name, path.read_text()) for path in folder.iterdir()}
    noted = data.pop(NOTES, None)
    return StoredSecret(name, version, data, json.loads(noted.reveal()) if noted else {})


def write_generation(folder: Path, data: Mapping[str, Secret]) -> str:
    """Write a timestamped folder and swap `..data` to it, as the kubelet does.

    https://github.com/kubernetes/kubernetes/blob/master/pkg/volume/util/atomic_writer.go
    """
    stamp = time.strftime("..%Y_%m_%d_%H_%M_%S.", time.gmtime())
    generation = Path(tempfile.mkdtemp(prefix=stamp, dir=folder))  # mkdtemp gives it 0700
    for name, value in data.items():
        descriptor = os.open(generation / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
        with open(descriptor, "w") as file:
            file.write(value.reveal())
    (folder / "..data_tmp").unlink(missing_ok=True)
    (folder / "..data_tmp").symlink_to(generation.name)
    (folder / "..data_tmp").replace(folder / "..data")
    for name in data:
        if name != NOTES and not (folder / name).is_symlink():
            (folder / name).symlink_to(Path("..data") / name)
    for old in folder.glob("..[0-9]*"):
        if old.name != generation.name:  # not the paths: mkdtemp makes its own absolute
            shutil.rmtree(old)
    return generation.name


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__
