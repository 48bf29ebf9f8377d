"""Fills what is empty: the database's administrator, and the service's Secret."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from .access import Access, DatabaseAccess, log_step
from .database import Administration, Login, ensure_database
from .objects import StoredSecret
from .plan import DATABASE, Contradiction, Plan
from .state import ANNOUNCED, IDLE, State, note_of
from .tables import read_tables

#: What a session key and a password are made of, before they are written in base64.
KEY_BYTES: Final = 48
PASSWORD_BYTES: Final = 32


def new_key() -> str:
    """Return a new session key."""
    return secrets.token_urlsafe(KEY_BYTES)


def new_password() -> str:
    """Return a new password."""
    return secrets.token_urlsafe(PASSWORD_BYTES)


def login_of(stored: StoredSecret) -> Login:
    """Return the pair that the service's Secret holds."""
    return Login(stored.text("DATABASE_USERNAME"), stored.data["DATABASE_PASSWORD"])


def fill_administrator(access: Access, plan: Plan) -> Login:
    """Make the database's administrator, where it is missing, and return it.

    :raises Contradiction: it is missing, and somebody else's to make.
    """
    stored = access.get(plan.administrator_secret)
    if not stored.has("username", "password"):
        if not plan.administrator:
            raise Contradiction(
                f"the Secret {stored.name} has no username and password: "
                "write the database administrator's there"
            )
        started = time.monotonic()
        data = {"username": plan.administrator, "password": new_password()}
        stored = access.patch(stored, data)
        log_step(f"{stored.name} filled", started)
    return Login(stored.text("username"), stored.data["password"])


def prepare_database(access: Access, plan: Plan, database: DatabaseAccess) -> None:
    """Make the database, its tables and the group that may use them, where they are missing.

    :raises TablesUnreadable: a file with tables can't be read.
    :raises psycopg.Error: the database can't be reached, or refuses.
    """
    tables = read_tables(plan.tables_dir)

    def prepare() -> None:
        started = time.monotonic()
        ensure_database(database.server(), database.administrator)
        with database.administer() as administration:
            administration.prepare_group(tables)
        log_step("database prepared", started)

    access.retry(prepare, "the database")


class ServiceFiller:
    """Makes the roles and the tables, and then the service's Secret, where it is empty."""

    def __init__(self, access: Access, plan: Plan, database: DatabaseAccess) -> None:
        self._access = access
        self._plan = plan
        self._database = database

    def fill(self) -> bool:
        """Fill what is missing; tell whether the database accepts the pair in the Secret.

        :raises Contradiction: the Secret and the database contradict each other.
        :raises TablesUnreadable: a file with tables can't be read.
        :raises psycopg.Error: the database can't be reached, or refuses.
        """
        tables = read_tables(self._plan.tables_dir)
        return self._access.retry(lambda: self._fill(tables), "the database")

    def _fill(self, tables: Mapping[Path, bytes]) -> bool:
        started = time.monotonic()
        ensure_database(self._database.server(), self._database.administrator)
        with self._database.administer() as administration:
            administration.prepare(tables)
            log_step("database prepared", started)
            # read it now: another keeper may have filled it while this one waited
            stored = self._access.get(self._plan.service_secret)
            is_accepted = True
            if stored.has("DATABASE_USERNAME", "DATABASE_PASSWORD"):
                is_accepted = self._admit(administration, stored)
            values = self._missing_values(administration, stored)
            if values:
                stored = self._write(stored, values)
            if is_accepted:
                self._doubt(administration, stored)
            return is_accepted

    def _write(self, stored: StoredSecret, values: dict[str, str]) -> StoredSecret:
        started = time.monotonic()
        now = str(int(time.time()))
        notes = {}
        if "SECRET_KEY" in values:
            notes["session-made"] = now
        new = (key for key in self._plan.own_keys if key in values or self._is_unknown(stored, key))
        notes |= {note_of(key): "" for key in new}
        if "DATABASE_PASSWORD" in values:
            notes |= {"database-made": now, "role": values["DATABASE_USERNAME"]}
        stored = self._access.patch(stored, values, notes)
        log_step(f"{stored.name} filled", started)
        role = values.get("DATABASE_USERNAME", "")
        changed = values.keys() - {"GENERATION"}
        self._database.tell("filled", State.of(stored).generation, changed, role)
        return stored

    def _missing_values(
        self, administration: Administration, stored: StoredSecret
    ) -> dict[str, str]:
        keys = ("SECRET_KEY", *self._plan.own_keys)
        values = {key: new_key() for key in keys if not stored.has(key)}
        if not stored.has("DATABASE_USERNAME", "DATABASE_PASSWORD"):
            # not one that pods may still be at work with, if somebody emptied the Secret
            unused = [role for role in administration.logins if not administration.sessions(role)]
            login = Login(
                (unused or administration.logins)[0],
                self._access.new_secret("DATABASE_PASSWORD", new_password()),
            )
            let_in(administration, login)
            values["DATABASE_USERNAME"] = login.user
            values["DATABASE_PASSWORD"] = login.password.reveal()
        if "SECRET_KEY_FALLBACKS" not in stored.data:
            values["SECRET_KEY_FALLBACKS"] = ""
        state = State.of(stored)
        is_unknown = any(self._is_unknown(stored, key) for key in self._plan.own_keys)
        if values or is_unknown or not state.generation:  # none, or one that no pod takes
            values["GENERATION"] = str(state.next_generation())
        return values

    @staticmethod
    def _is_unknown(stored: StoredSecret, key: str) -> bool:
        """Tell whether one of the service's own keys has no note: somebody else wrote it."""
        return note_of(key) not in stored.notes

    def _admit(self, administration: Administration, stored: StoredSecret) -> bool:
        """See that the database lets in whom the Secret names, as after a restored volume."""
        login = login_of(stored)
        if login.user not in administration.logins:
            raise Contradiction(
                f"DATABASE_USERNAME in the Secret {stored.name} is none of the two roles "
                f"{' and '.join(administration.logins)}: empty the Secret, and it is filled anew"
            )
        if administration.accepts(login):
            return True
        if administration.may_log_in(login.user):
            return False  # it has another password, with which pods may be at work
        let_in(administration, login)
        return True

    def _doubt(self, administration: Administration, stored: StoredSecret) -> None:
        """Announce the pair anew, if the other role may log in, too, and no rotation says why.

        A keeper that was killed may have prepared it, and then nobody uses it; or somebody wrote
        another pair into the Secret, and pods are at work with the one before. The rotation that
        this begins locks it when every pod is seen on the pair that is stored.
        """
        state, role = State.of(stored), login_of(stored).user
        if state.step == IDLE and administration.may_log_in(administration.other(role)):
            started = time.monotonic()
            state = replace(
                state.published(), step=ANNOUNCED, parts=frozenset({DATABASE}), role=role
            )
            self._access.patch(stored, state.values(), state.notes())
            log_step("announced again", started, role=role, generation=state.generation)


def let_in(administration: Administration, login: Login) -> None:
    """Let a role log in, and see that it is let in.

    :raises Contradiction: it is not.
    :raises psycopg.Error: the database went away.
    """
    administration.let_in(login)
    if not administration.accepts(login):
        raise Contradiction(
            f"the database refuses {login.user} right after its password was set: see its "
            "pg_hba.conf"
        )
