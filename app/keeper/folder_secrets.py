"""Secrets in a local folder, in the layout in which the kubelet mounts them.

It takes the place of the Kubernetes API where there is no cluster.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from ..secret_files import Secret
from .objects import Conflict, StoredSecret, Unavailable


class FolderSecrets:
    """The Secrets are folders under `root`, with files of mode 0400 in folders of mode 0700.

    The caller sees to it that there is one writer at a time.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def get(self, name: str) -> StoredSecret:
        """Return the Secret as it is now; one that was never written is empty."""
        link = self._root / name / "..data"
        try:
            version = str(link.readlink())
            data = {path.name: Secret(path.name, path.read_text()) for path in link.iterdir()}
        except FileNotFoundError:
            return StoredSecret(name, "", {})
        except (OSError, UnicodeDecodeError) as error:
            raise Unavailable(f"can't read {link}: {_why(error)}", transient=False) from None
        return StoredSecret(name, version, data)

    def patch(self, secret: StoredSecret, data: Mapping[str, str]) -> StoredSecret:
        """Write a new generation of the folder, if it still has the version of `secret`."""
        folder = self._root / secret.name
        before = self.get(secret.name)
        if before.version != secret.version:
            raise Conflict(f"{folder} was changed by somebody else")
        after = {**before.data, **{key: Secret(key, value) for key, value in data.items()}}
        try:
            version = _write_generation(folder, after)
        except OSError as error:
            raise Unavailable(f"can't write {folder}: {_why(error)}", transient=False) from None
        return StoredSecret(secret.name, version, after)


def _write_generation(folder: Path, data: Mapping[str, Secret]) -> str:
    """Write a timestamped folder and swap `..data` to it, as the kubelet does.

    https://github.com/kubernetes/kubernetes/blob/master/pkg/volume/util/atomic_writer.go
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
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
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(Path("..data") / name)
    for old in folder.glob("..[0-9]*"):
        if old.name != generation.name:  # not the paths: mkdtemp makes its own absolute
            shutil.rmtree(old)
    return generation.name


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__
