"""What the API server logs of who reads and writes Secrets."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import UNAUTHORIZED
from typing import Any, Final

from tools.poll import PollTimeout, poll

from .engine import Fault, Reading, Sample, Unreadable, place
from .reader import USER
from .target import Target

FOLDER: Final = "/var/log/kubernetes"
CURRENT: Final = "audit.log"

#: How long the log may lag, in seconds.
LAG: Final = 10

#: The newest lines, among which an event of this moment is.
NEWEST: Final = "500"

#: Who did what to which Secret; a list has no name.
Deed = tuple[str, str, str]


@dataclass
class Events:
    """What the events tell of the Secrets of a namespace.

    :param since: the time from which on a list counts, as events have it.
    """

    namespace: str
    since: str
    deeds: set[Deed] = field(default_factory=set)
    #: What is wrong with an event, and how many there are like it.
    wrong: Counter[str] = field(default_factory=Counter)

    def pass_on(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Iterate over a log as it is, and take its events."""
        rest = b""
        for chunk in chunks:
            # a line that is not at its end yet is an event of the next moment
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._take(json.loads(line))
            yield chunk

    def _take(self, event: dict[str, Any]) -> None:
        if event["level"] != "Metadata":
            self.wrong[f"of level {event['level']}"] += 1
        of = event.get("objectRef") or {}
        if of.get("resource") != "secrets" or of.get("namespace") != self.namespace:
            return
        user, verb = event.get("user", {}).get("username"), event["verb"]
        code = event.get("responseStatus", {}).get("code", 0)
        # whose token is nobody's was sent away
        if not user and code != UNAUTHORIZED:
            self.wrong["without who"] += 1
        counts = verb != "list" or event["requestReceivedTimestamp"] >= self.since
        if user and code < 300 and counts:
            self.deeds.add((user, verb, of.get("name", "")))


@place("audit log", "events")
def events(target: Target) -> Reading:
    """Every event of the log, of level Metadata: who read and wrote each Secret, this scan too."""
    cluster = target.cluster
    # the log's clock; without a Z, so that fractions of this second come after it
    since = cluster.node("date", "--utc", "+%FT%T").strip()
    names = _of_the_keeper(target)
    seen = Events(cluster.namespace, since)
    read: Deed = (USER, "list", "")
    _wait_for(target, read, since)
    done: set[str] = set()
    # the current one may be given another name meanwhile
    while new := _files(target) - done:
        for file in sorted(new):
            yield Sample(file, seen.pass_on(cluster.node_file(f"{FOLDER}/{file}")))
            for what, times in seen.wrong.items():
                yield Fault(file, f"events {what}: {times}")
            seen.wrong.clear()
        done |= new
    keeper = f"system:serviceaccount:{cluster.namespace}:{cluster.fullname}-keeper"
    kept = {(keeper, verb, name) for name in names for verb in ("get", "patch")}
    for user, verb, name in sorted(kept | {read}):
        if (user, verb, name) not in seen.deeds:
            yield Fault("all files", f"no {verb} of {f'secrets {name}'.strip()} by {user}")


def _of_the_keeper(target: Target) -> frozenset[str]:
    """List the Secrets, which is the read that has to be in the log, and return the keeper's."""
    label = "app.kubernetes.io/instance"
    told = {name: json.loads(text)["metadata"] for name, text in target.reader.metadata().items()}
    names = frozenset(
        name
        for name, metadata in told.items()
        if metadata.get("labels", {}).get(label) == target.cluster.fullname
        # External Secrets gives the labels of its ExternalSecret to what it owns
        and "ownerReferences" not in metadata
    )
    if not names:
        raise Unreadable("there is no Secret of the keeper")
    return names


def _files(target: Target) -> set[str]:
    listed = target.cluster.node(
        "find", FOLDER, "-type", "f", "-name", "audit*.log", "-printf", r"%f\n"
    )
    files = set(listed.split())
    if CURRENT not in files:
        raise Unreadable(f"{FOLDER} has no {CURRENT}")
    return files


def _wait_for(target: Target, deed: Deed, since: str) -> None:
    """Wait until it is in the log, but not for ever: that it is missing is told later."""
    seen = Events(target.cluster.namespace, since)
    tail = ("tail", "--lines", NEWEST, f"{FOLDER}/{CURRENT}")

    def is_logged() -> bool:
        for _ in seen.pass_on([target.cluster.node(*tail).encode()]):
            pass
        return deed in seen.deeds

    with suppress(PollTimeout):
        poll(is_logged, "an event of the audit log", LAG, 0.1)
