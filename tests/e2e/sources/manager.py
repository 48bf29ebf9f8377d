"""A secret manager: logins of its own, session keys, and the objects that sources ask for."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from secret_files import Secret
from tests.mount import OWN
from tools.cluster.client import Cluster

#: The objects, and the keys in each.
OBJECTS: Mapping[str, tuple[str, ...]] = {
    "shop/session": ("SECRET_KEY", "SECRET_KEY_FALLBACKS", *OWN),
    "shop/database": ("DATABASE_USERNAME", "DATABASE_PASSWORD"),
}


@dataclass
class Manager:
    """Makes the values, and knows the current ones.

    It has a user name for each login, as Vault's database engine does: an old one goes on until it
    is locked.
    """

    cluster: Cluster
    values: dict[str, str] = field(default_factory=dict, repr=False)
    _logins: list[dict[str, str]] = field(default_factory=list, repr=False)

    def prepare(self, logins: int) -> None:
        """Make so many logins; each is a member of the group that has the privileges."""
        for number in range(logins):
            login = {
                "DATABASE_USERNAME": f"manager_{number:02d}",
                "DATABASE_PASSWORD": secrets.token_urlsafe(24),
            }
            self.cluster.sql(
                f"CREATE ROLE {login['DATABASE_USERNAME']} "
                "LOGIN IN ROLE flask_app_service "
                f"PASSWORD '{login['DATABASE_PASSWORD']}'"
            )
            self._logins.append(login)
        for name in ("SECRET_KEY", *OWN):
            self.values[name] = secrets.token_urlsafe(32)
        self.values["SECRET_KEY_FALLBACKS"] = ""
        self.next_login()

    def next_login(self) -> str:
        """Take the next login, and return the role of the one before."""
        before = self.values.get("DATABASE_USERNAME", "")
        self.values |= self._logins.pop(0)
        return before

    def announce(self) -> None:
        """Make a session key that verifies, and does not sign yet."""
        self.values["SECRET_KEY_FALLBACKS"] = secrets.token_urlsafe(32)

    def promote(self) -> None:
        """Sign with the key that was announced; the one before verifies."""
        old, new = self.values["SECRET_KEY"], self.values["SECRET_KEY_FALLBACKS"]
        self.values |= {"SECRET_KEY": new, "SECRET_KEY_FALLBACKS": old}

    def lock(self, role: str) -> None:
        """Take a login away, as at the end of a lease."""
        self.cluster.sql(f"ALTER ROLE {role} NOLOGIN PASSWORD NULL")

    def sessions(self, role: str) -> int:
        """Count a role's sessions."""
        return int(
            self.cluster.sql(f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{role}'")
        )

    def objects(self, without: str = "") -> dict[str, dict[str, str]]:
        """Return its objects.

        :param without: a key that is missing.
        """
        return {
            name: {key: self.values[key] for key in keys if key != without}
            for name, keys in OBJECTS.items()
        }

    def needles(self) -> list[Secret]:
        """Return what nobody may see."""
        names = ("SECRET_KEY", "SECRET_KEY_FALLBACKS", "DATABASE_PASSWORD", *OWN)
        return [Secret(f"manager/{name}", self.values[name]) for name in names if self.values[name]]
