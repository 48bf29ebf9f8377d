"""The Secrets with certificates: filled, renewed, and moved to a new authority.

How far it is follows from the certificates themselves: which authority signed one,
which authorities a Secret trusts, and what is served.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from ssl import DER_cert_to_PEM_cert
from typing import Final

from .access import Access, DatabaseAccess, log_step
from .certificates import (
    KeyPair,
    der,
    expires_at,
    is_due,
    is_for,
    is_signed_by,
    is_valid_now,
    new_authority,
    new_certificate,
)
from .objects import StoredSecret
from .plan import Contradiction, Plan
from .pods import Pods, PodsBehind
from .ring import is_future, number

log = logging.getLogger("keeper")

#: The log's words for a certificate that no client accepts.
INVALID: Final = "the certificate in %s is not valid now: it has ended, or a clock was wrong"

#: Between two looks at what the database serves, in seconds.
PAUSE: Final = 1.0


class Certificates:
    """The authority's Secret, and those of the certificates that it signs."""

    def __init__(self, access: Access, plan: Plan, pods: Pods) -> None:
        self._access = access
        self._plan = plan
        self._pods = pods
        #: When this run renewed which, in Unix seconds.
        self._renewed: dict[str, float] = {}

    def fill(self) -> None:
        """Make the authority, where it is missing, and the certificates that are not as planned.

        What is not valid now, and so of no use to anybody, is renewed here: with such a certificate
        of the database nothing else can be done.

        :raises Contradiction: a Secret holds something else than a certificate.
        """
        stored = self._access.get(self._plan.authority_secret)
        if not stored.has("tls.crt", "tls.key"):
            # of one that was lost, certificates may be served
            lost = (
                _parsed(found, "ca.crt") for found in self._certificates() if found.has("ca.crt")
            )
            stored = self._new_authority(stored, next(lost, ""), "filled")
        _parsed(stored)
        if stored.has("ca.crt"):
            _parsed(stored, "ca.crt")
        if not is_valid_now(stored.text("tls.crt")):
            log.warning(INVALID, stored.name)
            stored = self._new_authority(stored, _trusted(stored), "authority replaced")
        for name, names in self._plan.certificates.items():
            found = self._access.get(name)
            if not found.has("tls.crt", "tls.key", "ca.crt") or not _fits(found, names):
                self._issue(found, stored, "filled")
            elif not is_valid_now(found.text("tls.crt")):
                log.warning(INVALID, name)
                self._renew(found, stored)

    def mend(self, database: DatabaseAccess) -> None:
        """Replace what the database serves, if it is not valid now: else nobody can log in.

        :raises PodsBehind: it does not serve what is in its Secret.
        :raises psycopg.Error: it refuses the administrator.
        """
        try:
            served = DER_cert_to_PEM_cert(database.server().certificate())
        except (OSError, UnicodeError):
            return  # it is away, or has no TLS: who needs it waits for it, or says so
        if not is_valid_now(served):
            log.warning("the database serves a certificate that is not valid now")
            stored = self._access.get(self._plan.database_certificate)
            self._see_database(database, stored, _reload_bound)

    def renew(self, asked_for: bool, new_authority_too: bool) -> None:
        """Renew what is at two thirds of its life, or everything.

        A certificate of an authority that not everybody trusts yet has to wait for `finish`.

        :param new_authority_too: also the authority. Both are trusted until one session
            lifetime after the new one was made.
        :raises Conflict: somebody else changed a Secret.
        """
        authority = self._access.get(self._plan.authority_secret)
        # one at a time: what is not yet of the last one has to move first
        is_moving = any(self._is_of_old(stored, authority) for stored in self._certificates())
        if new_authority_too and is_moving:
            log.warning("not everything is of the last new authority yet: this run moves it first")
        elif new_authority_too or (is_due(authority.text("tls.crt")) and not is_moving):
            authority = self._new_authority(authority, _trusted(authority), "authority replaced")
        self._trust(authority)
        for stored in self._certificates():
            is_due_now = asked_for or is_due(stored.text("tls.crt"))
            if is_due_now and not self._is_of_old(stored, authority):
                self._renew(stored, authority)

    def finish(self, database: DatabaseAccess | None) -> None:
        """See that every Secret's certificate is of the current authority, and served.

        :param database: None: it is not touched, and has no certificate of the keeper's.
        :raises PodsBehind: what is served is not what is in the Secret.
        :raises Conflict: somebody else changed a Secret.
        """
        authority = self._access.get(self._plan.authority_secret)
        is_old = any(self._is_of_old(stored, authority) for stored in self._certificates())
        if is_old and self._plan.database_certificate:
            self._see_trusted(authority)
        for stored in self._certificates():
            if self._is_of_old(stored, authority):
                stored = self._renew(stored, authority)
            if database and stored.name == self._plan.database_certificate:
                self._see_database(database, stored)  # also what a killed keeper renewed
            elif stored.name in self._renewed:
                self._see_service(stored)
        self._forget_old_authority(authority)

    def _new_authority(self, stored: StoredSecret, before: str, what: str) -> StoredSecret:
        """Make an authority, and trust those `before` it, too."""
        # pods tell which ones they have by the last end
        pair = new_authority(stored.name, after=expires_at(before) if before else 0)
        data = {
            "tls.crt": pair.certificate,
            "tls.key": pair.key,
            "ca.crt": pair.certificate + before,
        }
        return self._patch(stored, data, what, {"made": str(int(time.time()))})

    def _trust(self, authority: StoredSecret) -> None:
        """Let every Secret trust what the authority's does."""
        for stored in self._certificates():
            if stored.text("ca.crt") != _trusted(authority):
                self._patch(stored, {"ca.crt": _trusted(authority)}, "trust changed")

    def _certificates(self) -> list[StoredSecret]:
        return [self._access.get(name) for name in self._plan.certificates]

    def _is_of_old(self, stored: StoredSecret, authority: StoredSecret) -> bool:
        return not is_signed_by(stored.text("tls.crt"), authority.text("tls.crt"))

    def _renew(self, stored: StoredSecret, authority: StoredSecret) -> StoredSecret:
        self._renewed[stored.name] = time.time()
        return self._issue(stored, authority, "renewed")

    def _issue(self, stored: StoredSecret, authority: StoredSecret, what: str) -> StoredSecret:
        signer = KeyPair(authority.text("tls.crt"), authority.text("tls.key"))
        try:
            pair = new_certificate(signer, self._plan.certificates[stored.name])
        except ValueError:
            raise _no_certificate(authority.name) from None
        data = {"tls.crt": pair.certificate, "tls.key": pair.key, "ca.crt": _trusted(authority)}
        return self._patch(stored, data, what)

    def _see_trusted(self, authority: StoredSecret) -> None:
        """Wait until every pod verifies the database with the new authority, too."""
        started = time.monotonic()
        end = expires_at(authority.text("tls.crt"))
        pods = self._pods.wait(
            lambda pod: pod.metrics.get("database_ca_expiry_timestamp_seconds") == end,
            lambda: [
                replace(pod, problem=pod.problem or "does not trust it")
                for pod in self._pods.look()
            ],
            "the new certificate authority",
        )
        log_step("authority seen", started, pods=pods)

    def _see_service(self, stored: StoredSecret) -> None:
        started = time.monotonic()
        served = der(stored.text("tls.crt"))
        pods = self._pods.wait(
            lambda pod: pod.certificate == served,
            self._pods.certificates,
            f"the certificate in {stored.name}",
            published=self._renewed[stored.name],
        )
        log_step("certificate seen", started, pods=pods)

    def _see_database(
        self,
        database: DatabaseAccess,
        stored: StoredSecret,
        reload: Callable[[DatabaseAccess], None] | None = None,
    ) -> None:
        """Let the database read its files again, until it serves what is in its Secret."""
        started = time.monotonic()
        expected = der(stored.text("tls.crt"))
        while True:
            try:
                if database.server().certificate() == expected:
                    break
                self._access.retry(lambda: (reload or _reload)(database), "the database")
            except OSError:
                pass  # it is away for a moment; the time is limited all the same
            if time.monotonic() - started > self._access.wait_seconds:
                raise PodsBehind(
                    f"the database does not serve the certificate in {stored.name} after "
                    f"{self._access.wait_seconds:g} s"
                )
            time.sleep(PAUSE)
        log_step("database certificate seen", started)

    def _forget_old_authority(self, stored: StoredSecret) -> None:
        """Trust the current authority alone, once whoever keeps a copy had time to follow."""
        if _trusted(stored) == stored.text("tls.crt"):
            return
        made = number(stored.notes.get("made", ""))
        if is_future(made):
            log.warning(
                "the Secret %s has a time in the future: it counts from now on", stored.name
            )
            self._access.patch(stored, {}, {"made": str(int(time.time()))})
        elif made and made + self._plan.session_lifetime <= time.time():
            self._trust(
                self._patch(stored, {"ca.crt": stored.text("tls.crt")}, "old authority dropped")
            )

    def _patch(
        self,
        stored: StoredSecret,
        data: Mapping[str, str],
        what: str,
        notes: Mapping[str, str] | None = None,
    ) -> StoredSecret:
        started = time.monotonic()
        patched = self._access.patch(stored, data, notes or {})
        log_step(f"{stored.name} {what}", started)
        return patched


def _trusted(authority: StoredSecret) -> str:
    """Return the authorities to be trusted, in PEM, the current one first."""
    return authority.text("ca.crt" if authority.has("ca.crt") else "tls.crt")


def _fits(stored: StoredSecret, names: tuple[str, ...]) -> bool:
    return is_for(_parsed(stored), names)


def _parsed(stored: StoredSecret, key: str = "tls.crt") -> str:
    """Return the certificate in a Secret, in PEM, which is known to be one.

    :raises Contradiction: it is something else.
    """
    certificate = stored.text(key)
    try:
        der(certificate)
    except ValueError:
        raise _no_certificate(stored.name) from None
    return certificate


def _no_certificate(name: str) -> Contradiction:
    return Contradiction(
        f"the Secret {name} holds something else than a certificate: empty it, and it is filled "
        "anew"
    )


def _reload(database: DatabaseAccess) -> None:
    with database.administer() as administration:
        administration.reload_configuration()


def _reload_bound(database: DatabaseAccess) -> None:
    with closing(database.server().bound().connect(database.administrator)) as connection:
        connection.execute("SELECT pg_reload_conf()")
