"""What pods and the keeper tell each other through the database, and what a pod knows alone."""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Self

import pytest
import sqlalchemy
from flask import Flask
from sqlalchemy import Connection, Engine

from app.core import events as journal_module
from app.core.events import Event, Journal, View
from app.settings import Settings
from secret_files import SecretStore
from tests.conftest import Database
from tests.rotation import Rotation

Start = Callable[..., Flask]


@pytest.fixture
def pod(
    settings: Settings,
    start: Callable[[Settings], Flask],
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> Start:
    """Return a function that starts a pod of that name, with a mounted folder.

    Nobody has told anything before.
    """
    database.execute("TRUNCATE secret_events, secret_pods")

    def pod(name: str, folder: Path, **changes: object) -> Flask:
        monkeypatch.setattr(socket, "gethostname", lambda: name)
        return start(replace(settings, secrets_dir=folder, **changes))  # type: ignore[arg-type]

    return pod


def journal(app: Flask) -> Journal:
    found: Journal = app.extensions["journal"]
    return found


def look(app: Flask) -> View:
    """Look now, when everything is written, and not at what was seen half a second ago."""
    return look_at(journal(app))


def look_at(found: Journal) -> View:
    found._view_until = 0
    return found.look()


def settle(app: Flask) -> None:
    """Wait until what was begun to be written is written."""
    journal(app)._writer.submit(lambda: None).result()


def told(view: View) -> list[tuple[str, str]]:
    """Return who told what, the oldest first."""
    return [(event.origin, event.event) for event in reversed(view.events)]


def test_each_pod_shows_what_all_have_told(pod: Start, rotation: Rotation) -> None:
    first, second = (pod(name, rotation.mount.folder) for name in ("first", "second"))
    look(first)
    rotation.rotate()
    for app in (first, second):
        generation = app.extensions["secrets"].refresh().generation
        settle(app)
    view = look(first)
    assert view.events == look(second).events
    assert told(view)[0] == ("first", "started")
    assert {pod.name: pod.generation for pod in view.pods}["second"] == generation
    (adopted,) = (one for one in view.events if (one.origin, one.event) == ("second", "adopted"))
    assert (adopted.generation, adopted.role) == (generation, rotation.role())
    assert sorted(adopted.changed) == ["DATABASE_PASSWORD", "DATABASE_USERNAME"]
    assert view.changed["DATABASE_PASSWORD"] == generation


def test_what_did_not_change_is_not_told(
    pod: Start, rotation: Rotation, database: Database, wait_for: Callable[..., None]
) -> None:
    """Nor is what the keeper has published, and no pod has adopted."""
    app = pod("one", rotation.mount.folder)
    database.execute(
        "INSERT INTO secret_events (origin, event, generation, changed) "
        "VALUES ('keeper', 'announced', 1900000000, '{SECRET_KEY,DATABASE_PASSWORD}')"
    )
    rotation.mount.write({"SECRET_KEY": secrets.token_urlsafe(48), "GENERATION": "1800000000"})
    app.extensions["secrets"].refresh()
    wait_for(lambda: ("one", "adopted") in told(look(app)), "what it adopted")
    assert look(app).changed == {"SECRET_KEY": 1_800_000_000}
    rotation.mount.write({})
    app.extensions["secrets"].refresh()
    settle(app)
    assert told(look(app)).count(("one", "adopted")) == 1


def test_a_refused_generation_is_told_once_and_shown_while_it_is(
    pod: Start, rotation: Rotation, wait_for: Callable[..., None]
) -> None:
    app = pod("one", rotation.mount.folder)
    store: SecretStore = app.extensions["secrets"]
    good = store.current()["DATABASE_PASSWORD"].reveal()
    for wrong in ("wrong-1-6b1f0c9d", "wrong-2-6b1f0c9d"):
        rotation.mount.write({"DATABASE_PASSWORD": wrong})
        store.refresh()
    wait_for(lambda: ("one", "rejected") in told(look(app)), "what it rejected")
    view = look(app)
    assert told(view).count(("one", "rejected")) == 1
    assert (
        view.pods[0].refused
        == "DATABASE_PASSWORD can't be used, the database refuses the user name or the password"
    )
    assert view.events[0].detail == view.pods[0].refused
    assert "wrong-" not in repr(view)
    rotation.mount.write({"DATABASE_PASSWORD": good})
    store.refresh()
    assert look(app).pods[0].refused == ""


def test_alone_a_pod_shows_itself_and_tells_the_rest_later(
    pod: Start, rotation: Rotation, database: Database, wait_for: Callable[..., None]
) -> None:
    app = pod("one", rotation.mount.folder)
    look(app)
    rotation.rotate()
    database.execute("ALTER TABLE secret_events RENAME TO elsewhere")
    try:
        app.extensions["secrets"].refresh()
        wait_for(lambda: look(app).read_at is None, "that it is alone")
        view = look(app)
        assert told(view) == [("one", "started"), ("one", "adopted")]
        assert [pod.name for pod in view.pods] == ["one"]
    finally:
        database.execute("ALTER TABLE elsewhere RENAME TO secret_events")
    before = view.events[0].happened_at
    view = look(app)
    assert view.read_at
    assert told(view) == [
        ("one", "started"),
        ("keeper", "announced"),
        ("keeper", "stopped"),
        ("one", "adopted"),
    ]
    assert abs(view.events[0].happened_at - before) < timedelta(seconds=1)


def test_a_database_that_is_away_leaves_the_pod_alone(
    pod: Start, rotation: Rotation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    app = pod("one", rotation.mount.folder, database_host=str(tmp_path))
    for _ in range(3):
        view = look(app)
        assert view.read_at is None
        assert told(view) == [("one", "started")]
    assert capsys.readouterr().err.count("the page shows this pod alone") == 1


def test_who_has_not_answered_lately_is_not_shown(
    pod: Start, rotation: Rotation, database: Database
) -> None:
    app = pod("one", rotation.mount.folder)
    look(app)
    for seconds, name in ((40, "here"), (80, "gone")):
        database.execute(
            "INSERT INTO secret_pods SELECT (p).* FROM (SELECT jsonb_populate_record(p, jsonb_build"
            f"_object('name', '{name}', 'answered_at', now() - interval '{seconds} s')) AS p "
            "FROM secret_pods AS p WHERE name = 'one') AS one"
        )
    assert [pod.name for pod in look(app).pods] == ["here", "one"]


def test_the_last_events_are_shown_and_the_keepers_among_more(
    pod: Start, rotation: Rotation, database: Database
) -> None:
    app = pod("one", rotation.mount.folder)
    database.execute(
        "INSERT INTO secret_events (origin, event, happened_at) "
        "SELECT 'keeper', 'announced', now() - interval '1 hour' UNION ALL "
        "SELECT 'other', 'adopted', now() - interval '1 minute' FROM generate_series(1, 60)"
    )
    view = look(app)
    assert len(view.events) == 50
    assert view.events[0].event == "started"
    assert [event.event for event in view.by_keeper] == ["announced"]


def test_no_value_is_written(
    pod: Start, rotation: Rotation, database: Database, wait_for: Callable[..., None]
) -> None:
    app = pod("one", rotation.mount.folder)
    values = [secret.reveal() for secret in app.extensions["secrets"].current().confidential()]
    rotation.rotate()
    snapshot = app.extensions["secrets"].refresh()
    values += [secret.reveal() for secret in snapshot.confidential()]
    wait_for(lambda: ("one", "adopted") in told(look(app)), "what it adopted")
    rows = [
        database.execute(f"SELECT * FROM {table}") for table in ("secret_events", "secret_pods")
    ]
    assert all(rows)
    assert len(values) >= 4
    assert not [value for value in values if value in repr(rows)]


def test_the_database_is_not_asked_for_each_who_looks(
    pod: Start, rotation: Rotation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "PAUSE", 60)
    app = pod("one", rotation.mount.folder)
    seen = {id(journal(app).look()) for _ in range(20)}
    assert len(seen) == 1
    assert id(look(app)) not in seen


def test_who_looks_while_another_one_asks_gets_what_it_learns(
    pod: Start, rotation: Rotation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "PATIENCE", 20)
    found = journal(pod("one", rotation.mount.folder))
    with ThreadPoolExecutor(1) as second, found._exchanging:
        seen = second.submit(found.look)
        assert not wait([seen], timeout=0.1).done
        found._exchange()
    assert seen.result() is found._view
    assert seen.result().read_at


def test_an_event_has_the_time_of_the_database(
    pod: Start, rotation: Rotation, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(datetime):
        """A clock that is an hour behind."""

        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) - timedelta(hours=1)

    monkeypatch.setattr(journal_module, "datetime", Slow)
    (event,) = look(pod("one", rotation.mount.folder)).events
    assert event.event == "started"
    assert abs(datetime.now(UTC) - event.happened_at) < timedelta(minutes=5)


@pytest.fixture
def slow_insert(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> Callable[[float], AbstractContextManager[None]]:
    """Return a context manager that waits for so many seconds before each row is written.

    As on a busy machine: the transaction's time is an old one when an event is written.
    """

    @contextmanager
    def slow(seconds: float) -> Iterator[None]:
        def pause(connection: Connection, cursor: object, statement: str, *rest: object) -> None:
            if statement.startswith("INSERT INTO secret_"):
                time.sleep(seconds)

        sqlalchemy.event.listen(Engine, "before_cursor_execute", pause)
        try:
            yield
        finally:
            sqlalchemy.event.remove(Engine, "before_cursor_execute", pause)

    return slow


SlowInsert = Callable[[float], AbstractContextManager[None]]


def test_events_of_one_transaction_keep_their_order_however_long_each_takes(
    pod: Start, rotation: Rotation, slow_insert: SlowInsert
) -> None:
    found = journal(pod("one", rotation.mount.folder))
    begun = time.monotonic()
    for number in range(3):
        found._note(Event("one", "adopted", number))
    taken = timedelta(seconds=time.monotonic() - begun)
    with slow_insert(0.1):
        found._exchange()
    shown = found.look().events[::-1]
    assert [event.generation for event in shown[1:]] == [0, 1, 2]
    times = [event.happened_at for event in shown]
    assert times == sorted(set(times))
    assert times[-1] - times[1] <= taken + timedelta(microseconds=3)


def test_events_of_two_transactions_keep_their_order_if_the_second_one_is_slow(
    pod: Start, rotation: Rotation, slow_insert: SlowInsert
) -> None:
    found = journal(pod("one", rotation.mount.folder))
    found._exchange()
    found._note(Event("one", "adopted", 1))
    found._exchange()
    found._note(Event("one", "adopted", 2))
    with slow_insert(0.5):
        found._exchange()
    assert [event.generation for event in found.look().events[:2]] == [2, 1]


def test_an_event_that_the_clocks_put_before_an_older_one_comes_after_it(
    pod: Start, rotation: Rotation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database's clock is set back, or a comparison of the clocks takes long."""
    found = journal(pod("one", rotation.mount.folder))
    found._exchange()
    compare = journal_module._compare_clocks

    def behind(connection: Connection) -> Callable[[float], datetime]:
        to_database_time = compare(connection)
        return lambda at: to_database_time(at) - timedelta(hours=1)

    monkeypatch.setattr(journal_module, "_compare_clocks", behind)
    found._note(Event("one", "adopted", 1))
    assert told(look_at(found)) == [("one", "started"), ("one", "adopted")]


def test_an_event_of_this_pod_is_shown_at_once(
    pod: Start, rotation: Rotation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also within the time in which the database is not asked again."""
    monkeypatch.setattr(journal_module, "PAUSE", 60)
    found = journal(pod("one", rotation.mount.folder))
    before = found.look()
    found._note(Event("one", "adopted", 1))
    assert told(found.look()) == [*told(before), ("one", "adopted")]


def test_an_event_does_not_make_a_database_that_is_away_be_asked_more_often(
    pod: Start, rotation: Rotation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "PAUSE", 60)
    found = journal(pod("one", rotation.mount.folder, database_host=str(tmp_path)))
    found.look()
    found._note(Event("one", "adopted", 1))
    assert not found._is_due()
    assert told(found._alone()) == [("one", "started"), ("one", "adopted")]


def test_a_pod_that_has_ended_is_not_shown(pod: Start, rotation: Rotation) -> None:
    first, second = (pod(name, rotation.mount.folder) for name in ("first", "second"))
    assert [one.name for one in (look(first), look(second))[1].pods] == ["first", "second"]
    journal(first).close()
    assert [one.name for one in look(second).pods] == ["second"]


def test_what_is_old_is_not_shown_while_the_database_hangs(
    pod: Start, rotation: Rotation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One who asks it holds on; the others would see how it was for as long."""
    found = journal(pod("one", rotation.mount.folder))
    monkeypatch.setattr(journal_module, "PATIENCE", 0.01)
    assert found.look().read_at
    with found._exchanging:
        found._view_until = time.monotonic() - 1
        assert found.look().read_at
        found._view_until = time.monotonic() - 6
        assert found.look().read_at is None
