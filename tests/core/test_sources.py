"""The contract of each source: files as it writes them, and a service that is asked all the time.

On kind, tests/e2e/test_sources.py does the same with the real kubelet.
"""

from __future__ import annotations

import os
import secrets
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.settings import Settings
from secret_files import SecretError
from tests.conftest import Database
from tests.load import Load
from tests.mount import OWN, Mount
from tests.rotation import ROLES, lock_out, restore, sessions

ROTATIONS = 2
THREADS = 2

Values = Mapping[str, str]


class Source(ABC):
    """One who writes the service's files.

    :param folder: where they are mounted.
    """

    #: Why the service refuses what is left without a password; "": it does not see that.
    refused = ""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir()

    @abstractmethod
    def write(self, values: Values) -> None:
        """Write what is there; a password that is missing is missing in the manager."""


class Kubelet(Source):
    """A Secret, whoever fills it: somebody, the keeper or External Secrets."""

    refused = "is missing"

    def write(self, values: Values) -> None:
        Mount(self.folder).replace(values)


class Agent(Source):
    """Vault's: one file after the other, by rename; what is missing is empty."""

    refused = "is empty"

    def write(self, values: Values) -> None:
        for name, value in {"DATABASE_PASSWORD": "", **values}.items():
            rename_into(self.folder / name, value)
            time.sleep(0.02)


class Driver(Source):
    """The CSI driver: a folder that every user may enter, with files of root's group.

    It writes as the kubelet does. Where its provider fails, it leaves what is there.
    """

    def write(self, values: Values) -> None:
        if "DATABASE_PASSWORD" in values or not any(self.folder.iterdir()):
            Mount(self.folder).replace(values)
            for file in (self.folder / "..data").iterdir():
                file.chmod(0o440)
            (self.folder / "..data").resolve().chmod(0o755)


class Provider(Source):
    """AWS's provider where it writes by itself: by rename, and each object as a whole, too."""

    def write(self, values: Values) -> None:
        if "DATABASE_PASSWORD" in values or not any(self.folder.iterdir()):
            for name, value in {**values, "database.json": str(dict(values))}.items():
                rename_into(self.folder / name, value)


def rename_into(path: Path, value: str) -> None:
    """Write a file beside its place, and put it there."""
    handle, temporary = tempfile.mkstemp(prefix=path.name, dir=path.parent)
    with os.fdopen(handle, "w") as file:
        os.fchmod(handle, 0o440)
        file.write(value)
    Path(temporary).rename(path)


@pytest.fixture(params=[Kubelet, Agent, Driver, Provider])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Source:
    """Return each source in turn; it has written nothing yet."""
    found: Source = request.param(tmp_path / "mounted")
    return found


class Manager:
    """Who has the values, and gives the one of two roles that is idle a new password each time."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._turn = 0
        self.key = secrets.token_urlsafe(32)

    def next(self) -> dict[str, str]:
        """Return values with another login, which the database accepts already."""
        self._turn += 1
        role, password = ROLES[self._turn % 2], secrets.token_urlsafe(24)
        self._database.execute(f"ALTER ROLE {role} LOGIN PASSWORD '{password}'")
        login = {"DATABASE_USERNAME": role, "DATABASE_PASSWORD": password}
        return {"SECRET_KEY": self.key, "SECRET_KEY_FALLBACKS": "", **OWN, **login}


@pytest.fixture
def manager(database: Database) -> Iterator[Manager]:
    yield Manager(database)
    restore(database)


def without_password(values: Values) -> dict[str, str]:
    return {name: value for name, value in values.items() if name != "DATABASE_PASSWORD"}


def refused(app: Flask) -> bool:
    """Return what a scrape says."""
    return bool(app.extensions["metrics"].registry.get_sample_value("secrets_refused"))


def status(client: FlaskClient) -> tuple[str, str]:
    """Return the role that is in use, and why a later generation is not."""
    said = client.get("/status").get_json()
    return said["database"]["role"], (said["secrets"]["refused"] or {"reason": ""})["reason"]


def test_the_contract(
    source: Source,
    manager: Manager,
    database: Database,
    settings: Settings,
    start: Callable[[Settings], Flask],
    wait_for: Callable[..., None],
) -> None:
    here = replace(settings, secrets_dir=source.folder, secrets_check_seconds=0.02)
    first = manager.next()

    # start
    source.write(without_password(first))
    with pytest.raises(SecretError, match=r"^DATABASE_PASSWORD in ") as problem:
        start(here)
    assert first["SECRET_KEY"] not in str(problem.value)
    source.write(first)
    app = start(here)
    client = app.test_client()
    with Load(app.extensions["database"], THREADS) as load:
        # rotation
        before = first
        for _ in range(ROTATIONS):
            values = manager.next()
            source.write(values)
            old, new = before["DATABASE_USERNAME"], values["DATABASE_USERNAME"]
            wait_for(lambda new=new: status(client) == (new, ""), "the new login")
            wait_for(lambda old=old: not sessions(database, old), "the end of the old sessions")
            lock_out(database, old)
            before = values
        # deletion
        source.write(without_password(before))
        wait_for(lambda: refused(app) == bool(source.refused), "what it says of it")
        assert status(client) == (before["DATABASE_USERNAME"], source.refused)
        asked = load.queries
        wait_for(lambda: load.queries > asked + 2 * THREADS, "queries with the last good login")
        # recovery
        values = manager.next()
        source.write(values)
        wait_for(lambda: status(client) == (values["DATABASE_USERNAME"], ""), "the login after it")
        assert not refused(app)
    assert load.failures == []
    assert load.roles == set(ROLES)
