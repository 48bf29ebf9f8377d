"""Rotations of the database's login by the keeper, which stops where a pod is behind."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from keeper.database import administer
from keeper.fill import login_of
from keeper.folder_secrets import FolderSecrets
from keeper.keeper import Keeper
from keeper.plan import DATABASE, Service
from keeper.pods import PodsBehind
from keeper.state import IDLE, State
from secret_files import Redactor
from tests.mount import Mount

if TYPE_CHECKING:
    from tests.conftest import Database

ROLES: Final = ("flask_app_a", "flask_app_b")

#: The address of a pod that does not answer: a rotation stops when it is announced.
SILENT: Final = Service("127.0.0.1", 1)


class Rotation:
    """The keeper of a mounted Secret of its own, which begins as a copy of the database's."""

    def __init__(self, database: Database, mount: Mount) -> None:
        self.database = database
        self.mount = mount
        self._objects = FolderSecrets(mount.folder.parent)
        shutil.rmtree(mount.folder)
        for name in ("admin", mount.folder.name):
            shutil.copytree(database.root / name, mount.folder.parent / name, symlinks=True)

    def rotate(self) -> None:
        """Publish a new login; the old one is valid until `lock_out`, or the next rotation."""
        if State.of(self._objects.get("secrets")).step != IDLE:
            self.lock_out()
        with suppress(PodsBehind):
            self._keeper(SILENT).run([DATABASE])

    def lock_out(self) -> None:
        """Finish the rotation: the old role can't log in, and its sessions have ended."""
        self._keeper(None).run()

    def role(self) -> str:
        """Return the role that was published."""
        return login_of(self._objects.get("secrets")).user

    def sessions(self) -> int:
        """Count the sessions of the role that is not in use."""
        return sessions(self.database, ROLES[1 - ROLES.index(self.role())])

    def _keeper(self, service: Service | None) -> Keeper:
        return Keeper(self._objects, replace(self.database.plan, service=service), Redactor())


def sessions(database: Database, role: str) -> int:
    """Count the sessions of a role."""
    statement = f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{role}'"
    return int(str(database.execute(statement)[0][0]))


def lock_out(database: Database, role: str) -> None:
    """Take the login of a role away, and end the sessions that it still has."""
    with administer(database.server, database.administrator, 60) as administration:
        administration.lock_out(role)


def restore(database: Database) -> None:
    """Give the roles back to the Secret that the server was prepared with."""
    login = login_of(FolderSecrets(database.root).get("secrets"))
    with administer(database.server, database.administrator, 60) as administration:
        administration.let_in(login)
        administration.lock_out(administration.other(login.user))
