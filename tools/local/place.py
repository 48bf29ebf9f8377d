"""Where `make run` keeps its things, and where what it serves is found."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

import yaml

from app.settings import Settings
from keeper.database import Server, check_name
from keeper.plan import Plan, Service
from tools.problem import Problem

from .postgres import Postgres

FOLDER = Path(".local")
_RUNNING = FOLDER / "running.json"

_ROOT = Path(__file__).parents[2]
_VALUES = _ROOT / "chart" / "values.yaml"
#: The service's tables, which the keeper makes.
TABLES = _ROOT / "app" / "tables"
# in C: in Python it is a tenth of each start
_OWN = yaml.load(_VALUES.read_text("utf-8"), yaml.CSafeLoader)["secrets"]["own"]

#: The service's own keys, as in the cluster: those that the keeper makes, and the others.
OWN_KEYS: Final = tuple(_OWN["made"])
GIVEN_KEYS: Final = tuple(_OWN["given"])


@dataclass(frozen=True)
class Running:
    """What somebody else has to know of a `make run` that is at work."""

    #: The folder of PostgreSQL's socket.
    database_host: str
    host: str
    metrics_port: int

    @classmethod
    def read(cls) -> Running:
        """Read what the last `make run` of this folder wrote.

        :raises OSError: there was none.
        """
        return cls(**json.loads(_RUNNING.read_text()))

    @staticmethod
    def is_known() -> bool:
        """Tell whether it was written, as it is once the database answers."""
        return _RUNNING.exists()

    @staticmethod
    def forget() -> None:
        """Remove what the last one wrote: its database is gone."""
        _RUNNING.unlink(missing_ok=True)

    def write(self) -> None:
        """Write it for others to read."""
        _RUNNING.write_text(json.dumps(asdict(self)))


def plan(
    settings: Settings, database_host: str, service: Service | None = None, wait_seconds: float = 0
) -> Plan:
    """Return what the keeper keeps in `.local`: as in the cluster, but for certificates.

    :raises Problem: the database's name is too long.
    """
    try:
        check_name(settings.database_name)
    except ValueError as error:
        raise Problem(f"DATABASE_NAME {error}") from None
    server = Server(database_host, Postgres.port, settings.database_name, sslmode="disable")
    return replace(
        plan_for(server, "database-admin"),
        service=service,
        wait_seconds=wait_seconds,
        session_lifetime=settings.session_lifetime_seconds,
    )


def plan_for(server: Server, administrator_secret: str = "admin") -> Plan:  # noqa: S107 - a folder's name
    """Return what the keeper keeps in a folder: as in the cluster, but for certificates.

    :param server: the database.
    :param administrator_secret: the folder of its administrator's login.
    """
    return Plan(
        service_secret="secrets",  # noqa: S106 - another one
        administrator_secret=administrator_secret,
        administrator="postgres",
        authority_secret="",
        certificates={},
        database_certificate="",
        server=server,
        service=None,
        wait_seconds=0,
        own_keys=OWN_KEYS,
        tables_dir=TABLES,
    )
