"""A rotation in AWS Secrets Manager reaches the service, and no request fails.

Secrets Manager is moto's server, and the operator that syncs from it is a stand-in; the
service, its load and its database are real.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client import generate_latest

from app.secret_keys import KEYS
from app.settings import Settings
from keeper.certificates import new_authority, new_certificate
from secret_files import Folder
from tests.aws import Manager, OperatorStandIn, moto_server
from tests.conftest import Database
from tests.e2e.load import Load, visits_in
from tests.mount import OWN, Mount
from tests.rotation import ROLES, lock_out, restore, sessions
from tests.service import Service, write_certificate

FIRST, SECOND = ROLES
AUTHORITY = new_authority("test CA")

#: What has to be answered in each phase of a rotation.
REQUESTS = 30

WaitFor = Callable[..., None]


@dataclass(frozen=True)
class Seen:
    """What the service says of its secrets, and what it did with new ones."""

    role: str
    adopted: int = 0
    refused: bool = False

    @classmethod
    def of(cls, status: str, metrics: str) -> Seen:
        return cls(
            found(r'"role":\s*"(\w+)"', status),
            int(found(r'secrets_reloads_total{result="adopted"} (\d+)', metrics)),
            found(r'secrets_reloads_total{result="rejected"} (\d+)', metrics) != "0",
        )


def found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match, f"no {pattern} in {text}"
    return match[1]


@dataclass
class UnderLoad:
    """A service that is asked all the time, and those who bring it its secrets."""

    service: Service
    load: Load
    stand_in: OperatorStandIn
    wait_for: WaitFor

    def seen(self) -> Seen:
        status = self.service.get("/status", "https", self.load.authorities)
        return Seen.of(status, self.service.metrics())

    def phase(self) -> None:
        """Go on until there were requests and syncs enough, and each user came back twice."""
        load, stand_in = self.load, self.stand_in
        answered, syncs, visits = len(load.seconds), stand_in.syncs, load.visits()

        def is_over() -> bool:
            came_back = all(
                now >= then + 2 for now, then in zip(load.visits(), visits, strict=True)
            )
            enough = len(load.seconds) >= answered + REQUESTS and stand_in.syncs >= syncs + 2
            return bool(load.failures or load.lost_sessions) or (came_back and enough)

        self.wait_for(is_over, f"{REQUESTS} requests, two of each user's session")

    def wait_until_seen(self, expected: Seen) -> None:
        self.wait_for(lambda: self.seen() == expected, str(expected))


@pytest.fixture(scope="module")
def moto_port(tmp_path_factory: pytest.TempPathFactory, wait_for: WaitFor) -> Iterator[int]:
    """Return the port of moto's server."""
    with moto_server(tmp_path_factory.mktemp("moto") / "output", wait_for) as port:
        yield port


@pytest.fixture
def manager(moto_port: int, database: Database) -> Iterator[Manager]:
    """Return a manager that has the service's secrets."""
    snapshot = Folder(database.root / "secrets", KEYS).read()
    values = {name: snapshot[name].reveal() for name in ("DATABASE_USERNAME", "DATABASE_PASSWORD")}
    keys = {"SECRET_KEY": secrets.token_urlsafe(32), "SECRET_KEY_FALLBACKS": "", **OWN}
    yield Manager(moto_port, database, {**keys, **values})
    restore(database)


@pytest.fixture
def stand_in(manager: Manager, mount: Mount) -> OperatorStandIn:
    """Return a stand-in that has synced once."""
    stand_in = OperatorStandIn(manager.object, mount)
    stand_in.sync()
    return stand_in


@pytest.fixture
def under_load(
    serve: Callable[..., Service],
    settings_of: dict[str, str],
    database: Database,
    tmp_path: Path,
    mount: Mount,
    stand_in: OperatorStandIn,
    wait_for: WaitFor,
) -> Iterator[UnderLoad]:
    """Return a service under load, of which nobody may have noticed anything in the end."""
    cafile = tmp_path / "ca.crt"
    cafile.write_text(AUTHORITY.certificate)
    write_certificate(tmp_path / "tls", new_certificate(AUTHORITY, ["localhost"]))
    places = {"SECRETS_DIR": str(mount.folder), "TLS_DIR": str(tmp_path / "tls")}
    service = serve(**{**settings_of, **places, "SECRETS_CHECK_SECONDS": "0.1"})
    wait_for(service.listens, "a listening socket")
    load = Load(service.port, cafile)
    try:
        with stand_in.polling(), load:
            yield UnderLoad(service, load, stand_in, wait_for)
        load.check_unnoticed()
    finally:
        database.execute("TRUNCATE notes RESTART IDENTITY")


def test_two_database_users_alternate_in_the_manager_and_no_request_fails(
    under_load: UnderLoad, manager: Manager, database: Database
) -> None:
    rotate_users(under_load, manager, database, FIRST, SECOND)
    rotate_users(under_load, manager, database, SECOND, FIRST)
    assert under_load.seen() == Seen(FIRST, adopted=2)


def rotate_users(
    under_load: UnderLoad, manager: Manager, database: Database, old: str, new: str
) -> None:
    """Go from one user to the other, and see that the service follows the label alone."""
    before = under_load.seen()
    version = manager.prepare(manager.with_other_user())
    under_load.phase()
    assert under_load.seen() == before == Seen(old, before.adopted)
    under_load.wait_for(lambda: sessions(database, new) == 0, "the end of the manager's session")
    manager.finish_secret(version)
    under_load.wait_until_seen(Seen(new, before.adopted + 1))
    under_load.wait_for(lambda: sessions(database, old) == 0, "the end of the old user's sessions")
    lock_out(database, old)
    under_load.phase()


def test_a_session_key_rotates_in_the_manager_and_no_session_ends(
    under_load: UnderLoad, manager: Manager
) -> None:
    answer = under_load.load.request("GET", "/")
    assert answer
    cookie = answer[1]

    def visits_with_the_first_cookie() -> int:
        answer = under_load.load.request("GET", "/", cookie=cookie)
        assert answer
        return visits_in(answer[0])

    old, new = manager.current()["SECRET_KEY"], secrets.token_urlsafe(32)
    announced, promoted, retired = (old, new), (new, old), (new, "")
    for turn, (key, fallbacks) in enumerate((announced, promoted, retired)):
        assert visits_with_the_first_cookie() == 2
        keys = {"SECRET_KEY": key, "SECRET_KEY_FALLBACKS": fallbacks}
        manager.rotate({**manager.current(), **keys})
        under_load.wait_until_seen(Seen(FIRST, adopted=turn + 1))
        under_load.phase()
    assert visits_with_the_first_cookie() == 1  # it did not come by while the old key verified


@pytest.fixture
def app(
    settings: Settings, start: Callable[[Settings], Flask], mount: Mount, stand_in: OperatorStandIn
) -> Flask:
    """Return a service in this process, which looks for new secrets at each request."""
    return start(replace(settings, secrets_dir=mount.folder))


@pytest.fixture
def seen(app: Flask, client: FlaskClient) -> Callable[[], Seen]:
    """Return a function that sees a note taken and read, and says what the service says."""

    def seen() -> Seen:
        assert client.post("/api/notes", json={"text": "goes on"}).status_code == 201
        assert client.get("/").status_code == 200
        metrics = generate_latest(app.extensions["metrics"].registry)
        return Seen.of(client.get("/status").text, metrics.decode())

    return seen


def test_a_rotation_that_fails_its_test_leaves_the_service_where_it_is(
    manager: Manager, stand_in: OperatorStandIn, seen: Callable[[], Seen]
) -> None:
    manager.create_secret(manager.with_other_user())
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        manager.test_secret()  # nobody has set it
    stand_in.sync()
    assert seen() == Seen(FIRST)
    manager.rotate(manager.with_other_user())
    stand_in.sync()
    assert seen() == Seen(SECOND, adopted=1)


def test_a_deleted_object_leaves_the_last_good_secret_in_use(
    manager: Manager, stand_in: OperatorStandIn, mount: Mount, seen: Callable[[], Seen]
) -> None:
    version = Folder(mount.folder, KEYS).version()
    manager.object.call("DeleteSecret")
    stand_in.sync()
    assert Folder(mount.folder, KEYS).version() == version
    assert seen() == Seen(FIRST)
    manager.object.call("RestoreSecret")
    manager.rotate(manager.with_other_user())
    stand_in.sync()
    assert seen() == Seen(SECOND, adopted=1)


def test_a_key_that_is_removed_from_the_object_leaves_the_last_good_secret_in_use(
    manager: Manager, stand_in: OperatorStandIn, mount: Mount, seen: Callable[[], Seen]
) -> None:
    whole = manager.with_other_user()
    part = {key: value for key, value in whole.items() if key != "DATABASE_PASSWORD"}
    manager.finish_secret(manager.create_secret(part))  # by hand, without the steps between
    stand_in.sync()
    assert not (mount.folder / "DATABASE_PASSWORD").exists()
    assert seen() == Seen(FIRST, refused=True)
    manager.rotate(whole)
    stand_in.sync()
    assert seen() == Seen(SECOND, adopted=1, refused=True)


def test_a_stand_in_that_syncs_what_is_pending_is_seen(
    manager: Manager, mount: Mount, seen: Callable[[], Seen]
) -> None:
    """The control of `seen() == Seen(FIRST)`: before the password is set, and after it."""
    too_early = OperatorStandIn(manager.object, mount, "AWSPENDING")
    manager.create_secret(manager.with_other_user())
    too_early.sync()
    assert seen() == Seen(FIRST, refused=True)
    manager.prepare(manager.with_other_user())
    too_early.sync()
    assert seen() == Seen(SECOND, adopted=1, refused=True)


def test_a_user_and_a_password_from_two_calls_are_refused(
    manager: Manager, stand_in: OperatorStandIn, mount: Mount, seen: Callable[[], Seen]
) -> None:
    """The control of the one call for all keys: the label moves between two of them."""
    version = manager.prepare(manager.with_other_user())
    first_call = manager.current()
    manager.finish_secret(version)
    second_call = manager.current()
    mount.replace({**second_call, "DATABASE_USERNAME": first_call["DATABASE_USERNAME"]})
    assert seen() == Seen(FIRST, refused=True)
    stand_in.sync()
    assert seen() == Seen(SECOND, adopted=1, refused=True)
