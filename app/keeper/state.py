"""How far a rotation is. All of it stands in the Secret itself: values, and notes beside them.

Values and notes change in one patch, so that a keeper which is killed at any
point leaves a Secret from which the next one goes on.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from ..secret_files import Secret
from .objects import StoredSecret
from .plan import DATABASE, SESSION

#: No rotation is under way.
IDLE: Final = ""
#: The new login is published, and the new session key verifies.
ANNOUNCED: Final = "announced"
#: The new session key signs, and the old one verifies.
PROMOTED: Final = "promoted"


@dataclass(frozen=True)
class Fallback:
    """A key that only verifies, and since when, in Unix seconds; None: it is yet to sign."""

    key: Secret
    since: int | None


@dataclass(frozen=True)
class State:
    """What the service's Secret says of the last rotation."""

    step: str
    #: What it rotates.
    parts: frozenset[str]
    #: The database role that this generation was published with.
    role: str
    #: When the session key and the password were made, in Unix seconds.
    made: Mapping[str, int]
    fallbacks: tuple[Fallback, ...]
    generation: int

    @classmethod
    def of(cls, stored: StoredSecret) -> State:
        """Read the state. What has no note, or a note that makes no sense, is as new as can be."""
        generation = _number(stored.text("GENERATION") if stored.has("GENERATION") else "")
        notes = stored.notes
        made = {part: _number(notes.get(f"{part}-made", "")) for part in (SESSION, DATABASE)}
        return cls(
            step=notes.get("step", IDLE),
            parts=frozenset(filter(None, notes.get("parts", "").split(","))),
            role=notes.get("role") or _role(stored),
            made={part: when or generation or int(time.time()) for part, when in made.items()},
            fallbacks=_fallbacks(stored),
            generation=generation,
        )

    @property
    def coming(self) -> Secret | None:
        """Return the session key that is announced and does not sign yet."""
        return next((one.key for one in self.fallbacks if one.since is None), None)

    def next_generation(self) -> int:
        """Return a number for the next generation: the time, and more than the last one."""
        return max(int(time.time()), self.generation + 1)

    def published(self) -> State:
        """Return the state with the number of a new generation."""
        return replace(self, generation=self.next_generation())

    def values(self) -> dict[str, str]:
        """Return the keys of the Secret that follow from the state."""
        return {
            "SECRET_KEY_FALLBACKS": "\n".join(one.key.reveal() for one in self.fallbacks),
            "GENERATION": str(self.generation),
        }

    def notes(self) -> dict[str, str]:
        """Return what has to be noted for `of` to find this state again."""
        return {
            "step": self.step,
            "parts": ",".join(sorted(self.parts)),
            "role": self.role,
            **{f"{part}-made": str(when) for part, when in self.made.items()},
            "fallbacks": ",".join(
                "coming" if one.since is None else str(one.since) for one in self.fallbacks
            ),
        }


def _fallbacks(stored: StoredSecret) -> tuple[Fallback, ...]:
    text = stored.text("SECRET_KEY_FALLBACKS") if stored.has("SECRET_KEY_FALLBACKS") else ""
    keys = [Secret("SECRET_KEY_FALLBACKS", line) for line in text.splitlines() if line]
    since = stored.notes.get("fallbacks", "").split(",")
    if len(since) != len(keys):
        # somebody else wrote them: each stays for a whole session lifetime from now on
        return tuple(Fallback(key, int(time.time())) for key in keys)
    return tuple(
        Fallback(key, None if when == "coming" else _number(when) or int(time.time()))
        for key, when in zip(keys, since, strict=True)
    )


def _role(stored: StoredSecret) -> str:
    return stored.text("DATABASE_USERNAME") if stored.has("DATABASE_USERNAME") else ""


def _number(text: str) -> int:
    """Return the whole number that is written there, or 0; a time has 11 digits at most."""
    return int(text) if re.fullmatch("[0-9]{1,11}", text) else 0
