"""The retirement of the two roles that the keeper made, when the secrets became somebody else's.

Nobody tells the keeper when the last pod left them. It looks, and what is in use stays.
"""

from __future__ import annotations

import logging
import time

from .access import Access, DatabaseAccess, log_step
from .database import Administration
from .pods import Pods

log = logging.getLogger("keeper")


class Retirement:
    """Takes the login away from each role of the keeper's that nobody uses any more."""

    def __init__(self, access: Access, database: DatabaseAccess, pods: Pods) -> None:
        self._access = access
        self._database = database
        self._pods = pods

    def run(self) -> None:
        """Lock what is not in use; the rest is left to a later run.

        :raises StillLetIn: the database did not lock a role.
        :raises psycopg.Error: it could not be reached, or refused.
        """
        self._access.retry(self._run, "the database")

    def _run(self) -> None:
        with self._database.administer() as administration:
            roles = [role for role in administration.logins if administration.may_log_in(role)]
        roles = self._without_pods(roles)
        if not roles:
            return
        # a pod that started before the first look, and that DNS did not show yet
        time.sleep(self._pods.settle_seconds)
        with self._database.administer() as administration:
            for role in self._without_pods(roles):
                self._lock(administration, role)

    def _without_pods(self, roles: list[str]) -> list[str]:
        """Return those of the roles that no pod uses; none, where that can't be seen."""
        if not roles:
            return []
        try:
            pods = self._pods.look()
        except OSError as error:
            log.info("the old roles are kept: the pods can't be looked up: %s", error.strerror)
            return []
        silent = [pod for pod in pods if not pod.role]
        if silent or not pods:
            why = f"{silent[0].name} does not tell its role" if silent else "there is no pod"
            log.info("the old roles are kept: %s", why)
            return []
        used = {pod.role: pod.name for pod in pods}
        for role in roles:
            if role in used:
                log.info("%s is kept: %s uses it", role, used[role])
        return [role for role in roles if role not in used]

    def _lock(self, administration: Administration, role: str) -> None:
        started = time.monotonic()
        if sessions := administration.sessions(role):
            log.info("%s is kept: it has a session: %s", role, sessions[0])
            return
        for session in administration.lock_out(role):
            log.warning("ended a session of %s that came meanwhile: %s", role, session)
        log_step("revoked", started, role=role)
        self._database.tell("revoked", None, role=role)
