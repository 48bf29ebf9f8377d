"""The keeper: does whatever is due, and can be killed at any point and run again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

import psycopg

from secret_files import Redactor

from .access import Access, DatabaseAccess
from .database import Login, StillLetIn
from .fill import ServiceFiller, fill_administrator, prepare_database
from .objects import Conflict, SecretObjects, Unavailable
from .plan import CERTIFICATES, Contradiction, Plan
from .pods import Pods, PodsBehind
from .renewal import Certificates
from .retirement import Retirement
from .rotation import Rotation
from .tables import TablesUnreadable

log = logging.getLogger("keeper")

#: What can go wrong with one part of the work. None of it may hold up the other parts.
PROBLEMS = (
    Conflict,
    Contradiction,
    PodsBehind,
    StillLetIn,
    TablesUnreadable,
    Unavailable,
    psycopg.Error,
)


class Keeper:
    """Fills, rotates and retires the secrets of one release, or what of them is not another's."""

    def __init__(self, objects: SecretObjects, plan: Plan, redactor: Redactor) -> None:
        self._plan = plan
        self._access = Access(objects, redactor, plan.wait_seconds)
        self._pods = Pods(plan.service, plan.wait_seconds)
        self._certificates = Certificates(self._access, plan, self._pods)

    def run(self, asked_for: Iterable[str] = (), new_authority: bool = False) -> None:
        """Fill what is empty, finish what was interrupted, and do what is due or asked for.

        :param asked_for: some of `PARTS`, which are rotated whatever their age.
        :param new_authority: also make a new certificate authority.
        :raises Conflict: another keeper was quicker.
        :raises Unavailable: a Secret could not be read or written.
        :raises psycopg.Error: the database could not be reached, or refused.
        :raises Contradiction: a Secret and the database contradict each other.
        :raises PodsBehind: a pod does not take what was published.
        :raises StillLetIn: the database did not lock a role.
        :raises TablesUnreadable: a file with the service's tables can't be read.
        """
        if self._plan.authority_secret:
            self._certificates.fill()
        database = None
        if self._plan.administrator_secret:
            database = DatabaseAccess(self._access, self._plan, self.fill_administrator())
        if database and self._plan.database_certificate:
            self._certificates.mend(database)
        work = self._work_on_logins(database, asked_for) if database else []
        if self._plan.authority_secret:
            asked = CERTIFICATES in asked_for
            # around the others, so that the kubelet brings all of it at once
            work.insert(0, lambda: self._certificates.renew(asked, new_authority))
            work.append(lambda: self._certificates.finish(database))
        _do_all(work)

    def _work_on_logins(
        self, database: DatabaseAccess, asked_for: Iterable[str]
    ) -> list[Callable[[], None]]:
        """Return what there is to do about the service's Secret and the database's roles."""
        if not self._plan.service_secret:
            return [lambda: self._leave_to_others(database)]
        is_accepted = ServiceFiller(self._access, self._plan, database).fill()
        rotation = Rotation(self._access, self._plan, database, self._pods)
        return [lambda: rotation.run(asked_for, is_accepted), rotation.retire]

    def _leave_to_others(self, database: DatabaseAccess) -> None:
        """Prepare the database for roles of somebody else's, and retire those of the keeper's."""
        prepare_database(self._access, self._plan, database)
        Retirement(self._access, database, self._pods).run()

    def fill_administrator(self) -> Login:
        """Make the database's administrator, where it is missing, and return it.

        :raises Contradiction: it is missing, and somebody else's to make.
        """
        return fill_administrator(self._access, self._plan)


def _do_all(work: Iterable[Callable[[], None]]) -> None:
    """Do each piece of work, whatever becomes of the others; then raise the first problem.

    :raises Conflict: at once. Another keeper is at work, and two would be in each other's way.
    """
    first: Exception | None = None
    for piece in work:
        try:
            piece()
        except Conflict:
            raise
        except PROBLEMS as problem:
            if first:
                log.error("%s", problem)
            first = first or problem
    if first:
        raise first
