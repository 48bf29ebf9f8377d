"""Fills what is empty: certificates, the database's administrator, the service's Secret."""

from __future__ import annotations

import logging
import secrets
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Final, TypeVar

import psycopg

from ..secret_files import Redactor, Secret
from .certificates import KeyPair, is_for, new_authority, new_certificate
from .database import Administration, Login, Server, ensure_database
from .objects import SecretObjects, StoredSecret, Unavailable

log = logging.getLogger(__name__)

Result = TypeVar("Result")

#: Between two tries, in seconds: the network rules of a new pod take a few to arrive.
PAUSE: Final = 2.0

KEY_BYTES: Final = 48
PASSWORD_BYTES: Final = 32


class Contradiction(Exception):
    """The Secrets and the database do not fit together; the message says what to do."""


@dataclass(frozen=True)
class Plan:
    """The names of the Secrets, and what belongs into them."""

    service_secret: str
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
    #: How long, in seconds, to wait for the API server and for the database.
    wait_seconds: float


class Keeper:
    """Does whatever is due, and can be killed at any point and run again."""

    def __init__(self, objects: SecretObjects, plan: Plan, redactor: Redactor) -> None:
        self._objects = objects
        self._plan = plan
        self._redactor = redactor

    def run(self) -> None:
        """Fill everything, in the order in which one part needs the other.

        :raises Conflict: another keeper was quicker.
        :raises Unavailable: a Secret could not be read or written.
        :raises psycopg.Error: the database could not be reached, or refused.
        :raises Contradiction: a Secret and the database contradict each other.
        """
        if self._plan.authority_secret:
            self.fill_certificates()
        administrator = self.fill_administrator()
        self.fill_service(administrator)

    def fill_certificates(self) -> None:
        """Make the authority, where it is missing, and the certificates that are not as planned."""
        stored = self._get(self._plan.authority_secret)
        if not stored.has("tls.crt", "tls.key"):
            pair = new_authority(self._plan.authority_secret)
            stored = self._patch(stored, {"tls.crt": pair.certificate, "tls.key": pair.key})
        authority = KeyPair(stored.text("tls.crt"), stored.text("tls.key"))
        for name, names in self._plan.certificates.items():
            stored = self._get(name)
            try:
                filled = stored.has("tls.crt", "tls.key", "ca.crt")
                if not filled or not is_for(stored.text("tls.crt"), names):
                    pair = new_certificate(authority, names)
                    data = {"tls.crt": pair.certificate, "tls.key": pair.key}
                    self._patch(stored, {**data, "ca.crt": authority.certificate})
            except ValueError:
                raise Contradiction(
                    f"the Secret {name} or {self._plan.authority_secret} holds something else than "
                    "a certificate: empty it, and it is filled anew"
                ) from None

    def fill_administrator(self) -> Login:
        """Make the database's administrator, where it is missing, and return it."""
        stored = self._get(self._plan.administrator_secret)
        if not stored.has("username", "password"):
            if not self._plan.administrator:
                raise Contradiction(
                    f"the Secret {stored.name} has no username and password: "
                    "write the database administrator's there"
                )
            data = {"username": self._plan.administrator, "password": _random(PASSWORD_BYTES)}
            stored = self._patch(stored, data)
        return Login(stored.text("username"), stored.data["password"])

    def fill_service(self, administrator: Login) -> None:
        """Make the roles and the tables, and then the service's Secret, where it is empty."""
        started = time.monotonic()
        server = self._verifiable_server()
        self._retry(lambda: ensure_database(server, administrator), "the database")
        with closing(server.connect(administrator)) as connection:
            administration = Administration(connection, server.database)
            administration.lock(self._plan.wait_seconds)
            administration.prepare()
            self._log("database prepared", started)
            # read it now: another keeper may have filled it while this one waited
            stored = self._get(self._plan.service_secret)
            missing = self._missing_values(server, administration, stored)
            if missing:
                self._patch(stored, missing)

    def _missing_values(
        self, server: Server, administration: Administration, stored: StoredSecret
    ) -> dict[str, str]:
        values = {}
        if not stored.has("SECRET_KEY"):
            values["SECRET_KEY"] = _random(KEY_BYTES)
        if stored.has("DATABASE_USERNAME", "DATABASE_PASSWORD"):
            self._admit(server, administration, stored)
        else:
            values |= self._new_login(server, administration)
        if "SECRET_KEY_FALLBACKS" not in stored.data:
            values["SECRET_KEY_FALLBACKS"] = ""
        if values or not stored.has("GENERATION"):
            values["GENERATION"] = str(int(time.time()))
        return values

    def _admit(self, server: Server, administration: Administration, stored: StoredSecret) -> None:
        """See that the database lets in whom the Secret names, as after a restored volume."""
        login = Login(stored.text("DATABASE_USERNAME"), stored.data["DATABASE_PASSWORD"])
        if login.user not in administration.logins:
            raise Contradiction(
                f"DATABASE_USERNAME in the Secret {stored.name} is none of the two roles "
                f"{' and '.join(administration.logins)}: empty the Secret, and it is filled anew"
            )
        if not server.accepts(login):
            administration.let_in(login)
            self._check(server, login)

    def _new_login(self, server: Server, administration: Administration) -> dict[str, str]:
        password = Secret("DATABASE_PASSWORD", _random(PASSWORD_BYTES))
        self._redactor.learn([password])
        login = Login(administration.logins[0], password)
        administration.let_in(login)
        self._check(server, login)
        return {"DATABASE_USERNAME": login.user, "DATABASE_PASSWORD": password.reveal()}

    def _check(self, server: Server, login: Login) -> None:
        if not server.accepts(login):
            raise Contradiction(
                f"the database refuses {login.user} right after its password was set: see its "
                "pg_hba.conf"
            )

    def _verifiable_server(self) -> Server:
        """Return the server with the file that its certificate is verified with."""
        if not self._plan.database_certificate:
            return self._plan.server
        certificate = self._get(self._plan.database_certificate).text("ca.crt")
        # libpq wants a file; what is in it is public
        with tempfile.NamedTemporaryFile("w", suffix=".crt", delete=False) as file:
            file.write(certificate)
        return replace(self._plan.server, sslrootcert=file.name)

    def _get(self, name: str) -> StoredSecret:
        stored = self._retry(lambda: self._objects.get(name), "the API server")
        self._redactor.learn(stored.confidential())
        return stored

    def _patch(self, stored: StoredSecret, data: Mapping[str, str]) -> StoredSecret:
        started = time.monotonic()
        patched = self._retry(lambda: self._objects.patch(stored, data), "the API server")
        self._redactor.learn(patched.confidential())
        self._log(f"{stored.name} filled", started)
        return patched

    def _retry(self, attempt: Callable[[], Result], what: str) -> Result:
        """Try until it works or the time is over; only what may pass is tried again."""
        started = time.monotonic()
        said = False
        while True:
            try:
                return attempt()
            except (Unavailable, psycopg.OperationalError) as error:
                transient = not isinstance(error, Unavailable) or error.transient
                if not transient or time.monotonic() - started > self._plan.wait_seconds:
                    raise
                if not said:
                    log.info("waiting for %s: %s", what, error)
                    said = True
            time.sleep(PAUSE)

    def _log(self, step: str, started: float) -> None:
        log.info(step, extra={"step": step, "seconds": round(time.monotonic() - started, 3)})


def _random(count: int) -> str:
    """Return a text made of `count` random bytes."""
    return secrets.token_urlsafe(count)
