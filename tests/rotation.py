"""What a rotation does to the database's two roles and to the mounted pair."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING

from app.secret_keys import KEYS
from secret_files import Folder
from tests.mount import Mount

if TYPE_CHECKING:
    from tests.conftest import Database

ROLES = ("flask_app_a", "flask_app_b")


class Rotation:
    """What the keeper does: a new password for the idle role, publish, lock the old one."""

    def __init__(self, database: Database, mount: Mount) -> None:
        self.database = database
        self.mount = mount
        self.turn = 0
        self.publish(self.let_in())

    def let_in(self) -> dict[str, str]:
        """Let the idle role log in with a new password, and return the pair."""
        self.turn += 1
        role, password = ROLES[self.turn % 2], secrets.token_urlsafe(24)
        self.database.execute(f"ALTER ROLE {role} LOGIN PASSWORD '{password}'")
        return {"DATABASE_USERNAME": role, "DATABASE_PASSWORD": password}

    def publish(self, pair: Mapping[str, str]) -> None:
        self.mount.write({**pair, "GENERATION": str(1_700_000_000 + self.turn)})

    def sessions(self) -> int:
        """Count the sessions of the role that is not in use."""
        statement = f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{self._idle()}'"
        return int(str(self.database.execute(statement)[0][0]))

    def lock_out(self) -> None:
        """Take the login of the old role away, and end the sessions that it still has."""
        role = self._idle()
        self.database.execute(f"ALTER ROLE {role} NOLOGIN PASSWORD NULL")
        self.database.execute(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'"
        )

    def rotate(self) -> None:
        """Publish a new pair; the old one still works."""
        self.publish(self.let_in())

    def role(self) -> str:
        """Return the role that was published."""
        return ROLES[self.turn % 2]

    def _idle(self) -> str:
        return ROLES[(self.turn + 1) % 2]


def restore(database: Database) -> None:
    """Give the roles back to the Secret that the server was prepared with."""
    login = Folder(database.root / "secrets", KEYS).read()
    password = login["DATABASE_PASSWORD"].reveal()
    database.execute("ALTER ROLE flask_app_b NOLOGIN PASSWORD NULL")
    database.execute(f"ALTER ROLE flask_app_a LOGIN PASSWORD '{password}'")
