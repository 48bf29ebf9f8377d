"""Real leaks, each made in one place of the leak scan, so that the scan can be seen to fail.

One module for each group of places. A leak is made in a release that is there for it, in the
namespace `leaky`, or beside it, and taken back at the end.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Final

from tools.leakscan.target import Target


@dataclass(frozen=True)
class Plant:
    """A leak of a canary, a random value that is looked for like a secret.

    :param name: the canary's name.
    :param place: where it is made, as the report names it: "etcd: database files".
    :param make: makes it, given the target and the canary, and takes it back.
    :param also: other places in which it stands as well then, whatever one does.
    :param fault: a regular expression of the fault that is found instead, where no value is
        looked for.
    """

    name: str
    place: str
    make: Callable[[Target, str], AbstractContextManager[None]]
    also: frozenset[str]
    fault: str

    def is_seen_in(self, fault: str) -> bool:
        """Tell whether a fault is the one that this makes."""
        return bool(self.fault and re.search(self.fault, fault))


def canary_of(seed: str, name: str) -> str:
    """Return the canary of a plant: it can be made where nobody wrote it."""
    return hashlib.sha256(f"{seed} {name}".encode()).hexdigest()[:40]


#: The leaks of all modules that are imported.
PLANTS: Final[list[Plant]] = []

Make = Callable[[Target, str], Iterator[None]]


def plants(place: str, *, also: tuple[str, ...] = (), fault: str = "") -> Callable[[Make], Make]:
    """Take the generator that follows, which yields once, as a leak in a place."""

    def register(make: Make) -> Make:
        name = f"{make.__module__.rsplit('.', 1)[-1]} {make.__name__}"
        PLANTS.append(Plant(name, place, contextmanager(make), frozenset(also), fault))
        return make

    return register
