"""How far a rotation is. All of it stands in the Secret itself: values, and notes beside them.

Values and notes change in one patch, so that a keeper which is killed at any
point leaves a Secret from which the next one goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from secret_files import Secret

from .objects import StoredSecret
from .plan import DATABASE, SESSION
from .ring import Ring, is_future, number

#: No rotation is under way.
IDLE: Final = ""
#: The new login is published, and the new session key verifies.
ANNOUNCED: Final = "announced"
#: The new session key signs, and the old one verifies.
PROMOTED: Final = "promoted"

#: The session key, whose fallbacks have a key of the Secret to themselves.
SESSION_KEY: Final = "SECRET_KEY"
FALLBACKS: Final = "SECRET_KEY_FALLBACKS"
#: The note with the times of a ring's fallbacks; of the service's own keys, with their name.
NOTE: Final = "fallbacks"


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
    #: The session key, and the service's own ones, by their names; what is empty is not there.
    rings: Mapping[str, Ring]
    generation: int

    @classmethod
    def of(cls, stored: StoredSecret) -> State:
        """Read the state. What has no note, or a note that makes no sense, is as new as can be."""
        generation = number(stored.text("GENERATION") if stored.has("GENERATION") else "")
        notes = stored.notes
        made = {part: number(notes.get(f"{part}-made", "")) for part in (SESSION, DATABASE)}
        return cls(
            step=notes.get("step", IDLE),
            parts=frozenset(filter(None, notes.get("parts", "").split(","))),
            role=notes.get("role") or _role(stored),
            made={part: when or generation or int(time.time()) for part, when in made.items()},
            rings=dict(_rings(stored)),
            generation=generation,
        )

    @property
    def changing(self) -> list[str]:
        """Return the keys of the Secret that a session key's rotation changes, but SECRET_KEY."""
        return [FALLBACKS, *(name for name in self.rings if name != SESSION_KEY)]

    @property
    def lacks_a_key(self) -> bool:
        """Tell whether a new session key is announced, and it, or one beside it, is not there."""
        is_announced = self.step == ANNOUNCED and SESSION in self.parts
        return is_announced and any(ring.coming is None for ring in self.rings.values())

    def turned(self, turn: Callable[[Ring], Ring]) -> State:
        """Return the state with each ring turned by one step."""
        return replace(self, rings={name: turn(ring) for name, ring in self.rings.items()})

    def next_generation(self) -> int:
        """Return a number for the next generation: the time, and more than the last one.

        After one of the future it is the time: pods compare numbers for being the same alone.
        """
        now = int(time.time())
        return now if is_future(self.generation) else max(now, self.generation + 1)

    def published(self) -> State:
        """Return the state with the number of a new generation."""
        return replace(self, generation=self.next_generation())

    def values(self) -> dict[str, str]:
        """Return the keys of the Secret that follow from the state."""
        values = {FALLBACKS: "", "GENERATION": str(self.generation)}
        for name, ring in self.rings.items():
            texts = [value.reveal() for value in ring.values]
            if name == SESSION_KEY:
                values[name], values[FALLBACKS] = texts[0], "\n".join(texts[1:])
            else:
                values[name] = "\n".join(texts)
        return values

    def notes(self) -> dict[str, str]:
        """Return what has to be noted for `of` to find this state again."""
        return {
            "step": self.step,
            "parts": ",".join(sorted(self.parts)),
            "role": self.role,
            **{f"{part}-made": str(when) for part, when in self.made.items()},
            **{note_of(name): ring.note for name, ring in self.rings.items()},
        }


def times_ahead(stored: StoredSecret) -> list[str]:
    """Return the names of the notes, and GENERATION, that say a time which is yet to come."""
    times = {
        name: value
        for name, value in stored.notes.items()
        if name.endswith("-made") or name == NOTE or name.startswith(f"{NOTE}-")
    }
    if stored.has("GENERATION"):
        times["GENERATION"] = stored.text("GENERATION")
    return sorted(
        name for name, text in times.items() if any(is_future(number(t)) for t in text.split(","))
    )


def note_of(name: str) -> str:
    """Return what the note is called that goes with a key of the Secret."""
    return NOTE if name == SESSION_KEY else f"{NOTE}-{name}"


def _rings(stored: StoredSecret) -> Iterator[tuple[str, Ring]]:
    notes = stored.notes
    if stored.has(SESSION_KEY):
        values = [stored.data[SESSION_KEY], *_lines(stored, FALLBACKS)]
        yield SESSION_KEY, Ring.of(values, notes.get(NOTE, ""))
    for note in sorted(notes):
        name = note.removeprefix(f"{NOTE}-")
        if name != note and (values := _lines(stored, name)):
            yield name, Ring.of(values, notes[note])


def _lines(stored: StoredSecret, name: str) -> list[Secret]:
    text = stored.text(name) if stored.has(name) else ""
    return [Secret(name, line) for line in text.splitlines() if line]


def _role(stored: StoredSecret) -> str:
    return stored.text("DATABASE_USERNAME") if stored.has("DATABASE_USERNAME") else ""
