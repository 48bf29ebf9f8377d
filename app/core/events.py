"""What became of the secrets: told by each pod and by the keeper, shown by every pod.

A pod knows of itself alone, and may ask nobody for the others. So each writes down in the
database what it has and what it did, never a value, and the page is the same whichever pod
answers it. It is for people to watch: nothing is decided by it.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import sqlalchemy
from sqlalchemy import (
    ARRAY,
    BigInteger,
    Column,
    Connection,
    DateTime,
    Integer,
    MetaData,
    Select,
    Table,
    Text,
    func,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from secret_files import SecretError, SecretStore, Snapshot

from .database import Database

log = logging.getLogger(__name__)

#: Who tells what the keeper does; no pod has this name.
KEEPER: Final = "keeper"
#: So many events are shown; and so many of the keeper's are more than a rotation has.
MANY: Final = 50
SOME: Final = 20
#: A pod that has not answered for so many seconds is shown no more.
LATELY: Final = 60
#: What was read so many seconds ago is shown no more, while the database hangs.
STALE: Final = 5.0
#: The database is asked once in so many seconds, however many look.
PAUSE: Final = 0.5
#: A statement of this that takes longer is ended.
STATEMENT_SECONDS: Final = 2
#: How long somebody who looks waits for another one who asks it, in seconds.
PATIENCE: Final = 1.0

#: The keeper makes both: keeper/schema.sql.
events = Table(
    "secret_events",
    MetaData(),
    Column("id", BigInteger, primary_key=True),
    Column("happened_at", DateTime(timezone=True)),
    Column("origin", Text),
    Column("event", Text),
    Column("generation", BigInteger),
    Column("role", Text),
    Column("changed", ARRAY(Text)),
    Column("detail", Text),
)
pods = Table(
    "secret_pods",
    MetaData(),
    Column("name", Text, primary_key=True),
    Column("generation", BigInteger),
    Column("role", Text),
    Column("verify_keys", Integer),
    Column("refused", Text),
    Column("adopted_at", DateTime(timezone=True)),
    Column("answered_at", DateTime(timezone=True)),
)


@dataclass(frozen=True)
class Event:
    """Something that the keeper or a pod did."""

    #: A pod's name, or `KEEPER`.
    origin: str
    #: A pod's: started, adopted, rejected. The keeper's: filled, announced, promoted, revoked,
    #: rotated, stopped, retired.
    event: str
    generation: int | None
    role: str = ""
    #: The keys of the Secret that have other values since then.
    changed: tuple[str, ...] = ()
    #: What was wrong with a generation that was rejected, or is in the way of a rotation.
    detail: str = ""
    happened_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    #: As the database counts; 0: it has not heard of it.
    id: int = 0


@dataclass(frozen=True)
class Recorded:
    """An event of this pod, before the database has a time for it."""

    event: Event
    #: Counts this pod's events, from 1.
    number: int
    #: When it happened, on the monotonic clock, which no one sets.
    at: float


@dataclass(frozen=True)
class Pod:
    """What a pod had when it answered last."""

    name: str
    generation: int | None
    role: str
    #: How many keys a session may be signed with: the current one and the fallbacks.
    verify_keys: int
    #: Why a newer generation is not taken; "": there is none.
    refused: str
    adopted_at: datetime
    answered_at: datetime


@dataclass(frozen=True)
class View:
    """What is known of all pods; or of this one alone, while the database does not tell."""

    #: When the database told it, by its clock; None: it did not.
    read_at: datetime | None
    #: Those that answered lately, by name.
    pods: tuple[Pod, ...]
    #: The last ones, the newest first.
    events: tuple[Event, ...]
    #: Those of the keeper among many more, the newest first.
    by_keeper: tuple[Event, ...]
    #: For each key of the Secret the last generation in use that changed it, where that was seen.
    changed: Mapping[str, int]


class Journal:
    """Tells the others what this pod has and does, and shows what all have told.

    What the store adopts or rejects is written in a thread, since a request that comes by must
    not wait for it; the rest when somebody looks.
    """

    def __init__(self, store: SecretStore, database: Database) -> None:
        self._store = store
        self._database = database
        self._pod = socket.gethostname()
        self._snapshot = store.current()
        #: The newest first.
        self._own: deque[Recorded] = deque(maxlen=MANY)
        #: The number of the newest event that the database has, and the time that it got there.
        self._told = 0
        self._told_at = datetime.min.replace(tzinfo=UTC)
        self._refusal: tuple[object, ...] = ()
        self._exchanging = threading.Lock()
        self._writer = ThreadPoolExecutor(1, "journal")
        self._is_alone = False
        self._view = self._alone()
        self._view_until = 0.0
        self._note(Event(self._pod, "started", self._snapshot.generation))
        store.on_adopt.append(self._adopted)
        store.on_reject.append(self._rejected)

    def look(self) -> View:
        """Return what is known; it is as old as half a second, or as a slow database makes it.

        An event of this pod that the database does not have yet is written first.
        """
        # behind one who waits for a database that is away, nobody else waits
        patience = 0 if self._is_alone else PATIENCE
        if self._is_due() and self._exchanging.acquire(timeout=patience):
            try:
                if self._is_due():  # another thread was not quicker
                    self._exchange()
            finally:
                self._exchanging.release()
        is_stale = time.monotonic() > self._view_until + STALE
        return self._alone() if is_stale else self._view

    def close(self) -> None:
        """Wait until all is written, and tell that this pod has ended."""
        self._writer.shutdown()
        self._leave()

    def _is_due(self) -> bool:
        # while the database is away, events do not make it be asked more often
        has_untold = not self._is_alone and self._own[0].number > self._told
        return has_untold or time.monotonic() >= self._view_until

    def _leave(self) -> None:
        gone = update(pods).where(pods.c.name == self._pod).values(answered_at=func.to_timestamp(0))
        with suppress(sqlalchemy.exc.SQLAlchemyError), self._database.begin() as connection:
            connection.execute(gone)

    def _adopted(self, snapshot: Snapshot) -> None:
        changed = tuple(
            name
            for name in dict.fromkeys([*self._snapshot, *snapshot])
            if name != "GENERATION" and self._snapshot.lines(name) != snapshot.lines(name)
        )
        is_same = not changed and snapshot.generation == self._snapshot.generation
        self._snapshot = snapshot
        if is_same:
            return  # the same values were written once more
        role = snapshot["DATABASE_USERNAME"].reveal() if "DATABASE_USERNAME" in changed else ""
        self._note(Event(self._pod, "adopted", snapshot.generation, role, changed))
        self._write()

    def _rejected(self, error: SecretError) -> None:
        refused = self._store.refused
        if not refused or self._refusal == (refused.since, refused.key, refused.summary):
            return  # tried again, and once more the same
        self._refusal = (refused.since, refused.key, refused.summary)
        detail = f"{refused.key} {refused.summary}"
        self._note(Event(self._pod, "rejected", self._snapshot.generation, detail=detail))
        self._write()

    def _note(self, event: Event) -> None:
        number = self._own[0].number + 1 if self._own else 1
        self._own.appendleft(Recorded(event, number, time.monotonic()))

    def _write(self) -> None:
        def write() -> None:
            with self._exchanging:
                self._exchange()

        self._writer.submit(write)

    def _exchange(self) -> None:
        """Tell what is untold, and read what all have told."""
        try:
            with self._database.begin() as connection:
                connection.execute(text(f"SET LOCAL statement_timeout = '{STATEMENT_SECONDS} s'"))
                told, told_at = self._tell(connection)
                self._view = _read(connection)
        except sqlalchemy.exc.SQLAlchemyError as error:
            if not self._is_alone:
                log.warning("the page shows this pod alone: %s", getattr(error, "orig", error))
            self._is_alone = True
            self._view = self._alone()
        else:
            self._is_alone = False
            self._told, self._told_at = told, told_at
        self._view_until = time.monotonic() + PAUSE

    def _tell(self, connection: Connection) -> tuple[int, datetime]:
        """Write this pod's state and its new events; return the last one's number and time."""
        own = _columns(self._own_pod()) | {"answered_at": func.now()}
        statement = insert(pods).values(own)
        connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=own))
        told, told_at = self._told, self._told_at
        untold = [one for one in tuple(self._own)[::-1] if one.number > told]
        if not untold:
            return told, told_at
        # one comparison for all: a pause between two inserts can't change the order of events
        to_database_time = _compare_clocks(connection)
        for one in untold:
            # the comparison of another transaction may differ by more than lay between two events
            told_at = max(to_database_time(one.at), told_at + timedelta(microseconds=1))
            told = one.number
            values = _columns(one.event) | {"happened_at": told_at, "changed": one.event.changed}
            del values["id"]
            connection.execute(insert(events).values(values))
        return told, told_at

    def _own_pod(self) -> Pod:
        snapshot, refused = self._store.current(), self._store.refused
        return Pod(
            name=self._pod,
            generation=snapshot.generation,
            role=snapshot["DATABASE_USERNAME"].reveal(),
            verify_keys=1 + len(snapshot.lines("SECRET_KEY_FALLBACKS")),
            refused=f"{refused.key} {refused.summary}" if refused else "",
            adopted_at=datetime.fromtimestamp(self._store.adopted_at, UTC),
            answered_at=datetime.now(UTC),
        )

    def _alone(self) -> View:
        return View(None, (self._own_pod(),), tuple(one.event for one in tuple(self._own)), (), {})


def _compare_clocks(connection: Connection) -> Callable[[float], datetime]:
    """Return a function that turns this machine's monotonic time into the database's time."""
    asked = time.monotonic()
    now: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
    answered = (asked + time.monotonic()) / 2  # it is not known where in between
    return lambda at: now - timedelta(seconds=answered - at)


def _read(connection: Connection) -> View:
    # first: what is read is not older than it is said to be
    read_at = connection.execute(select(func.clock_timestamp())).scalar_one()
    is_lately = pods.c.answered_at > func.now() - timedelta(seconds=LATELY)
    found = connection.execute(select(pods).where(is_lately).order_by(pods.c.name))
    answered = tuple(Pod(**row) for row in found.mappings())
    newest = select(events).order_by(events.c.happened_at.desc(), events.c.id.desc()).limit(MANY)
    by_keeper = newest.where(events.c.origin == KEEPER).limit(SOME)
    return View(
        read_at=read_at,
        pods=answered,
        events=_events(connection, newest),
        by_keeper=_events(connection, by_keeper),
        changed=_changed(connection, max((pod.generation or 0 for pod in answered), default=0)),
    )


def _changed(connection: Connection, newest: int) -> dict[str, int]:
    """Return the last generation that changed each key, of those that are in use."""
    key = func.unnest(events.c.changed).label("key")
    last = (
        select(key, func.max(events.c.generation))
        .where(events.c.generation <= newest)
        .group_by("key")
    )
    return {row[0]: row[1] for row in connection.execute(last)}


def _events(connection: Connection, query: Select[Any]) -> tuple[Event, ...]:
    rows = connection.execute(query).mappings()
    return tuple(Event(**{**row, "changed": tuple(row["changed"])}) for row in rows)


def _columns(told: Event | Pod) -> dict[str, Any]:
    return dict(vars(told))
