"""From the lines of the API server's audit log to requests for the Secrets of a release.

https://kubernetes.io/docs/reference/config-api/apiserver-audit.v1/ describes an event. Nothing
of it is kept but what is named here: a body that somebody let into the log goes no further.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qs, urlsplit

ACCOUNT: Final = "system:serviceaccount:"
NODE: Final = "system:node:"
#: Kubernetes itself; of the accounts, those in kube-system.
PARTS: Final = (NODE, "system:kube-", "system:apiserver", f"{ACCOUNT}kube-system:")
READS: Final = frozenset({"get", "list", "watch"})

#: For other reasons than a right, a request fails as well: no such Secret, a conflict.
UNAUTHORISED: Final = frozenset({401, 403})


class Request(NamedTuple):
    """One request for a Secret, or for many of them."""

    time: datetime
    #: As the API server knows who asked, and in whose place somebody else did.
    user: str
    behind: str
    verb: str
    #: "" in both: not one by its name, not of one namespace.
    namespace: str
    name: str
    #: The labels or fields by which a list was narrowed.
    selector: str
    is_denied: bool
    #: The HTTP status, 0 where the log has none.
    code: int
    sources: tuple[str, ...]
    agent: str
    id: str

    @property
    def is_routine(self) -> bool:
        """Tell whether a part of Kubernetes read what it may read: kubelets and controllers."""
        is_part = self.user.startswith(PARTS) and not self.behind
        return is_part and self.verb in READS and not self.is_denied

    @property
    def outcome(self) -> str:
        """Return whether it was allowed, and the status of what failed all the same."""
        if self.is_denied:
            return "denied"
        return f"allowed, {self.code}" if self.code >= 400 else "allowed"


@dataclass
class Log:
    """Takes the log line by line, gives the requests, and counts what it leaves out.

    :param namespace: that of the release.
    :param names: of the release's Secrets.
    :param is_all: whether to leave out nothing that is about Secrets of the namespace.
    """

    namespace: str
    names: frozenset[str]
    is_all: bool = False
    since: datetime | None = None
    only_denied: bool = False
    #: When the oldest event was.
    begins: datetime | None = None
    #: What parts of Kubernetes read, by who they are.
    routine: Counter[str] = field(default_factory=Counter)
    #: Requests for the namespace's other Secrets, by these.
    others: Counter[str] = field(default_factory=Counter)
    #: Lines that are no event.
    unreadable: int = 0
    #: Events that can hold values, since they are of a level that has bodies.
    bodies: int = 0
    _seen: set[str] = field(default_factory=set)

    def take(self, line: str) -> Request | None:
        """Return the request that a line is about, if it is one to be shown, and a new one."""
        if not line or line in self._seen:
            return None
        try:
            event = json.loads(line)
            request, level = _request(event), event["level"]
        except (ValueError, KeyError, TypeError, AttributeError):
            self._seen.add(line)
            self.unreadable += 1
            return None
        if request.id in self._seen:
            return None  # a watch has one event at its start, and one at its end
        self._seen.add(request.id)
        self.begins = min(self.begins or request.time, request.time)
        self.bodies += level != "Metadata"
        return request if _is_about_secrets(event) and self._is_shown(request) else None

    def _is_shown(self, request: Request) -> bool:
        is_early = self.since is not None and request.time < self.since
        if request.namespace not in ("", self.namespace) or is_early:
            return False
        if self.only_denied and not request.is_denied:
            return False
        if self.is_all:
            return True
        if request.name and request.name not in self.names:
            self.others[request.name] += 1
            return False
        if request.is_routine:
            self.routine[request.user] += 1
            return False
        return True


def _is_about_secrets(event: Mapping[str, Any]) -> bool:
    of = event.get("objectRef") or {}
    return of.get("resource") == "secrets" and not of.get("apiGroup")


def _request(event: Mapping[str, Any]) -> Request:
    of = event.get("objectRef") or {}
    user = event["user"].get("username", "")
    acting = (event.get("impersonatedUser") or {}).get("username", "")
    code = (event.get("responseStatus") or {}).get("code", 0)
    return Request(
        time=datetime.fromisoformat(event["requestReceivedTimestamp"]).astimezone(UTC),
        user=acting or user,
        behind=user if acting else "",
        verb=event["verb"],
        namespace=of.get("namespace", ""),
        name=of.get("name", ""),
        selector=_selector(event.get("requestURI", "")),
        is_denied=_is_denied(event, code),
        code=code,
        sources=tuple(event.get("sourceIPs") or ()),
        agent=event.get("userAgent", ""),
        id=event["auditID"],
    )


def _is_denied(event: Mapping[str, Any], code: int) -> bool:
    """Tell whether somebody was refused: by a right that is missing, or before, or after that."""
    decision = (event.get("annotations") or {}).get("authorization.k8s.io/decision")
    return decision == "forbid" or code in UNAUTHORISED


def _selector(uri: str) -> str:
    query = parse_qs(urlsplit(uri).query)
    return ",".join(query.get("labelSelector", []) + query.get("fieldSelector", []))
