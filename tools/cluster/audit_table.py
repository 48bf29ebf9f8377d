"""Requests for Secrets as a table for people, or as JSON for programs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import groupby
from typing import Final

from tools import table

from .audit_events import ACCOUNT, NODE, Log, Request

COLUMNS: Final = ("TIME (UTC)", "WHO", "VERB", "SECRET", "OUTCOME", "FROM")
#: At least so wide is each of them, for what comes later.
WIDTHS: Final = (19, 30, 5, 24, 12, 12)
#: A longer cell is cut: whoever asks chooses some of them.
LONGEST: Final = 80
#: So many are named of what is left out.
NAMED: Final = 5


class Requests:
    """A table of requests; it can go on with rows that come later.

    :param namespace: that of the release.
    :param is_wide: whether to tell the user agents.
    """

    def __init__(self, namespace: str, is_wide: bool) -> None:
        self._namespace = namespace
        self._is_wide = is_wide
        headings = (*COLUMNS, *(("USER AGENT",) if is_wide else ()))
        # the last column has no heading: how many requests more are like this one
        self._table = table.Table((*headings, ""), least=WIDTHS)

    def begin(self, requests: Iterable[Request]) -> str:
        """Return the headings, and a row for each request, or for several that are alike."""
        rows = ([*self._cells(first), again] for first, again in self._merged(requests))
        return "\n".join(self._table.begin(rows))

    def row(self, request: Request) -> str:
        """Return a row of its own."""
        return self._table.row([*self._cells(request), ""])

    def _merged(self, requests: Iterable[Request]) -> Iterator[tuple[Request, str]]:
        """Iterate over the first of those in a row that differ by their time alone."""
        for _, group in groupby(requests, lambda one: self._cells(one)[1:]):
            first, *more = group
            yield first, f"and {len(more)} more until {_until(first, more[-1])}" if more else ""

    def _cells(self, request: Request) -> tuple[str, ...]:
        behind = f", by {who(request.behind, self._namespace)}" if request.behind else ""
        cells = (
            _when(request.time),
            who(request.user, self._namespace) + behind,
            request.verb,
            which(request),
            request.outcome,
            ", ".join(request.sources),
            *((request.agent,) if self._is_wide else ()),
        )
        return tuple(_fit(cell) for cell in cells)


def who(user: str, namespace: str) -> str:
    """Return a name of the API server's for a person; nobody else can have the same one."""
    owner, colon, name = user.removeprefix(ACCOUNT).partition(":")
    if user.startswith(ACCOUNT) and colon:
        return f"sa/{name}" if owner == namespace else f"sa/{owner}/{name}"
    if user.startswith(NODE):
        return f"node/{user.removeprefix(NODE)}"
    if user.startswith("system:"):
        return user
    return f"user/{user}" if user else "nobody who is known"


def which(request: Request) -> str:
    """Return what was asked for: a Secret, or all of them, as far as a list was not narrowed."""
    if request.name:
        return request.name
    if request.verb == "create":
        return "a new one"
    place = "" if request.namespace else " in every namespace"
    return f"all{place}" + (f" with {request.selector}" if request.selector else "")


def as_json(request: Request) -> str:
    """Return one line of JSON; what is not named here is not told."""
    return json.dumps(
        {
            "time": request.time.isoformat(),
            "user": request.user,
            "impersonated_by": request.behind or None,
            "verb": request.verb,
            "namespace": request.namespace or None,
            "secret": request.name or None,
            "selector": request.selector or None,
            "outcome": "denied" if request.is_denied else "allowed",
            "code": request.code,
            "from": request.sources,
            "user_agent": request.agent,
            "audit_id": request.id,
        }
    )


def left_out(log: Log) -> list[str]:
    """Return in sentences what is not in the table, and what the log does not say."""
    told = [f"The log goes back to {_when(log.begins)}." if log.begins else "The log is empty."]
    if log.routine:
        readers = Counter({who(user, log.namespace): n for user, n in log.routine.items()})
        told.append(
            f"Left out, --all shows them: {_counted(readers, 'reads by Kubernetes itself')}."
        )
    if log.others:
        what = "requests for other Secrets of the namespace"
        told.append(f"Left out, --all shows them: {_counted(log.others, what)}.")
    if log.unreadable:
        told.append(f"Lines of the log that can't be read: {log.unreadable}.")
    if log.bodies:
        told.append(
            f"Events of another level than Metadata: {log.bodies}. The log can hold values of "
            "Secrets: tools/cluster/audit-policy.yaml has to keep them out."
        )
    return told


def _counted(counter: Counter[str], what: str) -> str:
    named = [f"{_fit(name)} {n}" for name, n in counter.most_common(NAMED)]
    more = len(counter) - len(named)
    also = f" and {more} others" if more else ""
    return f"{what}, {counter.total()} ({', '.join(named)}{also})"


def _until(first: Request, last: Request) -> str:
    is_same_day = first.time.date() == last.time.date()
    return f"{last.time:%H:%M:%S}" if is_same_day else _when(last.time)


def _when(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S}"


def _fit(text: str) -> str:
    """Return a text without what would move a terminal's cursor, and not too long for a row."""
    fit = table.printable(text)
    return fit if len(fit) <= LONGEST else f"{fit[: LONGEST - 1]}…"
