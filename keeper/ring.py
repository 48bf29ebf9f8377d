"""A key that is replaced without a break: the value for new work, and those that only verify."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from secret_files import Secret

#: What is noted of a value that is yet to be used.
COMING: Final = "coming"

#: By how much clocks may differ, in seconds. A time that is further ahead was written by a clock
#: that was wrong, and counts for nothing: or else it would hold everything up until then.
CLOCK_TOLERANCE: Final = 300


@dataclass(frozen=True)
class Fallback:
    """A value that only verifies, and since when, in Unix seconds; None: it is yet to be used."""

    key: Secret
    since: int | None


@dataclass(frozen=True)
class Ring:
    """The values of one key. It never changes: each step of a rotation is another one."""

    current: Secret
    fallbacks: tuple[Fallback, ...] = ()

    @classmethod
    def of(cls, values: Sequence[Secret], note: str) -> Ring:
        """Read what `values` and `note` gave: the current value, and then those that verify."""
        current, *others = values
        since = note.split(",")
        if len(since) != len(others):
            # somebody else wrote them: each stays for a whole session lifetime from now on
            return cls(current, tuple(Fallback(one, int(time.time())) for one in others))
        fallbacks = (
            Fallback(one, None if when == COMING else _past(number(when)) or int(time.time()))
            for one, when in zip(others, since, strict=True)
        )
        return cls(current, tuple(fallbacks))

    @property
    def values(self) -> list[Secret]:
        """Return every value, the current one first."""
        return [self.current, *(one.key for one in self.fallbacks)]

    @property
    def note(self) -> str:
        """Return since when each fallback is one: never a value, nor anything made from one."""
        return ",".join(COMING if one.since is None else str(one.since) for one in self.fallbacks)

    @property
    def coming(self) -> Secret | None:
        """Return the value that is announced and not used yet."""
        return next((one.key for one in self.fallbacks if one.since is None), None)

    def announced(self, coming: Secret) -> Ring:
        """Let a new value verify. One that was announced before is nobody's yet: it makes room."""
        return replace(self, fallbacks=(Fallback(coming, None), *self._used()))

    def promoted(self, now: int) -> Ring:
        """Use the value that was announced, if there is one; the old one verifies."""
        if self.coming is None:
            return self
        return Ring(self.coming, (Fallback(self.current, now), *self._used()))

    def restarted(self, now: int) -> Ring:
        """Let the time of the value that was used last begin now."""
        newest = (replace(one, since=now) for one in self.fallbacks[:1])
        return replace(self, fallbacks=(*newest, *self.fallbacks[1:]))

    def without(self, oldest: float) -> Ring:
        """Drop what has only verified since `oldest` or longer."""
        kept = (one for one in self.fallbacks if one.since is None or one.since > oldest)
        return replace(self, fallbacks=tuple(kept))

    def _used(self) -> tuple[Fallback, ...]:
        return tuple(one for one in self.fallbacks if one.since is not None)


def is_future(when: float) -> bool:
    """Tell whether a time that was written down, in Unix seconds, is yet to come."""
    return when > time.time() + CLOCK_TOLERANCE


def _past(when: int) -> int:
    return 0 if is_future(when) else when


def number(text: str) -> int:
    """Return the whole number that is written there, or 0; a time has 11 digits at most."""
    return int(text) if re.fullmatch("[0-9]{1,11}", text) else 0
