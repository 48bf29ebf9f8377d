"""How the keeper gets at its Secrets: with patience, and with every value known to the log."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, closing
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeVar

import psycopg

from secret_files import Redactor, Secret

from .database import Administration, Login, Server, administer
from .objects import NO_NOTES, Conflict, SecretObjects, StoredSecret, Unavailable
from .plan import Plan

log = logging.getLogger("keeper")

Result = TypeVar("Result")

#: What the service's page shows of the keeper's work, each step once, with the database's time
#: of when it was done, and not of when the database could be reached.
TELL: Final = """
    INSERT INTO public.secret_events (happened_at, origin, event, generation, role, changed, detail)
    SELECT clock_timestamp() - make_interval(secs => %s), 'keeper', new.*
    FROM (VALUES (%s, %s::bigint, %s, %s::text[], %s))
        AS new (event, generation, role, changed, detail)
    WHERE NOT EXISTS (
        SELECT FROM public.secret_events AS told
        WHERE told.origin = 'keeper' AND told.event = new.event AND told.role = new.role
            AND told.generation IS NOT DISTINCT FROM new.generation
    )
"""

#: Between two tries, in seconds: the network rules of a new pod take a few to arrive.
PAUSE: Final = 2.0


class Access:
    """The Secrets, for one who waits while they can't be reached.

    :param wait_seconds: how long to try again what may work in a moment.
    """

    def __init__(self, objects: SecretObjects, redactor: Redactor, wait_seconds: float) -> None:
        self._objects = objects
        self._redactor = redactor
        self.wait_seconds = wait_seconds

    def get(self, name: str) -> StoredSecret:
        """Return the Secret as it is now.

        :raises Unavailable: it can't be read.
        """
        stored = self.retry(lambda: self._objects.get(name), "the API server")
        self._redactor.learn(stored.confidential())
        return stored

    def patch(
        self, stored: StoredSecret, data: Mapping[str, str], notes: Mapping[str, str] = NO_NOTES
    ) -> StoredSecret:
        """Set keys and notes at once, if the Secret still has the version of `stored`.

        :raises Conflict: it has another one, which is not this very patch.
        :raises Unavailable: it can't be written.
        """
        coming = StoredSecret(
            stored.name, "", {key: Secret(key, text) for key, text in data.items()}
        )
        self._redactor.learn(coming.confidential())
        is_again = False

        def attempt() -> StoredSecret:
            nonlocal is_again
            try:
                return self._objects.patch(stored, data, notes)
            except Conflict:
                found = self._objects.get(stored.name)
                # the try before may have come through, and only its answer have been lost
                if is_again and found.holds(data, notes):
                    return found
                raise
            finally:
                is_again = True

        patched = self.retry(attempt, "the API server")
        self._redactor.learn(patched.confidential())
        return patched

    def unchanged(self, stored: StoredSecret) -> StoredSecret:
        """Return the Secret as it is now, if its values and notes are those of `stored`.

        Its version may be another: Helm changes labels.

        :raises Conflict: somebody else changed it.
        """
        found = self.get(stored.name)
        if found.data != stored.data or found.notes != stored.notes:
            raise Conflict(f"the Secret {stored.name} was changed by somebody else")
        return found

    def new_secret(self, key: str, text: str) -> Secret:
        """Return a value that was just made, once the log knows it."""
        secret = Secret(key, text)
        self._redactor.learn([secret])
        return secret

    def retry(self, attempt: Callable[[], Result], what: str) -> Result:
        """Try until it works or the time is over; only what may pass is tried again."""
        started = time.monotonic()
        said = False
        while True:
            try:
                return attempt()
            except (Unavailable, psycopg.OperationalError) as error:
                transient = not isinstance(error, Unavailable) or error.transient
                if not transient or time.monotonic() - started > self.wait_seconds:
                    raise
                if not said:
                    log.info("waiting for %s: %s", what, error)
                    said = True
            time.sleep(PAUSE)


class DatabaseAccess:
    """The way to the database, which is verified with the authority of this moment."""

    def __init__(self, access: Access, plan: Plan, administrator: Login) -> None:
        self._access = access
        self._plan = plan
        self.administrator = administrator

    def server(self) -> Server:
        """Return the server, with the file that its certificate is verified with.

        :raises Unavailable: the Secret with the authority can't be read.
        """
        if not self._plan.database_certificate:
            return self._plan.server
        trusted = self._access.get(self._plan.database_certificate).text("ca.crt")
        # libpq wants a file; what is in it is public
        file = Path(tempfile.gettempdir()) / "database-ca.crt"
        file.write_text(trusted)
        return replace(self._plan.server, sslrootcert=str(file))

    def administer(self) -> AbstractContextManager[Administration]:
        """Administer the database, while no other keeper does; see `administer`."""
        return administer(self.server(), self.administrator, self._access.wait_seconds)

    def tell(
        self,
        event: str,
        generation: int | None,
        changed: Iterable[str] = (),
        role: str = "",
        detail: str = "",
    ) -> None:
        """Tell those who watch the service's page what was done; no step depends on it.

        What was told already is not told again.

        :param changed: the keys of the service's Secret that have other values now.
        :param detail: what is in the way, where something is.
        """
        done = time.monotonic()
        try:
            with closing(self.server().connect(self.administrator)) as connection:
                age = time.monotonic() - done
                connection.execute(TELL, [age, event, generation, role, sorted(changed), detail])
        except (Unavailable, psycopg.Error) as error:
            log.info("the page does not hear that this was done: %s: %s", event, error)


def log_step(step: str, started: float, **details: object) -> None:
    """Log that a step is done, and how many seconds it took since `started` (monotonic)."""
    seconds = round(time.monotonic() - started, 3)
    log.info(step, extra={"step": step, "seconds": seconds, **details})
