"""The current generation of the secrets, and what happens when it changes."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from .snapshot import Key, SecretError, Snapshot, folder_version, read_snapshot

log = logging.getLogger(__name__)


class SecretStore:
    """Gives the current `Snapshot`, and looks for a newer one as it is used.

    There is no thread: `current` looks at the folder at most once in
    `check_seconds`, and while one thread reads, the others go on with the
    generation that they have. A new generation that is unfit is counted and
    logged, and the last good one stays.

    :param folder: where the Secret is mounted.
    :param keys: what has to be there.
    :param check_seconds: the longest time, in seconds, that a change goes unnoticed.
    :raises SecretError: there is no usable generation to begin with.
    """

    def __init__(self, folder: Path, keys: Sequence[Key], check_seconds: float = 1.0) -> None:
        self.folder = folder
        #: Called with each newly published generation.
        self.on_adopt: list[Callable[[Snapshot], None]] = []
        #: Called with the reason for which a generation was not taken.
        self.on_reject: list[Callable[[SecretError], None]] = []
        self._keys = tuple(keys)
        self._names = [key.name for key in keys]
        self._check_seconds = check_seconds
        self._reading = threading.Lock()
        self._current = read_snapshot(folder, self._keys)
        self._adopted_at = time.time()
        self._next_check = time.monotonic() + check_seconds
        self._last_problem = ""

    @property
    def adopted_at(self) -> float:
        """When the current generation was read, in Unix seconds."""
        return self._adopted_at

    def current(self) -> Snapshot:
        """Return the newest good generation. It never raises and never waits for a reader."""
        if time.monotonic() >= self._next_check and self._reading.acquire(blocking=False):
            try:
                self._check()
            finally:
                self._next_check = time.monotonic() + self._check_seconds
                self._reading.release()
        return self._current

    def _check(self) -> None:
        try:
            if folder_version(self.folder, self._names) != self._current.version:
                self._adopt(read_snapshot(self.folder, self._keys))
            self._last_problem = ""
        except SecretError as error:
            self._reject(error)
        except OSError:
            reason = "can't be read: the folder is gone, or may not be entered"
            self._reject(SecretError(self._names[0], self.folder, reason))

    def _adopt(self, snapshot: Snapshot) -> None:
        for listener in self.on_adopt:
            listener(snapshot)
        self._current = snapshot
        self._adopted_at = time.time()
        log.info("secrets adopted", extra={"generation": snapshot.generation})

    def _reject(self, error: SecretError) -> None:
        if str(error) == self._last_problem:
            return
        self._last_problem = str(error)
        for listener in self.on_reject:
            listener(error)
        log.error("secrets not adopted, the last good ones stay: %s", error)
