"""What users do all the time: read, write, and come back with their session.

Every request has a connection of its own, so that each one meets the certificate and the
pods of its moment. Nothing is tried twice.
"""

from __future__ import annotations

import http.client
import json
import re
import ssl
import statistics
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from tools.resource import READ, RESOURCE

THREADS = 12
#: Of all threads together: what two cores answer while nothing else is done.
PER_SECOND = 60
#: What they answer beside other work, such as that of another cluster.
BESIDE_OTHERS = 12
#: This share of it has to be reached, or it was no load.
LEAST = 5 / 6
#: So many seconds a user waits for an answer, and beside other work, where 12 were seen.
PATIENCE, PATIENCE_BESIDE_OTHERS = 10, 30


class Noticed(AssertionError):
    """A user noticed something, or there was no load; the message says what."""


@dataclass(frozen=True)
class Failure:
    """A request that did not bring what it should have, and when, in Unix seconds."""

    began: float
    ended: float
    request: str
    reason: str


@dataclass
class Load:
    """Constant load on https://HOST:PORT, from the `with` statement to its end."""

    port: int
    authorities: Path
    host: str = "localhost"
    #: The requests in a second that are aimed at.
    pace: int = PER_SECOND
    failures: list[Failure] = field(default_factory=list)
    lost_sessions: list[Failure] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    #: The texts that were taken.
    written: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._started = self._ended = 0.0
        self._sessions = [Session(self) for _ in range(THREADS)]
        self._threads = [threading.Thread(target=self._user, args=(n,)) for n in range(THREADS)]

    def __enter__(self) -> Self:
        self._started = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._ended = time.monotonic()

    @property
    def patience(self) -> int:
        """How many seconds a user waits for an answer: what comes later has failed."""
        return PATIENCE if self.pace >= PER_SECOND else PATIENCE_BESIDE_OTHERS

    @property
    def per_second(self) -> float:
        """How many requests were answered in a second."""
        return len(self.seconds) / ((self._ended or time.monotonic()) - self._started)

    def summary(self) -> str:
        """Say in one line what became of all of it."""
        slowest = sorted(self.seconds)[int(len(self.seconds) * 0.99)]
        return (
            f"{len(self.seconds)} requests at {self.per_second:.0f} a second, "
            f"{len(self.failures)} failed, {len(self.lost_sessions)} sessions lost, "
            f"median {statistics.median(self.seconds) * 1000:.0f} ms, "
            f"99 % under {slowest * 1000:.0f} ms"
        )

    def visits(self) -> list[int]:
        """Return how often each user was seen to come back."""
        return [session.visits for session in self._sessions]

    def lost(self) -> set[str]:
        """Return the texts that were taken and are not there any more."""
        return self.written - set(self._all()) if RESOURCE else set()

    def check(self) -> None:
        """See that there was load, and that nobody noticed anything.

        :raises Noticed: otherwise.
        """
        print(self.summary())
        self.check_unnoticed()
        if self.per_second < LEAST * self.pace:
            raise Noticed(self.summary())

    def check_unnoticed(self) -> None:
        """See that nobody noticed anything, however fast it went.

        :raises Noticed: otherwise.
        """
        if first := self.failures[:3] or self.lost_sessions[:3]:
            raise Noticed(f"{self.summary()}, the first: {first}")
        if RESOURCE and len(self.written) <= 10:
            raise Noticed(f"{len(self.written)} texts are no load: {self.summary()}")
        if lost := self.lost():
            raise Noticed(f"{len(lost)} texts were lost: {self.summary()}")

    def _user(self, number: int) -> None:
        """Go round: a page with the session, a list, a new text; at the same pace all the time."""
        session = self._sessions[number]
        steps: list[Callable[[], None]] = [session.visit]
        if RESOURCE:
            steps += [self._read, session.visit, self._write]
        pause = THREADS / self.pace
        due = time.monotonic() + pause * number / THREADS
        turn = number
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            steps[turn % len(steps)]()
            turn += 1
            due += pause

    def _read(self) -> None:
        self.request("GET", READ)

    def _write(self) -> None:
        text = f"load {uuid.uuid4()}"
        if RESOURCE and self.request("POST", RESOURCE.path, json.dumps(RESOURCE.body(text))):
            self.written.add(text)

    def request(
        self, method: str, path: str, body: str = "", cookie: str = ""
    ) -> tuple[str, str] | None:
        """Ask once; return the answer and the cookie that came with it, or None if it failed."""
        began, started = time.time(), time.monotonic()
        headers = {"Content-Type": "application/json", "Connection": "close"}
        if cookie:
            headers["Cookie"] = cookie
        try:
            with connection(self.port, self.authorities, self.host, self.patience) as server:
                server.request(method, path, body or None, headers)
                answer = server.getresponse()
                text = answer.read().decode()
        except (OSError, http.client.HTTPException) as error:
            reason = f"{type(error).__name__}: {error}"
        else:
            if answer.status < 400:
                self.seconds.append(time.monotonic() - started)
                return text, (answer.getheader("Set-Cookie") or "").split(";")[0]
            reason = f"{answer.status} {text[:200]}"
        self.failures.append(Failure(began, time.time(), f"{method} {path}", reason))
        return None

    def _all(self) -> Iterator[str]:
        path = RESOURCE.listing if RESOURCE else ""
        while RESOURCE and path:
            answer = self.request("GET", path)
            if not answer:
                raise Noticed(f"{path} can't be read: {self.summary()}")
            texts, path = RESOURCE.listed(json.loads(answer[0]))
            yield from texts


class Session:
    """A browser that counts along how often it was here."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._cookie = ""
        self.visits = 0

    def visit(self) -> None:
        """Ask for the page, and see that the service counted one visit more."""
        began = time.time()
        answer = self._load.request("GET", "/", cookie=self._cookie)
        if not answer:
            return
        text, self._cookie = answer
        visits = visits_in(text)
        if visits != self.visits + 1:
            reason = f"visit {visits} after {self.visits}"
            self._load.lost_sessions.append(Failure(began, time.time(), "GET /", reason))
        self.visits = visits


def visits_in(page: str) -> int:
    """Return the visits that a page shows."""
    found = re.search(r'id="visits">([0-9]+)<', page)
    if not found:
        raise Noticed("the page shows no visits")
    return int(found.group(1))


@contextmanager
def connection(
    port: int, authorities: Path, host: str = "localhost", patience: int = PATIENCE
) -> Iterator[http.client.HTTPSConnection]:
    """Connect anew, trusting what stands in `authorities` at this moment."""
    context = ssl.create_default_context(cafile=str(authorities))
    server = http.client.HTTPSConnection(host, port, timeout=patience, context=context)
    try:
        yield server
    finally:
        server.close()
