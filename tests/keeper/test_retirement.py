"""The keeper beside somebody else's secrets prepares the database, and retires its own roles."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import prometheus_client
import psycopg
import pytest
import sqlalchemy
from flask import Flask

from app.settings import Settings
from keeper.certificates import is_for
from keeper.database import Login, Server
from keeper.fill import login_of
from keeper.folder_secrets import FolderSecrets
from keeper.keeper import Keeper
from keeper.plan import CERTIFICATES, Plan, Service
from keeper.pods import Pod, Pods
from secret_files import Redactor, Secret
from tests.conftest import Database
from tests.mount import Mount

A, B, THEIRS = "depot_a", "depot_b", "v-token-depot-7Qx"
PASSWORD = "their-pw-5b1f0c9de27a4483"  # pragma: allowlist secret
LOOK = Pods.look


class Depot:
    """A database whose secrets became somebody else's, and the pods that the keeper sees."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.objects = FolderSecrets(database.root)
        #: What each look at the pods finds; the last one stays.
        self.looks: list[list[Pod]] = [[]]
        self.looked: list[float] = []
        service = Service("pods", 1, settle_seconds=0.2)
        self.plan = replace(database.plan, service_secret="", service=service)

    def look(self) -> list[Pod]:
        self.looked.append(time.monotonic())
        return self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]

    def run(self, plan: Plan | None = None) -> None:
        Keeper(self.objects, plan or self.plan, Redactor()).run()

    def fill(self) -> Login:
        """Let the keeper be the source, and return the login that it made."""
        self.run(self.database.plan)
        return login_of(self.objects.get("secrets"))

    def let_in(self, role: str) -> Login:
        """Let a role log in, as the keeper did."""
        self.database.execute(f"ALTER ROLE {role} LOGIN PASSWORD '{PASSWORD}'")
        return Login(role, Secret("password", PASSWORD))

    def let_theirs_in(self) -> Login:
        """Make a role as the manager does."""
        self.database.execute(
            f"CREATE ROLE \"{THEIRS}\" LOGIN PASSWORD '{PASSWORD}' IN ROLE depot_service"
        )
        return Login(THEIRS, Secret("password", PASSWORD))

    def roles(self) -> dict[object, tuple[object, ...]]:
        """Return, for each role of the database, whether it may log in, and has a password."""
        rows = self.database.execute(
            "SELECT rolname, rolcanlogin, rolpassword IS NOT NULL FROM pg_authid "
            "WHERE rolname LIKE '%depot%'"
        )
        return {name: tuple(rights) for name, *rights in rows}

    def accepts(self, login: Login) -> bool:
        return self.database.server.accepts(login)


def pod(role: str, problem: str = "") -> Pod:
    return Pod("127.0.0.1", f"depot-{role}", {}, role, problem=problem)


@pytest.fixture
def depot(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Depot]:
    """Return a database of its own on the same server, which nobody has prepared yet."""
    root = tmp_path / "depot"
    shutil.copytree(database.root / "admin", root / "admin", symlinks=True)
    server = replace(database.server, database="depot")
    (root / "items.sql").write_text("CREATE TABLE IF NOT EXISTS items (text text)")
    plan = replace(database.plan, server=server, tables_dir=root)
    depot = Depot(Database(server, database.administrator, root, plan))
    monkeypatch.setattr(Pods, "look", lambda self: depot.look())
    yield depot
    database.execute("DROP DATABASE IF EXISTS depot WITH (FORCE)")
    database.execute(f'DROP ROLE IF EXISTS {A}, {B}, depot_service, "{THEIRS}"')


@pytest.fixture
def info(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Return what is logged, also what is no problem."""
    with caplog.at_level(logging.INFO):
        yield caplog


def test_prepares_the_database_for_a_role_of_somebody_elses_and_makes_none(depot: Depot) -> None:
    depot.run()
    assert depot.roles() == {"depot_service": (False, False)}
    with depot.database.server.connect(depot.let_theirs_in()) as connection:
        connection.execute("INSERT INTO items VALUES ('theirs')")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("DROP TABLE items")
    depot.run()
    assert depot.database.execute("SELECT text FROM items") == [("theirs",)]
    assert depot.roles() == {"depot_service": (False, False), THEIRS: (True, True)}
    assert depot.looked == []  # there is nobody to retire
    assert depot.objects.get("secrets").data == {}


def test_makes_the_administrator_of_the_demo(depot: Depot) -> None:
    administrator = replace(depot.plan, administrator_secret="new-admin")
    nowhere = replace(administrator, server=replace(depot.plan.server, host="/nowhere"))
    with pytest.raises(psycopg.OperationalError):
        depot.run(nowhere)
    assert depot.objects.get("new-admin").has("username", "password")


def test_without_an_administrator_only_the_certificates_are_kept(depot: Depot) -> None:
    plan = replace(
        depot.plan,
        administrator_secret="",
        server=Server("", 0, "", "disable"),
        authority_secret="ca",
        certificates={"tls": ("localhost",)},
        service=None,
    )
    depot.run(plan)
    made = depot.objects.get("tls").text("tls.crt")
    assert is_for(made, ["localhost"])
    Keeper(depot.objects, plan, Redactor()).run([CERTIFICATES])
    assert depot.objects.get("tls").text("tls.crt") != made
    assert not depot.accepts(depot.database.administrator)  # there still is no such database


def test_a_role_that_nobody_uses_is_locked_once(
    depot: Depot, info: pytest.LogCaptureFixture
) -> None:
    old = depot.fill()
    theirs = depot.let_theirs_in()
    depot.looks = [[pod(THEIRS), pod(THEIRS)]]
    depot.run()
    assert not depot.accepts(old)
    assert depot.accepts(theirs)
    assert (depot.roles()[A], depot.roles()[B]) == ((False, False), (False, False))
    first, second = depot.looked
    assert second - first >= 0.2
    depot.run()
    assert len(depot.looked) == 2
    steps = [vars(record).get("role") for record in info.records if record.msg == "revoked"]
    assert steps == [A]
    assert old.password.reveal() not in info.text


def test_a_role_in_use_is_kept_quietly_and_the_other_one_locked(
    depot: Depot, info: pytest.LogCaptureFixture
) -> None:
    old = depot.fill()
    other = depot.let_in(B)
    depot.looks = [[pod(A), pod(THEIRS)]]
    depot.run()
    assert depot.accepts(old)
    assert not depot.accepts(other)
    depot.looked.clear()
    depot.run()
    assert depot.accepts(old)
    assert len(depot.looked) == 1  # nobody waits for a second one
    assert f"{A} is kept: depot-{A} uses it" in info.messages
    assert {record.levelname for record in info.records} == {"INFO"}


def test_a_role_with_a_session_is_kept_until_it_ends(
    depot: Depot, info: pytest.LogCaptureFixture, wait_for: Callable[..., None]
) -> None:
    old = depot.fill()
    depot.looks = [[pod(THEIRS)]]
    with depot.database.server.connect(old) as session:
        depot.run()
        session.execute("SELECT 1")
    assert depot.accepts(old)
    assert f"{A} is kept: it has a session: flask-app-keeper from local" in info.messages
    ask = f"SELECT 1 FROM pg_stat_activity WHERE usename = '{A}'"
    wait_for(lambda: depot.database.execute(ask) == [], "the end of the sessions")
    depot.run()
    assert not depot.accepts(old)


UNSEEN: Mapping[str, tuple[list[Pod], str]] = {
    "no pod": ([], "there is no pod"),
    "one does not answer": (
        [pod(THEIRS), Pod("127.0.0.2", "depot-2", {}, problem="does not answer")],
        "depot-2 does not tell its role",
    ),
    "one is of an older release": (
        [Pod("127.0.0.2", "depot-2", {"secrets_generation": 7.0}), pod(THEIRS)],
        "depot-2 does not tell its role",
    ),
}


@pytest.mark.parametrize("when", ["first", "second"])
@pytest.mark.parametrize("case", UNSEEN)
def test_while_not_every_pod_is_seen_nothing_is_locked(
    depot: Depot, info: pytest.LogCaptureFixture, case: str, when: str
) -> None:
    found, why = UNSEEN[case]
    old = depot.fill()
    depot.looks = [found] if when == "first" else [[pod(THEIRS)], found]
    depot.run()
    assert depot.accepts(old)
    assert len(depot.looked) == (1 if when == "first" else 2)
    assert f"the old roles are kept: {why}" in info.messages


def test_a_pod_that_is_seen_late_keeps_its_role(depot: Depot) -> None:
    old = depot.fill()
    depot.looks = [[pod(THEIRS)], [pod(THEIRS), pod(A)]]
    depot.run()
    assert depot.accepts(old)


def test_pods_that_can_not_be_looked_up_are_no_error(
    depot: Depot, info: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(self: Pods) -> list[Pod]:
        raise OSError(-3, "Temporary failure in name resolution")

    old = depot.fill()
    monkeypatch.setattr(Pods, "look", away)
    depot.run()
    assert depot.accepts(old)
    why = "the pods can't be looked up: Temporary failure in name resolution"
    assert f"the old roles are kept: {why}" in info.messages


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, depot: Depot) -> Iterator[Callable[[Flask], Service]]:
    """Return a function that serves an app's metrics, and lets the keeper ask for them."""
    started: list[tuple[Any, threading.Thread]] = []

    def serve(app: Flask) -> Service:
        registry = app.extensions["metrics"].registry
        started.append(prometheus_client.start_http_server(0, "127.0.0.1", registry))
        return Service("127.0.0.1", int(started[-1][0].server_port), settle_seconds=0.1)

    monkeypatch.setattr(Pods, "look", LOOK)
    yield serve
    for server, thread in started:
        server.shutdown()
        server.server_close()
        thread.join()


def test_from_the_keepers_roles_to_somebody_elses_and_back(
    depot: Depot,
    settings: Settings,
    start: Callable[[Settings], Flask],
    served: Callable[[Flask], Service],
    mount: Mount,
    wait_for: Callable[..., None],
) -> None:
    """With a service that runs all the time, and is never refused."""
    own = depot.fill()
    mount.write({"DATABASE_USERNAME": own.user, "DATABASE_PASSWORD": own.password.reveal()})
    app = start(replace(settings, secrets_dir=mount.folder, database_name="depot"))
    plan = replace(depot.plan, service=served(app))

    def write() -> None:
        with app.extensions["database"].begin() as connection:
            connection.execute(sqlalchemy.text("INSERT INTO items VALUES ('it goes on')"))

    write()
    depot.run(plan)
    assert depot.accepts(own)
    write()
    theirs = depot.let_theirs_in()
    mount.write({"DATABASE_USERNAME": theirs.user, "DATABASE_PASSWORD": PASSWORD})
    write()
    ask = f"SELECT 1 FROM pg_stat_activity WHERE usename = '{A}'"
    wait_for(lambda: depot.database.execute(ask) == [], "the end of the old role's sessions")
    depot.run(plan)
    assert not depot.accepts(own)
    write()
    assert depot.fill() == own  # the keeper is the source again, and lets its own pair in
    assert depot.accepts(own)
    mount.write({"DATABASE_USERNAME": own.user, "DATABASE_PASSWORD": own.password.reveal()})
    write()
    assert depot.database.execute("SELECT count(*) FROM items") == [(5,)]
