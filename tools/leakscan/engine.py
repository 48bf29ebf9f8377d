"""Reads places, looks for the needles in them, and reports; of what it finds, names alone.

A place that can't be read is an error, and so is one in which nothing was searched.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any, Final, TypeVar

from tools.progress import Progress

from .needles import Needles
from .target import Target

#: Exit statuses.
CLEAN: Final = 0
FOUND: Final = 1
UNREADABLE: Final = 2

#: Places that are read at the same time: most of them wait for another program.
THREADS: Final = 4


class Unreadable(Exception):
    """A place, or a part of it, can't be read; the message says which and why."""


@dataclass(frozen=True)
class Sample:
    """Something to be searched, and where it stands."""

    where: str
    content: bytes | Iterable[bytes] = field(repr=False)


@dataclass(frozen=True)
class Swept:
    """What was searched where it is, by another program, which has found nothing in it."""

    objects: int
    size: int


@dataclass(frozen=True)
class Fault:
    """Something that is not as it has to be, whatever value there is."""

    where: str
    what: str


Reading = Iterator[Sample | Swept | Fault]


@dataclass(frozen=True)
class Place:
    """A place that is read, by one function.

    :param group: the kind of place.
    :param name: its name in the report.
    :param read: gives what is searched, and what else is wrong there; its docstring's first line
        is what the report says of it.
    :param slow: whether it takes so long that it is begun first.
    """

    group: str
    name: str
    read: Callable[[Target], Reading]
    slow: bool = False

    @property
    def searched(self) -> str:
        """What is searched there, in a line."""
        return (self.read.__doc__ or "").splitlines()[0].rstrip(".")

    def __str__(self) -> str:
        return f"{self.group}: {self.name}"


#: The places of all modules that are imported.
REGISTERED: Final[list[Place]] = []


#: A function that reads a place; a test may call one with more than the target.
Read = TypeVar("Read", bound=Callable[..., Reading])


def place(group: str, name: str, *, slow: bool = False) -> Callable[[Read], Read]:
    """Take the function that follows as a place of the scan."""

    def register(read: Read) -> Read:
        REGISTERED.append(Place(group, name, read, slow))
        return read

    return register


@dataclass(frozen=True, order=True)
class Finding:
    """Something that should not be there."""

    where: str
    #: The name of a value and the form in which it stands there, or what else is wrong.
    what: str
    #: The name of the value; empty if it is something else.
    needle: str = ""


#: In the place of a fault that can't be told.
WITHHELD: Final = Finding("somewhere", "a fault whose description holds a value")


@dataclass
class Row:
    """What became of one place."""

    place: Place
    objects: int = 0
    size: int = 0
    seconds: float = 0.0
    findings: set[Finding] = field(default_factory=set)
    #: Why it could not be read; empty if it was.
    error: str = ""

    @property
    def verdict(self) -> str:
        """What to think of it, in one word."""
        return "found" if self.findings else "unreadable" if self.error else "clean"


@dataclass(frozen=True)
class Report:
    """What became of all places."""

    rows: list[Row]
    #: The names of the values that were looked for.
    needles: list[str]

    @property
    def status(self) -> int:
        """The exit status: a finding counts more than a place that could not be read."""
        verdicts = {row.verdict for row in self.rows}
        return FOUND if "found" in verdicts else UNREADABLE if "unreadable" in verdicts else CLEAN

    def found(self) -> dict[str, set[str]]:
        """Return the places of each value that was found, by its name."""
        found: dict[str, set[str]] = {}
        for row in self.rows:
            for finding in row.findings:
                if finding.needle:
                    found.setdefault(finding.needle, set()).add(str(row.place))
        return found

    def faults(self) -> dict[str, list[str]]:
        """Return what else is wrong, by its place."""
        faults: dict[str, list[str]] = {}
        for row in self.rows:
            for finding in sorted(row.findings):
                if not finding.needle:
                    faults.setdefault(str(row.place), []).append(f"{finding.where}: {finding.what}")
        return faults

    def unread(self) -> dict[str, str]:
        """Return why places could not be read, by their names."""
        return {str(row.place): row.error for row in self.rows if row.error}

    def as_dict(self) -> dict[str, Any]:
        """Return the same for JSON."""
        return {
            "status": self.status,
            "looked_for": dict(Counter(self.needles)),
            "places": [
                {
                    "group": row.place.group,
                    "place": row.place.name,
                    "searched": row.place.searched,
                    "objects": row.objects,
                    "bytes": row.size,
                    "seconds": round(row.seconds, 1),
                    "verdict": row.verdict,
                    "error": row.error,
                    "findings": [asdict(finding) for finding in sorted(row.findings)],
                }
                for row in self.rows
            ],
        }


def scan(target: Target, places: Iterable[Place], progress: Progress | None = None) -> Report:
    """Read every place, and look for the target's needles in it.

    :param progress: is told of each place.
    """
    told = progress or Progress()
    rows = [Row(place) for place in places]
    if not rows:
        raise ValueError("there is no place to look at")
    with ThreadPoolExecutor(THREADS) as pool:
        slow_first = sorted(rows, key=lambda row: not row.place.slow)
        for _ in pool.map(lambda row: _fill(row, target, told), slow_first):
            pass
    return Report(rows, target.needles.names)


def _fill(row: Row, target: Target, progress: Progress) -> None:
    with progress.step(str(row.place)) as step:
        _read(row, target)
        step.outcome = row.verdict


def _read(row: Row, target: Target) -> None:
    started = time.monotonic()
    try:
        for part in row.place.read(target):
            _add(row, part, target.needles)
        if not row.error and row.size == 0:
            row.error = "nothing was searched: 0 bytes"
    except Exception as error:
        row.error = told(error, target.needles)
    row.seconds = time.monotonic() - started


def _add(row: Row, part: Sample | Swept | Fault, needles: Needles) -> None:
    if isinstance(part, Fault):
        shown = not needles.find(f"{part.where}: {part.what}".encode())
        row.findings.add(Finding(part.where, part.what) if shown else WITHHELD)
        return
    if isinstance(part, Swept):
        row.objects += part.objects
        row.size += part.size
        return
    chunks = [part.content] if isinstance(part.content, bytes) else part.content
    hits, size = needles.find_in(chunks)
    named = needles.find(part.where.encode())
    where = "something whose name holds a value" if named else part.where
    hits |= named
    row.objects += 1
    row.size += size
    row.findings |= {Finding(where, f"{hit.needle}, {hit.form}", hit.needle) for hit in hits}


def told(error: Exception, needles: Needles) -> str:
    """Return what an error says, unless there is a value in it."""
    message = f"{type(error).__name__}: {error}"
    if needles.find(message.encode()):
        return f"{type(error).__name__}, whose message holds a value"
    return message
