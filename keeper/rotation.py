"""The rotation of the session key and of the database's password, step by step.

docs/rotation.md explains the steps. Each begins with what the Secret says and ends
with a patch of it, so that a keeper which is killed loses nothing: the next one goes on.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from .access import Access, DatabaseAccess, log_step
from .database import Administration, Login
from .fill import let_in, login_of, new_key, new_password
from .objects import StoredSecret
from .plan import DATABASE, SESSION, Plan
from .pods import Pods, PodsBehind
from .ring import is_future
from .state import ANNOUNCED, IDLE, PROMOTED, SESSION_KEY, State, note_of, times_ahead

log = logging.getLogger("keeper")

#: How long sessions of the old role may go on after every pod is on the new one, in seconds:
#: longer than the service gives a statement. What is left then is ended.
GRACE_SECONDS: Final = 30.0
#: What is announced of the database.
LOGIN: Final = ("DATABASE_USERNAME", "DATABASE_PASSWORD")

#: Between two looks at the sessions, in seconds.
PAUSE: Final = 0.5


class Rotation:
    """Rotates what the service's Secret holds, without a moment in which a pod is refused."""

    def __init__(self, access: Access, plan: Plan, database: DatabaseAccess, pods: Pods) -> None:
        self._access = access
        self._plan = plan
        self._database = database
        self._pods = pods

    def run(self, asked_for: Iterable[str], is_accepted: bool) -> None:
        """Finish what was interrupted; then rotate what is asked for, or too old.

        :param is_accepted: False: the database refuses the pair in the Secret, whatever wrote it.
        :raises PodsBehind: a pod does not take what was published; both logins stay valid.
        :raises Conflict: somebody else changed the Secret.
        """
        if ahead := times_ahead(self._access.get(self._plan.service_secret)):
            log.warning(
                "the Secret %s has times in the future, from a clock that was wrong: %s. "
                "They count for nothing, and what they date is rotated",
                *(self._plan.service_secret, ", ".join(ahead)),
            )
        if not is_accepted:
            log.warning("the database refuses the password in the Secret: a new one is made")
            self._announce({DATABASE})
        self._finish()
        parts = {part for part in asked_for if part in (SESSION, DATABASE)} | self._due()
        if parts:
            self._announce(parts)
            self._finish()

    def retire(self) -> None:
        """Drop each old session key whose time is over: no valid cookie was signed with it.

        :raises Conflict: somebody else changed the Secret.
        """
        started = time.monotonic()
        stored = self._access.get(self._plan.service_secret)
        state = State.of(stored)
        oldest = time.time() - self._plan.session_lifetime
        if state.step != IDLE:
            return
        kept = state.turned(lambda ring: ring.without(oldest))
        if kept != state:
            state = kept.published()
            self._access.patch(stored, state.values(), state.notes())
            log_step("retired", started, generation=state.generation)
            self._database.tell("retired", state.generation, state.changing)
        elif any(
            stored.notes.get(note_of(name), "") != ring.note for name, ring in state.rings.items()
        ):
            # written by hand, or by a clock that was wrong: their time begins now
            self._access.patch(stored, {}, state.notes())

    def _due(self) -> set[str]:
        state = State.of(self._access.get(self._plan.service_secret))
        if is_future(state.generation):
            return set(state.made)
        oldest = time.time() - self._plan.interval
        return {part for part, when in state.made.items() if when <= oldest or is_future(when)}

    def _announce(self, parts: set[str]) -> None:
        self._access.retry(lambda: self._prepare_and_announce(parts), "the database")

    def _prepare_and_announce(self, parts: set[str]) -> None:
        started = time.monotonic()
        with self._database.administer() as administration:
            stored = self._access.get(self._plan.service_secret)
            state = State.of(stored)
            is_refused = DATABASE in parts and not administration.accepts(login_of(stored))
            if state.step != IDLE and not is_refused:
                return  # by an earlier try of this one, or by another keeper
            if state.step == ANNOUNCED:
                parts = parts | state.parts
            pair = {}
            if DATABASE in parts:
                pair = self._prepare(administration, stored, state)
                role = pair["DATABASE_USERNAME"]
                log_step("prepared", started, role=role, generation=state.generation)
                started = time.monotonic()
                made = {**state.made, DATABASE: int(time.time())}
                state = replace(state, made=made, role=role)
            if SESSION in parts:
                state = self._with_new_keys(state)
            # what was promoted stays so: the time of the old key begins when all is done
            step = PROMOTED if state.step == PROMOTED and SESSION not in parts else ANNOUNCED
            state = replace(state.published(), step=step, parts=frozenset(parts))
            self._access.patch(stored, {**pair, **state.values()}, state.notes())
            log_step("announced", started, generation=state.generation)

    def _with_new_keys(self, state: State) -> State:
        """Announce a new session key, and a new value of each of the service's own keys."""
        rings = {
            name: ring.announced(self._access.new_secret(name, new_key()))
            for name, ring in state.rings.items()
        }
        return replace(state, rings=rings)

    def _prepare(
        self, administration: Administration, stored: StoredSecret, state: State
    ) -> dict[str, str]:
        """Give the role that nobody uses a new password, and log in with it."""
        role = administration.other(login_of(stored).user)
        if state.step != IDLE and administration.sessions(role):
            role = login_of(stored).user  # pods are still on the old one
        password = self._access.new_secret("DATABASE_PASSWORD", new_password())
        let_in(administration, Login(role, password))
        return {"DATABASE_USERNAME": role, "DATABASE_PASSWORD": password.reveal()}

    def _finish(self) -> None:
        """Go through the steps that are left, each after every pod is seen on the one before."""
        while True:
            stored = self._access.get(self._plan.service_secret)
            state = State.of(stored)
            if state.step == IDLE:
                return
            if state.role != login_of(stored).user or state.lacks_a_key:
                self._announce_again(stored, state)
                continue
            self._tell(state)  # here, so that what a killed keeper published is told, too
            started = time.monotonic()
            pods = self._see(stored, state.generation)
            log_step("seen", started, generation=state.generation, pods=pods)
            if state.step == ANNOUNCED and SESSION in state.parts:
                self._promote(stored, state)
            else:
                self._access.retry(
                    lambda stored=stored: self._revoke(stored),  # type: ignore[misc]
                    "the database",
                )

    def _announce_again(self, stored: StoredSecret, state: State) -> None:
        """Publish what somebody wrote into a rotation that is under way, with a number of its own.

        Under the old number pods would seem to have it already.
        """
        started = time.monotonic()
        role = login_of(stored).user
        if state.lacks_a_key:
            state = self._with_new_keys(state)
        state = replace(state.published(), role=role)
        self._access.patch(stored, state.values(), state.notes())
        log_step("announced again", started, role=role, generation=state.generation)

    def _see(self, stored: StoredSecret, generation: int) -> int:
        """Wait until every pod has what is stored, unless somebody else stores something newer."""
        try:
            return self._pods.wait_for_generation(
                generation, lambda: self._access.unchanged(stored)
            )
        except PodsBehind as problem:
            self._database.tell("stopped", generation, detail=str(problem))
            raise

    def _tell(self, state: State) -> None:
        """Tell what was published."""
        if state.step == PROMOTED:
            self._database.tell(state.step, state.generation, [SESSION_KEY, *state.changing])
            return
        changed = state.changing if SESSION in state.parts else []
        changed += LOGIN if DATABASE in state.parts else []
        role = state.role if DATABASE in state.parts else ""
        self._database.tell(state.step, state.generation, changed, role)

    def _promote(self, stored: StoredSecret, state: State) -> None:
        """Sign with the new key; the old one verifies."""
        started = time.monotonic()
        stored = self._access.unchanged(stored)
        now = int(time.time())
        state = replace(
            state.published().turned(lambda ring: ring.promoted(now)),
            step=PROMOTED,
            made={**state.made, SESSION: now},
        )
        self._access.patch(stored, state.values(), state.notes())
        log_step("promoted", started, generation=state.generation)

    def _revoke(self, stored: StoredSecret) -> None:
        """Take the old role's login away, see it refused, and write down that all is done."""
        started = time.monotonic()
        if DATABASE not in State.of(stored).parts:
            self._close(self._access.unchanged(stored))
            return
        with self._database.administer() as administration:
            # read while no other keeper changes roles: the one to lock is the one not in here
            stored = self._access.unchanged(stored)
            role = administration.other(login_of(stored).user)
            while administration.sessions(role) and time.monotonic() - started < GRACE_SECONDS:
                time.sleep(PAUSE)
            stored = self._access.unchanged(stored)  # somebody may have named that role meanwhile
            for session in administration.lock_out(role):
                log.warning("ended a session of %s that was left: %s", role, session)
            generation = State.of(stored).generation
            log_step("revoked", started, role=role, generation=generation)
            self._database.tell("revoked", generation, role=role)
            self._close(stored)

    def _close(self, stored: StoredSecret) -> None:
        started = time.monotonic()
        state = State.of(stored)
        if state.step == PROMOTED:
            # the last pod signed with it until now: its time begins here
            now = int(time.time())
            state = state.turned(lambda ring: ring.restarted(now))
        state = replace(state, step=IDLE, parts=frozenset())
        self._database.tell("rotated", state.generation)  # before: the next run has no reason to
        self._access.patch(stored, {}, state.notes())
        log_step("rotated", started, generation=state.generation)
