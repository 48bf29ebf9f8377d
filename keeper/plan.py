"""What belongs into the Secrets, how old it may get, and where the service and the database are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .database import Server

SESSION: Final = "session"
DATABASE: Final = "database"
CERTIFICATES: Final = "certificates"

#: What can be rotated, each on its own or all at once.
PARTS: Final = (SESSION, DATABASE, CERTIFICATES)


class Contradiction(Exception):
    """What is stored or said does not fit together; the message says what to do."""


@dataclass(frozen=True)
class Service:
    """Where the pods of the service are found and asked. All times are in seconds."""

    #: A DNS name with the address of every pod: a headless Service's.
    host: str
    #: The ports on which each pod serves its metrics, and HTTPS; 0: plain HTTP.
    metrics_port: int
    tls_port: int = 0
    #: How long, after a change, pods that were not seen before are still looked for: longer than
    #: an answer of the cluster's DNS is kept.
    settle_seconds: float = 0


@dataclass(frozen=True)
class Plan:
    """The names of the Secrets, and what belongs into them. All times are in seconds."""

    #: "": it is somebody else's, and so is what goes into it.
    service_secret: str
    #: "": the database is not touched.
    administrator_secret: str
    #: Made when its Secret is empty; "": the Secret is somebody else's.
    administrator: str
    #: "": no certificates are made.
    authority_secret: str
    #: The names in each certificate, by the Secret that it goes into.
    certificates: Mapping[str, tuple[str, ...]]
    #: The one of them that the database has; "": `server` says what to verify it with.
    database_certificate: str
    server: Server
    #: None: it does not run, and there is nobody to wait for.
    service: Service | None
    #: How long to wait for the API server, for the database, and for the pods.
    wait_seconds: float
    #: More keys of the service's Secret, which are made and rotated with the session key: one value
    #: a line, the first one for new work, the others still valid.
    own_keys: tuple[str, ...] = ()
    #: The directory with the service's tables, in files `*.sql`; None: it has none.
    tables_dir: Path | None = None
    #: How old a session key and a password may get.
    interval: int = 30 * 86400
    #: How long a session cookie is valid: an older key verifies for as long.
    session_lifetime: int = 86400

    @property
    def parts(self) -> tuple[str, ...]:
        """Return what is the keeper's to rotate."""
        if self.service_secret:
            return PARTS
        return (CERTIFICATES,) if self.certificates else ()
