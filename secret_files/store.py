"""The current generation of the secrets, and what happens when it changes."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from time import monotonic
from typing import Final, Protocol, TypeVar

from .folder import SETTLE_SECONDS, Unsettled
from .key import SecretError
from .snapshot import Snapshot

News = TypeVar("News")

log = logging.getLogger(__name__)

#: A generation that was refused is tried again after so many seconds, and then after twice as
#: many each time, up to the longest pause.
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 60.0

#: Seconds for which plain files may be written without anybody hearing of it.
WRITING_SECONDS: Final = 10.0

#: Seconds for which `refresh` waits for a thread that is at it.
REFRESH_SECONDS: Final = 5.0

#: The longest pause for `refresh`: longer than two logins that time out after 5 s.
REFRESH_PAUSE: Final = 11.0

#: So many problems are remembered, so as to log each of them once.
MANY_PROBLEMS: Final = 100


class Source(Protocol):
    """Where secrets come from: a `Folder`, or the `Environment`. Its text says where."""

    def version(self) -> str:
        """Return a text that differs for each generation, quickly; or raise `OSError`."""

    def read(self) -> Snapshot:
        """Return the generation of this moment, or raise `SecretError`."""


@dataclass(frozen=True)
class Refusal:
    """A generation that was not taken, and when it is tried again, on the monotonic clock."""

    version: str
    at: float
    pause: float

    def is_over(self, version: str) -> bool:
        """Tell whether the generation of `version` may be tried now."""
        return version != self.version or monotonic() >= self.at + self.pause

    def again(self, version: str) -> Refusal:
        """Return the next one: with twice the pause, if it is the same generation."""
        pause = self.pause * 2 if version == self.version else FIRST_PAUSE
        return Refusal(version, monotonic(), min(pause, LONGEST_PAUSE))


NO_REFUSAL: Final = Refusal("", 0.0, 0.0)


@dataclass(frozen=True)
class Refused:
    """Why the last good generation stays in use; it holds no byte of a value.

    `key` and `reason` are those of the last `SecretError`, and `since` is when the first
    attempt failed, in Unix seconds.
    """

    key: str
    reason: str
    since: float

    @property
    def summary(self) -> str:
        """What is wrong, without the files, the hosts and the server's words that follow it."""
        return self.reason.partition(":")[0]


class SecretStore:
    """Gives the current `Snapshot`, and looks for a newer one as it is used.

    There is no thread: `current` looks at the source at most once in
    `check_seconds`, and while one thread reads, the others go on with the
    generation that they have. A new one is checked, then tried (`on_try`), then
    published to all threads at once, then announced (`on_adopt`). If it fails, the
    last good one stays, and the new one is tried again after growing pauses.

    :param source: a `Folder` or the `Environment`.
    :param check_seconds: the longest time, in seconds, that a change goes unnoticed.
    :raises SecretError: there is no usable generation to begin with.
    """

    def __init__(self, source: Source, check_seconds: float = 1.0) -> None:
        self.source = source
        #: Called with a generation before it is used; one that raises `SecretError` refuses it.
        self.on_try: list[Callable[[Snapshot], None]] = []
        #: Called with each newly published generation.
        self.on_adopt: list[Callable[[Snapshot], None]] = []
        #: Called with the reason, each time that a generation was not taken.
        self.on_reject: list[Callable[[SecretError], None]] = []
        self._check_seconds = check_seconds
        self._checking = threading.Lock()
        self._current = _first(source)
        self._adopted_at = time.time()
        self._next_check = monotonic() + check_seconds
        self._refusal = NO_REFUSAL
        self._refused: Refused | None = None
        self._problems: set[tuple[str, str]] = set()
        self._writing_since = 0.0

    @property
    def adopted_at(self) -> float:
        """When the current generation was read, in Unix seconds."""
        return self._adopted_at

    @property
    def refused(self) -> Refused | None:
        """What was last refused; None once a generation is adopted, or the current one is back."""
        return self._refused

    def current(self) -> Snapshot:
        """Return the newest good generation. It raises no `Exception`, and waits for no reader."""
        if monotonic() >= self._next_check and self._checking.acquire(blocking=False):
            try:
                self._check()
            finally:
                self._checking.release()
        return self._current

    def refresh(self) -> Snapshot:
        """Look now, whenever the last time was, and return the newest good generation.

        For one whose secret was just refused. It waits, up to 5 s, for a thread that
        already looks, and until plain files are settled; and it cuts a long pause before
        a refused generation is tried again to 11 s. Not for use in a hook.
        """
        if self._checking.acquire(timeout=REFRESH_SECONDS):
            try:
                pause = min(self._refusal.pause, REFRESH_PAUSE)
                self._refusal = replace(self._refusal, pause=pause)
                self._check()
                if self._writing_since:
                    time.sleep(SETTLE_SECONDS)
                    self._check()
            finally:
                self._checking.release()
        return self._current

    def _check(self) -> None:
        try:
            self._look()
        except Exception as error:  # a fault of the source: not the request's problem either
            _log_error("the secrets can't be looked at: %s", type(error).__name__)

    def _look(self) -> None:
        self._next_check = monotonic() + self._check_seconds
        try:
            version = self.source.version()
        except OSError:
            version = "gone"  # reading it says why
        if version == self._current.version:
            self._forget_problems()
        elif self._refusal.is_over(version):
            self._take(version)

    def _take(self, version: str) -> None:
        try:
            snapshot = self.source.read()
            for hook in self.on_try:
                hook(snapshot)
        except Unsettled as error:
            self._wait_for_writer(version, error)
        except SecretError as error:
            self._reject(version, error)
        except Exception as error:
            # not its text, which could hold a value, and not the request's problem
            reason = f"could not be tried: {type(error).__name__}"
            self._reject(version, SecretError("a new generation", str(self.source), reason))
        else:
            self._adopt(snapshot)

    def _adopt(self, snapshot: Snapshot) -> None:
        self._current = snapshot
        self._adopted_at = time.time()
        self._forget_problems()
        _announce(self.on_adopt, snapshot)
        log.info("secrets adopted", extra={"generation": snapshot.generation})

    def _reject(self, version: str, error: SecretError) -> None:
        self._refusal = self._refusal.again(version)
        since = self._refused.since if self._refused else time.time()
        self._refused = Refused(error.key, error.reason, since)
        self._writing_since = 0.0
        _announce(self.on_reject, error)
        problem = (error.key, error.reason)
        if problem not in self._problems:
            if len(self._problems) == MANY_PROBLEMS:
                self._problems.clear()
            self._problems.add(problem)
            log.error("secrets not adopted, the last good ones stay: %s", error)

    def _wait_for_writer(self, version: str, error: Unsettled) -> None:
        now = monotonic()
        self._next_check = min(self._next_check, now + SETTLE_SECONDS)
        self._writing_since = self._writing_since or now
        if now - self._writing_since > WRITING_SECONDS:
            self._reject(version, error)

    def _forget_problems(self) -> None:
        self._refusal = NO_REFUSAL
        self._refused = None
        self._problems.clear()
        self._writing_since = 0.0


def _announce(hooks: Iterable[Callable[[News], None]], news: News) -> None:
    for hook in hooks:
        try:
            hook(news)
        except Exception as error:  # its own problem, not that of the request which came by
            _log_error("a hook of the secret store failed: %s", type(error).__name__)


def _log_error(message: str, what: str) -> None:
    with suppress(Exception):  # such as a RecursionError's second one
        log.error(message, what)


def _first(source: Source) -> Snapshot:
    """Return what is there at the start, when whoever writes plain files is done."""
    deadline = monotonic() + WRITING_SECONDS
    while True:
        try:
            return source.read()
        except Unsettled:
            if monotonic() > deadline:
                raise
        time.sleep(SETTLE_SECONDS)
