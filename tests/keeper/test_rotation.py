"""A rotation costs the service nothing, and can be killed, disturbed or held up at any point."""

from __future__ import annotations

import functools
import itertools
import logging
import shutil
import sys
import threading
import time
from collections.abc import Callable, Container, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIServer

import prometheus_client
import psycopg
import pytest
from flask import Flask
from sqlalchemy import NullPool

from app.core.database import Database as ServiceDatabase
from app.settings import Settings
from keeper import access, pods, rotation
from keeper.access import Access, DatabaseAccess
from keeper.database import Administration, Login, Server, StillLetIn
from keeper.fill import login_of
from keeper.folder_secrets import FolderSecrets
from keeper.keeper import Keeper
from keeper.objects import NO_NOTES, Conflict, SecretObjects, StoredSecret
from keeper.plan import DATABASE, SESSION, Service
from keeper.pods import Pods, PodsBehind
from keeper.state import ANNOUNCED, IDLE, PROMOTED, State
from secret_files import Redactor
from tests.conftest import Database
from tests.items import create_app, visits
from tests.load import Load
from tools.local.place import OWN_KEYS
from tools.service import free_port

pytestmark = pytest.mark.skipif(
    sys.platform == "darwin", reason="macOS has one loopback address, and no second pod"
)

BOTH = (SESSION, DATABASE)
FIRST, SECOND, NOWHERE = "127.0.0.1", "127.0.0.2", "127.0.0.3"
ROLES = {"shop_a", "shop_b"}
WRONG = {"DATABASE_PASSWORD": "a-password-that-somebody-wrote-by-hand"}

#: The steps of a rotation, as they are logged.
DATABASE_ONLY = ["prepared", "announced", "seen", "revoked", "rotated"]
SESSION_ONLY = ["announced", "seen", "promoted", "seen", "rotated"]
STEPS = ["prepared", "announced", "seen", "promoted", "seen", "revoked", "rotated"]


class Pod:
    """One service, and what becomes of those who use it."""

    def __init__(self, settings: Settings, server: Server) -> None:
        self._server = server
        self.app: Flask = create_app(settings)
        self.settings = settings
        self.database: ServiceDatabase = self.app.extensions["database"]

    def cookie(self) -> str:
        """Return the cookie of somebody who visits for the first time."""
        client = self.app.test_client()
        assert visits(client) == 1
        cookie = client.get_cookie("session")
        assert cookie
        return cookie.value

    def knows(self, cookie: str) -> bool:
        """Tell whether the session of a cookie goes on, and a new connection is let in."""
        snapshot = self.app.extensions["secrets"].current()
        user, password = snapshot["DATABASE_USERNAME"].reveal(), snapshot["DATABASE_PASSWORD"]
        client = self.app.test_client()
        client.set_cookie("session", cookie)
        return visits(client) == 2 and self._server.accepts(Login(user, password))

    @contextmanager
    def in_use(self) -> Iterator[list[str]]:
        """Ask it all the time, with two pools and with sessions; return what fails."""
        failures: list[str] = []
        stop = threading.Event()
        started = threading.Barrier(3)

        def visit() -> None:
            client = self.app.test_client()
            for number in itertools.count(1):
                try:
                    if visits(client) != number:
                        failures.append(f"session lost at visit {number}")
                except AssertionError:
                    failures.append("no page")
                if number == 1:
                    started.wait(20)
                if failures or stop.is_set():
                    return

        store = self.app.extensions["secrets"]
        no_pool = {"poolclass": NullPool}
        without_pool = ServiceDatabase(self.settings, store, lambda: None, no_pool)
        with ExitStack() as stack:
            loads = [stack.enter_context(Load(one, 2)) for one in (self.database, without_pool)]
            visitors = [threading.Thread(target=visit) for _ in range(2)]
            for visitor in visitors:
                visitor.start()
            try:
                started.wait(20)
                yield failures
            finally:
                stop.set()
                for visitor in visitors:
                    visitor.join()
        for load in loads:
            assert load.roles
            failures += load.failures


class Release:
    """The Secrets of a service with a database of its own, its pods, and whoever keeps it."""

    def __init__(self, database: Database, settings: Settings, serve: Callable[..., None]) -> None:
        self.database = database
        self.objects = FolderSecrets(database.root)
        self.settings = settings
        #: What the name of the headless Service leads to.
        self.addresses: list[str] = []
        self.pods: list[Pod] = []
        self._serve = serve

    def start(self, address: str = FIRST, root: Path | None = None) -> Pod:
        """Start a pod, with the Secret mounted or, a folder that holds a copy of it."""
        folder = (root or self.database.root) / "secrets"
        pod = Pod(replace(self.settings, secrets_dir=folder), self.database.server)
        assert self.database.plan.service
        self._serve(address, self.database.plan.service.metrics_port, pod.app)
        self.addresses.append(address)
        self.pods.append(pod)
        return pod

    def keep(self, *parts: str, objects: SecretObjects | None = None, **changes: Any) -> None:
        """Let a keeper do what is due or asked for, with a plan in which some fields differ."""
        plan = replace(self.database.plan, **changes)
        Keeper(objects or self.objects, plan, Redactor()).run(parts)

    def keep_until_promoted(self, effects: Effects) -> None:
        """Let a keeper rotate all, and kill it before it looks who has the promoted key."""

        def at(point: str) -> None:
            if point == "before look" and self.state.step == PROMOTED:
                raise Killed

        effects.at = at
        with pytest.raises(Killed):
            self.keep(*BOTH)
        effects.at = lambda point: None

    @property
    def stored(self) -> StoredSecret:
        return self.objects.get("secrets")

    @property
    def state(self) -> State:
        return State.of(self.stored)

    @property
    def login(self) -> Login:
        return login_of(self.stored)

    def told(self) -> list[tuple[object, ...]]:
        """Return what the page was told since the Secret was filled."""
        return self.database.execute(
            "SELECT event, generation, role, changed, detail FROM secret_events "
            "WHERE origin = 'keeper' AND event <> 'filled' ORDER BY id"
        )

    def write(self, values: Mapping[str, str], notes: Mapping[str, str] = NO_NOTES) -> None:
        """Change the Secret by hand."""
        self.objects.patch(self.stored, values, notes)

    def accepts(self, login: Login) -> bool:
        return self.database.server.accepts(login)

    def psql(self, login: Login) -> dict[str, Any]:
        """Return what somebody needs who logs in by hand."""
        server, password = self.database.server, login.password.reveal()
        options = {"host": server.host, "port": server.port, "dbname": server.database}
        return {**options, "user": login.user, "password": password}

    def roles(self) -> dict[object, tuple[object, ...]]:
        """Return, for each role, whether it may log in, and whether it has a password."""
        rows = self.database.execute(
            "SELECT rolname, rolcanlogin, rolpassword IS NOT NULL FROM pg_authid "
            "WHERE rolname IN ('shop_a', 'shop_b')"
        )
        return {name: tuple(rights) for name, *rights in rows}

    def assert_at_rest(self) -> None:
        """Nothing is under way, and the pair in the Secret is the only one."""
        assert self.state.step == IDLE
        assert all(ring.coming is None for ring in self.state.rings.values())
        assert self.accepts(self.login)
        (idle,) = ROLES - {self.login.user}
        assert self.roles()[idle][0] is False


class Killed(BaseException):
    """What nobody catches, as with SIGKILL."""


#: The points at which a keeper has just changed something.
CHANGES = {f"after {name}" for name in ("_end_sessions", "_execute", "_set_password")}
CHANGES |= {"after patch", "after prepare"}


class Effects:
    """Calls `at` before each thing that a keeper reads, and around each that it changes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at: Callable[[str], None] = lambda point: None
        self._inside = threading.local()
        reads = [(Pods, "look"), (Administration, "sessions"), (Server, "accepts")]
        changes = [(FolderSecrets, "patch"), (Administration, "_set_password")]
        changes += [(Administration, "_end_sessions"), (Administration, "_execute")]
        changes += [(Administration, "prepare")]  # many, of which each can be done again
        assert {f"after {name}" for _, name in changes} == CHANGES
        for owner, name in [*reads, *changes]:
            around = self._around(getattr(owner, name), name, (owner, name) in changes)
            monkeypatch.setattr(owner, name, around)

    def once(self, point: str, then: Callable[[], object]) -> None:
        """Do something the first time that a keeper comes to a point."""

        def at(here: str) -> None:
            if here == point:
                self.at = lambda point: None
                then()

        self.at = at

    def kill_after(self, number: int, changes: Container[str] = CHANGES) -> None:
        """Kill the keeper after the change of that number, of these.

        Wherever it is killed before the next one, it leaves the same.
        """
        points = itertools.count(1)

        def at(here: str) -> None:
            if here in changes and next(points) == number:
                self.at = lambda point: None
                raise Killed

        self.at = at

    def _around(self, effect: Callable[..., Any], name: str, changes: bool) -> Callable[..., Any]:
        @functools.wraps(effect)
        def around(*arguments: Any) -> Any:
            if getattr(self._inside, "one", False):
                return effect(*arguments)  # a part of another one
            self.at(f"before {name}")
            self._inside.one = True
            try:
                result = effect(*arguments)
            finally:
                self._inside.one = False
            if changes:
                self.at(f"after {name}")
            return result

        return around


def kill() -> None:
    raise Killed


@pytest.fixture(scope="module")
def serve() -> Iterator[Callable[..., None]]:
    """Return a function that serves the metrics of an app until the last test is done."""
    servers: list[WSGIServer] = []

    def serve(address: str, port: int, app: Flask) -> None:
        registry = app.extensions["metrics"].registry
        with pytest.MonkeyPatch.context() as patched:
            # it would ask DNS for the second address' name
            patched.setattr("socket.getfqdn", lambda host: host)
            server, _ = prometheus_client.start_http_server(port, address, registry)
        servers.append(server)

    def end(server: WSGIServer) -> None:
        server.shutdown()
        server.server_close()

    yield serve
    with ThreadPoolExecutor(len(servers) or 1) as executor:  # each takes half a second
        list(executor.map(end, servers))


@pytest.fixture(scope="module")
def server(database: Database) -> Iterator[Server]:
    """Return a database of its own on the same PostgreSQL."""
    yield replace(database.server, database="shop")
    database.execute("DROP DATABASE IF EXISTS shop WITH (FORCE)")
    database.execute("DROP ROLE IF EXISTS shop_a, shop_b, shop_service")


@pytest.fixture
def release(
    database: Database,
    server: Server,
    settings: Settings,
    serve: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Release]:
    """Return a release that was filled, and has no pod yet."""
    root = tmp_path / "release"
    shutil.copytree(database.root / "admin", root / "admin", symlinks=True)
    service = Service("pods", free_port())
    plan = replace(database.plan, server=server, service=service, wait_seconds=20)
    release = Release(
        Database(server, database.administrator, root, plan),
        replace(settings, database_name=server.database),
        serve,
    )
    monkeypatch.setattr(pods, "_addresses", lambda host: list(release.addresses))
    for module in (pods, access, rotation):
        monkeypatch.setattr(module, "PAUSE", 0.01)
    release.keep()
    release.database.execute("TRUNCATE secret_events, secret_pods")
    yield release
    for pod in release.pods:
        pod.app.extensions["journal"].close()
        pod.database.engine.dispose()
    for role in ROLES:
        database.execute(f"ALTER ROLE {role} NOLOGIN PASSWORD NULL")


@pytest.fixture
def pod(release: Release) -> Pod:
    return release.start()


@pytest.fixture
def effects(release: Release, monkeypatch: pytest.MonkeyPatch) -> Effects:
    return Effects(monkeypatch)


class Log(logging.Handler):
    """What the keeper says; unlike caplog, the start of a service does not end it."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def steps(self) -> list[str]:
        """Return the steps since this was asked last."""
        found = [str(vars(record).get("step", "")) for record in self.records]
        self.records.clear()
        return [step for step in found if step and step != "database prepared"]

    def warnings(self) -> list[str]:
        return [one.getMessage() for one in self.records if one.levelno >= logging.WARNING]


@pytest.fixture
def log() -> Iterator[Log]:
    log = Log()
    logger = logging.getLogger("keeper")
    logger.addHandler(log)
    yield log
    logger.removeHandler(log)


def test_one_rotation_of_all_step_by_step(release: Release, pod: Pod, log: Log) -> None:
    before, old = release.stored, release.login
    cookie = pod.cookie()
    log.steps()
    release.keep(*BOTH)
    assert log.steps() == STEPS
    release.assert_at_rest()
    assert {old.user, release.login.user} == ROLES
    assert release.roles()[old.user] == (False, False)
    assert not release.accepts(old)
    assert release.stored.text("SECRET_KEY_FALLBACKS") == before.text("SECRET_KEY")
    assert release.stored.text("SECRET_KEY") != before.text("SECRET_KEY")
    assert release.state.generation > State.of(before).generation
    assert pod.knows(cookie)
    release.keep(*BOTH)
    assert release.login.user == old.user
    assert not release.accepts(old)
    assert pod.knows(cookie)


def changed(*more: str) -> list[str]:
    """Return what a session key's rotation changes, as the page is told it."""
    return sorted(["SECRET_KEY_FALLBACKS", *OWN_KEYS, *more])


class Own:
    """A release whose Secret has two keys of the service's own; the page's are not among them."""

    KEYS = ("A_KEY", "B_KEY")

    def __init__(self, release: Release) -> None:
        self._release = release

    def keep(self, *parts: str, **changes: Any) -> None:
        keys = (*self._release.database.plan.own_keys, *self.KEYS)
        self._release.keep(*parts, own_keys=keys, **changes)

    def lines(self, key: str = "A_KEY") -> list[str]:
        return self._release.stored.text(key).splitlines()


@pytest.fixture
def own(release: Release) -> Own:
    own = Own(release)
    own.keep()
    return own


def test_a_key_of_the_services_own_is_made_beside_those_that_are_there(
    release: Release, log: Log
) -> None:
    before = release.stored
    Own(release).keep()
    assert log.steps() == ["secrets filled"]
    made = release.stored
    assert made.data.keys() - before.data.keys() == set(Own.KEYS)
    assert State.of(made).generation > State.of(before).generation
    assert all(len(made.text(key)) == 64 for key in Own.KEYS)
    assert made.text("A_KEY") != made.text("B_KEY")
    assert made.text("SECRET_KEY") == before.text("SECRET_KEY")
    Own(release).keep()
    assert release.stored == made


def test_a_key_that_somebody_wrote_is_kept_and_rotated_from_then_on(
    release: Release, pod: Pod
) -> None:
    release.write({"A_KEY": "somebody-wrote-this-key-4c81e0-of-32-bytes"})
    own = Own(release)
    own.keep()
    assert own.lines() == ["somebody-wrote-this-key-4c81e0-of-32-bytes"]
    own.keep(SESSION)
    assert own.lines()[1:] == ["somebody-wrote-this-key-4c81e0-of-32-bytes"]


def test_a_key_of_the_services_own_takes_the_session_keys_steps(
    release: Release, own: Own, pod: Pod, effects: Effects
) -> None:
    (old,) = own.lines()
    other = own.lines("B_KEY")
    seen: list[list[str]] = []
    effects.at = lambda point: seen.append(own.lines()) if point == "before look" else None
    own.keep(SESSION)
    announced = next(lines for lines in seen if len(lines) == 2)
    assert announced[0] == old
    new = announced[1]
    assert own.lines() == seen[-1] == [new, old]
    assert own.lines("B_KEY")[1:] == other
    release.assert_at_rest()
    own.keep(session_lifetime=0)
    assert own.lines() == [new]


def test_a_killed_keeper_leaves_every_key_valid_and_the_next_one_finishes(
    release: Release, own: Own, pod: Pod, effects: Effects
) -> None:
    (old,) = own.lines()
    for point in ("after patch", "before look"):
        effects.once(point, kill)
        with pytest.raises(Killed):
            own.keep(SESSION)
        assert old in own.lines()
    own.keep()
    release.assert_at_rest()
    assert own.lines()[1:] == [old]


def test_a_key_that_comes_in_the_middle_of_a_rotation_is_announced_before_it_is_used(
    release: Release, pod: Pod, effects: Effects
) -> None:
    effects.once("before look", kill)
    with pytest.raises(Killed):
        release.keep(SESSION)
    assert release.state.step == ANNOUNCED
    own = Own(release)
    seen: list[list[str]] = []
    effects.at = lambda point: seen.append(own.lines()) if point == "before look" else None
    own.keep()
    release.assert_at_rest()
    first, second = own.lines()
    assert seen[0] == [second, first]


def test_an_own_key_that_was_emptied_is_made_again(release: Release, own: Own, pod: Pod) -> None:
    own.keep(SESSION)
    release.write({"A_KEY": ""})
    own.keep()
    assert len(own.lines()) == 1
    own.keep(SESSION)
    assert len(own.lines()) == 2


def test_the_page_is_told_of_the_services_own_keys(release: Release, own: Own, pod: Pod) -> None:
    own.keep(SESSION)
    own.keep(session_lifetime=0)
    announced, promoted, _, retired = release.told()
    assert announced[3] == retired[3] == changed(*Own.KEYS)
    assert promoted[3] == changed("SECRET_KEY", *Own.KEYS)


def test_the_page_is_told_each_step(release: Release, pod: Pod) -> None:
    old, first = release.login, release.state.generation
    release.keep(*BOTH)
    promoted = release.state.generation
    release.keep(session_lifetime=0)
    pair = ("DATABASE_PASSWORD", "DATABASE_USERNAME")
    announced = release.told()[0][1]
    assert isinstance(announced, int)
    assert first < announced < promoted < release.state.generation
    assert release.told() == [
        ("announced", announced, release.login.user, changed(*pair), ""),
        ("promoted", promoted, "", changed("SECRET_KEY"), ""),
        ("revoked", promoted, old.user, [], ""),
        ("rotated", promoted, "", [], ""),
        ("retired", release.state.generation, "", changed(), ""),
    ]


def test_the_page_is_told_of_one_part_alone(release: Release, pod: Pod) -> None:
    release.keep(SESSION)
    announced, *_ = release.told()
    assert announced[2:4] == ("", changed())


@pytest.mark.parametrize(
    ("where", "times"),
    [("after patch", 1), ("after patch", 2), ("after patch", 3), ("before look", 1)],
)
def test_the_page_is_told_once_what_a_killed_keeper_did(
    release: Release, pod: Pod, effects: Effects, where: str, times: int
) -> None:
    """Killed right after it published, or told it, or wrote down that all is done."""
    points = itertools.count(1)

    def at(point: str) -> None:
        if point == where and next(points) == times:
            raise Killed

    effects.at = at
    with pytest.raises(Killed):
        release.keep(*BOTH)
    effects.at = lambda point: None
    release.keep()
    events = [event for event, *_ in release.told()]
    assert events == ["announced", "promoted", "revoked", "rotated"]


def test_an_event_has_the_time_of_its_step_if_the_database_is_reached_later(
    release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that what a pod did because of the step does not come before it on the page."""
    keeper = Access(release.objects, Redactor(), 0)
    plan, administrator = release.database.plan, release.database.administrator
    connect = Server.connect

    def slow(server: Server, login: Login) -> psycopg.Connection:
        time.sleep(0.5)
        return connect(server, login)

    ((before,),) = release.database.execute("SELECT clock_timestamp()")
    with monkeypatch.context() as slowly:
        slowly.setattr(Server, "connect", slow)
        DatabaseAccess(keeper, plan, administrator).tell("announced", 1)
    ((happened, after),) = release.database.execute(
        "SELECT happened_at, clock_timestamp() FROM secret_events WHERE event = 'announced'"
    )
    assert isinstance(before, datetime)
    assert isinstance(happened, datetime)
    assert isinstance(after, datetime)
    assert before < happened <= after - timedelta(seconds=0.5)


def test_a_page_that_can_not_be_told_holds_nothing_up(
    release: Release, pod: Pod, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "TELL", "INSERT INTO nowhere VALUES (%s, %s, %s, %s)")
    log.steps()
    release.keep(*BOTH)
    said = [record.getMessage() for record in log.records]
    assert log.steps() == STEPS
    release.assert_at_rest()
    assert len([one for one in said if one.startswith("the page does not hear")]) == 4


def test_an_old_key_verifies_for_a_session_lifetime_and_is_dropped_then(
    release: Release, pod: Pod, log: Log
) -> None:
    cookie = pod.cookie()
    release.keep(SESSION)
    new_cookie = pod.cookie()
    version = release.stored.version
    release.keep(session_lifetime=60)
    assert release.stored.version == version
    assert pod.knows(cookie)
    log.steps()
    release.keep(session_lifetime=0)
    assert log.steps() == ["retired"]
    assert release.stored.text("SECRET_KEY_FALLBACKS") == ""
    assert not pod.knows(cookie)
    assert pod.knows(new_cookie)


def test_an_old_key_that_somebody_wrote_has_a_session_lifetime_too(release: Release) -> None:
    key = "written-by-hand-5d0b7c1f9ae24836"
    release.write({"SECRET_KEY_FALLBACKS": key})
    release.keep()
    assert release.stored.text("SECRET_KEY_FALLBACKS") == key
    began = int(release.stored.notes["fallbacks"])
    release.keep()
    assert int(release.stored.notes["fallbacks"]) == began
    release.keep(session_lifetime=0)
    assert release.stored.text("SECRET_KEY_FALLBACKS") == ""


def test_a_key_verifies_in_every_pod_before_it_signs(release: Release, pod: Pod) -> None:
    second = release.start(SECOND)
    promoted = []

    class Spy(FolderSecrets):
        def patch(
            self, secret: StoredSecret, data: Mapping[str, str], notes: Mapping[str, str] = NO_NOTES
        ) -> StoredSecret:
            if data.get("SECRET_KEY", secret.text("SECRET_KEY")) != secret.text("SECRET_KEY"):
                for one in (pod, second):
                    snapshot = one.app.extensions["secrets"]._current  # without a look
                    keys = [key.reveal() for key in snapshot.lines("SECRET_KEY_FALLBACKS")]
                    promoted.append(data["SECRET_KEY"] in keys)
            return super().patch(secret, data, notes)

    release.keep(*BOTH, objects=Spy(release.database.root))
    assert promoted == [True, True]


@pytest.mark.parametrize(("part", "expected"), [(SESSION, SESSION_ONLY), (DATABASE, DATABASE_ONLY)])
def test_one_part_alone(
    release: Release, pod: Pod, log: Log, part: str, expected: list[str]
) -> None:
    before = release.stored
    log.steps()
    release.keep(part)
    assert log.steps() == expected
    release.assert_at_rest()
    same = {key for key in before.data if before.data[key] == release.stored.data[key]}
    if part == SESSION:
        assert same == {"DATABASE_USERNAME", "DATABASE_PASSWORD"}
    else:
        assert same == {"SECRET_KEY", *changed()}


@pytest.mark.parametrize(("part", "expected"), [(SESSION, SESSION_ONLY), (DATABASE, DATABASE_ONLY)])
def test_what_is_too_old_is_rotated_and_nothing_else(
    release: Release, pod: Pod, log: Log, part: str, expected: list[str]
) -> None:
    made = release.state.made[part]
    release.write({}, {f"{part}-made": str(made - 3600)})
    log.steps()
    release.keep(interval=3660)
    assert log.steps() == []
    release.keep(interval=3600)
    assert log.steps() == expected
    assert release.state.made[part] >= made
    version = release.stored.version
    release.keep(interval=3600)
    assert log.steps() == []
    assert release.stored.version == version


def test_killed_at_any_point_it_costs_nothing_and_is_finished_by_the_next(
    release: Release, pod: Pod, effects: Effects
) -> None:
    retired = "a-key-whose-time-is-over-7b1d0a8f2c"
    for number in itertools.count(1):
        release.write({"SECRET_KEY_FALLBACKS": retired}, {"fallbacks": "1"})
        cookie = pod.cookie()
        effects.kill_after(number)
        try:
            release.keep(*BOTH)
        except Killed:
            assert pod.knows(cookie)
        else:
            break
        release.keep()
        release.assert_at_rest()
        assert pod.knows(cookie)
        assert retired not in release.stored.text("SECRET_KEY_FALLBACKS")
    # preparing the database, the new password, two steps, the old role's end in three, two more
    assert number == 10


def test_under_load_no_query_fails_and_no_session_is_lost(release: Release, pod: Pod) -> None:
    release.start(SECOND)
    roles = []
    with pod.in_use() as failures:
        for _ in range(2):
            release.keep(*BOTH)
            roles.append(release.login.user)
    assert failures == []
    assert roles == ["shop_b", "shop_a"]
    release.assert_at_rest()


def test_a_pod_that_stays_behind_is_named_and_nothing_is_revoked_until_it_follows(
    release: Release, pod: Pod, log: Log, tmp_path: Path
) -> None:
    shutil.copytree(release.database.root / "secrets", tmp_path / "copy", symlinks=True)
    (tmp_path / "late").mkdir()
    (tmp_path / "late" / "secrets").symlink_to(tmp_path / "copy")
    late = release.start(SECOND, tmp_path / "late")
    old, generation = release.login, release.state.generation
    cookies = [pod.cookie(), late.cookie()]
    log.steps()
    for _ in range(2):
        with pytest.raises(PodsBehind) as caught:
            release.keep(*BOTH, wait_seconds=0.2)
        assert f"({SECOND}) has {generation}" in str(caught.value)
        assert f"({FIRST})" not in str(caught.value)
    assert log.steps() == ["prepared", "announced"]
    assert [event for event, *_ in release.told()] == ["announced", "stopped"]
    assert f"({SECOND}) has {generation}" in str(release.told()[1][4])
    assert release.accepts(old)
    assert release.accepts(release.login)
    assert all(one.knows(cookie) for one in (pod, late) for cookie in cookies)
    (tmp_path / "late" / "secrets").unlink()
    (tmp_path / "late" / "secrets").symlink_to(release.database.root / "secrets")
    release.keep()
    assert log.steps() == ["seen", "promoted", "seen", "revoked", "rotated"]
    release.assert_at_rest()
    assert not release.accepts(old)
    assert all(one.knows(cookie) for one in (pod, late) for cookie in cookies)


def test_a_pod_that_does_not_answer_and_no_pod_at_all_hold_it_up(release: Release) -> None:
    old = release.login
    with pytest.raises(PodsBehind, match="has no pod"):
        release.keep(*BOTH, wait_seconds=0.1)
    pod = release.start()
    release.addresses.append(NOWHERE)
    with pytest.raises(PodsBehind, match=f": {NOWHERE} does not answer"):
        release.keep(wait_seconds=0.1)
    assert release.accepts(old)
    assert release.accepts(release.login)
    assert release.state.step == ANNOUNCED
    release.addresses.remove(NOWHERE)
    cookie = pod.cookie()
    release.keep()
    release.assert_at_rest()
    assert pod.knows(cookie)


def test_of_two_at_once_one_ends_well_and_the_other_too_or_gives_way(
    release: Release, pod: Pod
) -> None:
    cookie = pod.cookie()

    def outcome(together: threading.Barrier) -> str:
        together.wait(20)
        try:
            release.keep(*BOTH)
        except Conflict:
            return "gave way"
        return "done"

    with pod.in_use() as failures, ThreadPoolExecutor(2) as executor:
        for _ in range(2):
            outcomes = list(executor.map(outcome, [threading.Barrier(2)] * 2))
            assert "done" in outcomes
            release.assert_at_rest()
    assert failures == []
    assert pod.knows(cookie)


def test_one_that_waits_gives_way_as_soon_as_another_one_went_on(
    release: Release, pod: Pod, effects: Effects
) -> None:
    effects.once("before look", lambda: release.keep(SESSION))
    with pytest.raises(Conflict, match="was changed by somebody else"):
        release.keep(*BOTH, wait_seconds=60)  # the other one's run is a part of it
    release.assert_at_rest()


def test_a_wrong_password_by_hand_is_replaced_and_the_last_good_one_stays_until_then(
    release: Release, pod: Pod, log: Log
) -> None:
    old = release.login
    with pod.in_use() as failures:
        release.write(WRONG)
        cookie = pod.cookie()
        log.steps()
        release.keep()
        assert log.steps() == DATABASE_ONLY
    assert failures == []
    release.assert_at_rest()
    assert release.login.user != old.user
    assert not release.accepts(old)
    assert pod.knows(cookie)


@pytest.mark.parametrize("step", [ANNOUNCED, PROMOTED])
def test_a_wrong_password_by_hand_in_the_middle_of_a_rotation(
    release: Release, pod: Pod, effects: Effects, step: str
) -> None:
    cookie = pod.cookie()

    def edit() -> None:
        if release.state.step == step:
            # a request would leave the look to another one that is at it
            assert pod.app.extensions["secrets"].refresh().generation == release.state.generation
            assert pod.knows(cookie)
            release.write(WRONG)
        else:
            effects.once("after patch", edit)

    with pod.in_use() as failures:
        effects.once("after patch", edit)
        # the pods can't take what is promoted after it; what follows takes nothing from them
        with pytest.raises(PodsBehind) if step == ANNOUNCED else nullcontext():
            release.keep(*BOTH, wait_seconds=0.5)
        assert pod.knows(cookie)
        release.keep()
    assert failures == []
    release.assert_at_rest()
    assert pod.knows(cookie)


def test_a_wrong_password_by_hand_takes_nothing_from_pods_that_are_on_the_old_role(
    release: Release, pod: Pod, effects: Effects
) -> None:
    effects.once("after patch", kill)
    with pytest.raises(Killed):
        release.keep(DATABASE)
    assert release.state.step == ANNOUNCED
    announced = release.login
    release.write(WRONG)  # before the pod looked: it never had what was announced
    with pod.in_use() as failures:
        release.keep()
    assert failures == []
    assert release.login.user == announced.user
    release.assert_at_rest()


@pytest.mark.parametrize("by_hand", [{}, WRONG])
def test_the_time_of_an_old_key_begins_when_every_pod_signs_with_the_new_one(
    release: Release, pod: Pod, effects: Effects, by_hand: dict[str, str]
) -> None:
    release.keep_until_promoted(effects)
    release.write(by_hand, {"fallbacks": "1700000000"})  # as if a pod had been behind for long
    release.keep()
    release.assert_at_rest()
    (old,) = release.state.rings["SECRET_KEY"].fallbacks
    assert old.since
    assert old.since > time.time() - 60


def test_a_wrong_password_that_comes_while_the_pods_are_awaited_is_a_conflict(
    release: Release, pod: Pod, effects: Effects
) -> None:
    cookie = pod.cookie()

    def edit() -> None:
        assert pod.knows(cookie)
        release.write(WRONG)

    effects.once("before look", edit)
    with pytest.raises(Conflict, match="was changed by somebody else"):
        release.keep(*BOTH)
    assert pod.knows(cookie)
    release.keep()
    release.assert_at_rest()
    assert pod.knows(cookie)


def test_the_old_pair_that_somebody_writes_back_during_the_grace_is_not_locked(
    release: Release, pod: Pod, effects: Effects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rotation, "GRACE_SECONDS", 0.2)
    old = release.login
    pair = {"DATABASE_USERNAME": old.user, "DATABASE_PASSWORD": old.password.reveal()}
    cookie = pod.cookie()

    def write_back() -> None:
        release.write(pair)
        assert pod.knows(cookie)

    effects.once("before sessions", write_back)
    with pytest.raises(Conflict):
        release.keep(*BOTH)
    assert release.accepts(old)
    assert pod.knows(cookie)
    release.keep()
    release.assert_at_rest()
    assert release.login.user == old.user
    assert pod.knows(cookie)


def test_the_old_pair_under_the_same_number_is_not_taken_for_seen(
    release: Release, effects: Effects, tmp_path: Path
) -> None:
    """A pod that is behind is still on the new pair, which must not be locked."""
    old = release.login
    pod = release.start()
    cookie = pod.cookie()
    release.keep_until_promoted(effects)
    assert pod.knows(cookie)
    (tmp_path / "late").mkdir()
    shutil.copytree(release.database.root / "secrets", tmp_path / "late" / "secrets", symlinks=True)
    late = release.start(SECOND, tmp_path / "late")
    pair = {"DATABASE_USERNAME": old.user, "DATABASE_PASSWORD": old.password.reveal()}
    release.write(pair)
    with pytest.raises(PodsBehind):
        release.keep(wait_seconds=0.2)
    assert late.knows(cookie)
    shutil.rmtree(tmp_path / "late" / "secrets")
    (tmp_path / "late" / "secrets").symlink_to(release.database.root / "secrets")
    release.keep()
    release.assert_at_rest()
    assert release.login.user == old.user
    assert all(one.knows(cookie) for one in (pod, late))


def test_a_key_that_somebody_dropped_before_it_signed_is_made_anew(
    release: Release, pod: Pod, effects: Effects, log: Log
) -> None:
    before = release.stored.text("SECRET_KEY")
    effects.once("before look", kill)
    with pytest.raises(Killed):
        release.keep(SESSION)
    release.write({"SECRET_KEY_FALLBACKS": ""})
    log.steps()
    release.keep()
    assert log.steps() == ["announced again", "seen", "promoted", "seen", "rotated"]
    release.assert_at_rest()
    assert release.stored.text("SECRET_KEY") != before


@pytest.mark.parametrize(
    "by_hand", [{"SECRET_KEY_FALLBACKS": ""}, {"GENERATION": "yesterday"}, {"GENERATION": "9" * 13}]
)
def test_what_somebody_wrote_into_an_unfinished_rotation_does_not_hold_it_up(
    release: Release, pod: Pod, effects: Effects, by_hand: dict[str, str]
) -> None:
    release.keep_until_promoted(effects)
    release.write(by_hand)
    release.keep()
    release.assert_at_rest()
    pod.cookie()


@pytest.mark.parametrize("parts", [(), BOTH])
def test_a_pair_that_somebody_emptied_is_made_anew_beside_the_one_in_use(
    release: Release, pod: Pod, log: Log, parts: tuple[str, ...]
) -> None:
    cookie = pod.cookie()
    release.write({"DATABASE_USERNAME": "", "DATABASE_PASSWORD": ""})
    log.steps()
    with pod.in_use() as failures:
        release.keep(*parts)
    assert failures == []
    # seen by every pod, and the one before locked, before that one gets another password
    again = ["secrets filled", "announced again", "seen", "revoked", "rotated"]
    assert log.steps()[:5] == again
    assert pod.knows(cookie)
    release.keep()
    release.assert_at_rest()


def test_a_session_that_is_left_is_ended_after_the_grace_and_told(
    release: Release,
    pod: Pod,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rotation, "GRACE_SECONDS", 0.3)
    old = release.login
    with closing(psycopg.connect(**release.psql(old), application_name="psql")) as left:
        release.keep(DATABASE)
        with pytest.raises(psycopg.OperationalError):
            left.execute("SELECT 1")
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert f"ended a session of {old.user} that was left: psql from local" in told
    (taken,) = [
        vars(record)["seconds"]
        for record in caplog.records
        if vars(record).get("step") == "revoked"
    ]
    assert taken >= 0.3
    release.assert_at_rest()


def test_a_session_that_ends_in_time_is_waited_for(
    release: Release, pod: Pod, effects: Effects, caplog: pytest.LogCaptureFixture
) -> None:
    left = psycopg.connect(**release.psql(release.login))
    effects.once("before sessions", lambda: effects.once("before sessions", left.close))
    release.keep(DATABASE)
    assert left.closed
    assert "that was left" not in caplog.text
    release.assert_at_rest()


def test_a_role_that_is_still_let_in_is_an_error_and_not_revoked(
    release: Release,
    pod: Pod,
    log: Log,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old = release.login
    set_password = Administration._set_password
    with monkeypatch.context() as patched:
        patched.setattr(
            Administration,
            "_set_password",
            lambda self, login, right: set_password(self, login, "LOGIN"),
        )
        log.steps()
        with pytest.raises(StillLetIn, match=f"still lets {old.user} in"):
            release.keep(DATABASE)
    assert log.steps() == ["prepared", "announced", "seen"]
    assert release.state.step == ANNOUNCED
    release.keep()
    assert log.steps() == ["seen", "revoked", "rotated"]
    release.assert_at_rest()


@pytest.mark.parametrize(
    "point",
    ["before prepare", "after _set_password", "before _end_sessions", "before _execute"],
)
def test_waits_for_a_database_that_goes_away_between_two_steps(
    database: Database,
    release: Release,
    pod: Pod,
    effects: Effects,
    monkeypatch: pytest.MonkeyPatch,
    point: str,
) -> None:
    cookie = pod.cookie()
    old = release.login
    refused = itertools.count(1)
    connect = Server.connect

    def go_away() -> None:
        database.execute("ALTER DATABASE shop ALLOW_CONNECTIONS false")
        database.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'shop'"
        )

    def connect_or_come_back(server: Server, login: Login, name: str = "") -> psycopg.Connection:
        try:
            return connect(server, login, name)
        except psycopg.OperationalError as error:
            if "not currently accepting connections" in str(error) and next(refused) == 3:
                database.execute("ALTER DATABASE shop ALLOW_CONNECTIONS true")
            raise

    monkeypatch.setattr(Server, "connect", connect_or_come_back)
    effects.once(point, go_away)
    release.keep(*BOTH)
    assert next(refused) > 3
    release.assert_at_rest()
    assert not release.accepts(old)
    assert pod.knows(cookie)


@contextmanager
def clock_ahead(seconds: float) -> Iterator[None]:
    """Let the keeper's clock be ahead."""
    now = time.time
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(time, "time", lambda: now() + seconds)
        yield


def assert_of_now(release: Release) -> None:
    """Every time that the keeper stored is about now."""
    state = release.state
    since = [one.since or 0 for ring in state.rings.values() for one in ring.fallbacks]
    noted = [int(text) for text in release.stored.notes["fallbacks"].split(",") if text]
    for when in (state.generation, *state.made.values(), *since, *noted):
        assert abs(when - time.time()) < 60


YEARS = 20 * 365 * 86400


def test_after_a_run_whose_clock_was_ahead_everything_is_rotated_at_once(
    release: Release, pod: Pod, log: Log
) -> None:
    first = release.login
    with clock_ahead(YEARS):
        release.keep()
    early = release.stored
    assert State.of(early).generation > time.time() + YEARS - 60
    assert log.steps()[-len(STEPS) :] == STEPS
    old, cookie = release.login, pod.cookie()
    with pod.in_use() as failures:
        release.keep()
    assert failures == []
    warned = [one for one in log.warnings() if "times in the future" in one]
    assert len(warned) == 1
    for name in ("GENERATION", "database-made", "fallbacks", "session-made"):
        assert name in warned[0]
    assert log.steps() == STEPS
    release.assert_at_rest()
    assert_of_now(release)
    assert release.login.user == first.user
    assert not release.accepts(old)
    assert pod.knows(cookie)
    assert release.stored.text("SECRET_KEY") != early.text("SECRET_KEY")
    told = [(event, generation) for event, generation, *_ in release.told()]
    assert [event for event, _ in told] == ["announced", "promoted", "revoked", "rotated"] * 2
    release.keep()
    assert log.steps() == []
    release.keep(session_lifetime=-1)
    assert release.stored.text("SECRET_KEY_FALLBACKS") == ""


@pytest.mark.parametrize("number", range(1, 6))
def test_a_rotation_that_began_with_the_clock_ahead_is_finished_with_the_time(
    release: Release, pod: Pod, effects: Effects, number: int
) -> None:
    cookie = pod.cookie()
    effects.kill_after(number, {"after patch", "after _set_password"})
    with clock_ahead(YEARS), pytest.raises(Killed):
        release.keep()
    release.keep()
    release.assert_at_rest()
    assert_of_now(release)
    assert pod.knows(cookie)


@pytest.mark.parametrize(
    ("notes", "values", "expected"),
    [
        (["session-made"], [], SESSION_ONLY),
        (["database-made"], [], DATABASE_ONLY),
        ([], ["GENERATION"], STEPS),
        (["fallbacks"], [], []),
    ],
)
def test_a_time_of_the_future_is_wrong_wherever_it_stands(
    release: Release,
    pod: Pod,
    log: Log,
    notes: list[str],
    values: list[str],
    expected: list[str],
) -> None:
    ahead = str(int(time.time()) + 400)
    # pragma: allowlist nextline secret
    old = {"SECRET_KEY_FALLBACKS": "an-old-key-of-32-bytes-5d0b7c1f9ae2483602"}
    release.write(old, {"fallbacks": "1700000000"})
    release.keep(session_lifetime=10**9)
    log.steps()
    release.write(dict.fromkeys(values, ahead), dict.fromkeys(notes, ahead))
    release.keep(session_lifetime=10**9)
    assert log.steps() == expected
    release.assert_at_rest()
    assert (
        "fallbacks" not in notes or abs(int(release.stored.notes["fallbacks"]) - time.time()) < 60
    )
    version = release.stored.version
    release.keep(session_lifetime=10**9)
    assert release.stored.version == version


def test_a_clock_that_is_ahead_by_less_than_the_tolerance_is_right(
    release: Release, pod: Pod, log: Log
) -> None:
    with clock_ahead(290):
        release.keep(*BOTH)
    log.steps()
    version = release.stored.version
    release.keep()
    assert (log.warnings(), log.steps()) == ([], [])
    assert release.stored.version == version


def test_a_rotation_needs_two_connections_at_once(
    release: Release, pod: Pod, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[psycopg.Connection] = []
    most = 0
    connect = Server.connect

    def count(server: Server, login: Login, name: str = "") -> psycopg.Connection:
        nonlocal most
        opened.append(connect(server, login, name))
        most = max(most, sum(not one.closed for one in opened))
        return opened[-1]

    monkeypatch.setattr(Server, "connect", count)
    release.keep(*BOTH)
    assert len(opened) > 10
    assert most == 2
    assert all(one.closed for one in opened)


def test_no_value_reaches_the_log_of_a_rotation(
    release: Release, pod: Pod, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    values = list(release.stored.confidential())
    release.keep(*BOTH)
    values += release.stored.confidential()
    assert not [one.name for one in values if one.reveal() and one.reveal() in caplog.text]
