"""Sessions survive a rotation in steps and clocks that differ, and end with their key."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from http.cookies import SimpleCookie
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from itsdangerous import BadSignature, SignatureExpired, URLSafeTimedSerializer

from app.core.session import TimedSignatures
from app.settings import Settings
from keeper.folder_secrets import FolderSecrets
from secret_files import Secret
from tests import items
from tests.conftest import Database
from tests.items import visits
from tests.mount import SECRETS, Mount

FIRST = SECRETS["SECRET_KEY"]
SECOND = "the-second-key-9a0364b9e99bb480dd25e1f0284c8555"


FROM_FUTURE = "signatures_from_future_total"


@dataclass
class Clock:
    """The wall clock of whichever pod answers, as itsdangerous asks for it."""

    now: float = 1_800_000_000.0
    uptime: float = 1_000.0

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.uptime


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in ("itsdangerous.timed", "app.core.session"):
        monkeypatch.setattr(f"{module}.time", clock)
    return clock


@pytest.fixture
def app(
    settings: Settings, database: Database, start: Callable[[Settings], Flask], mount: Mount
) -> Flask:
    """Return a service whose session keys a test can change."""
    folder = database.root / "secrets" / "..data"
    pair = {name: (folder / name).read_text() for name in SECRETS if name.startswith("DATABASE")}
    mount.write(pair)
    return start(replace(settings, secrets_dir=mount.folder))


def signed_with(app: Flask, client: FlaskClient, key: str) -> bool:
    """Tell whether the browser's cookie is signed with that key alone."""
    interface = app.session_interface
    serializer = interface.get_signing_serializer(app)  # type: ignore[attr-defined]
    assert isinstance(serializer, URLSafeTimedSerializer)
    cookie = client.get_cookie("session")
    assert cookie
    alone = URLSafeTimedSerializer(
        key,
        salt=serializer.salt,
        serializer=serializer.serializer,
        signer=serializer.signer,
        signer_kwargs=serializer.signer_kwargs,
    )
    valid, _ = alone.loads_unsafe(cookie.value)
    return valid


def test_a_session_survives_each_step_of_a_rotation_and_ends_with_its_key(
    app: Flask, client: FlaskClient, mount: Mount
) -> None:
    assert visits(client) == 1
    assert signed_with(app, client, FIRST)
    mount.write({"SECRET_KEY_FALLBACKS": SECOND})  # announced: it verifies, and does not sign
    assert visits(client) == 2
    assert signed_with(app, client, FIRST)
    mount.write({"SECRET_KEY": SECOND, "SECRET_KEY_FALLBACKS": FIRST})  # promoted
    late = app.test_client()
    cookie = client.get_cookie("session")
    assert cookie
    late.set_cookie("session", cookie.value)
    assert visits(client) == 3
    assert signed_with(app, client, SECOND)
    assert not signed_with(app, client, FIRST)
    mount.write({"SECRET_KEY_FALLBACKS": ""})  # retired
    assert visits(client) == 4
    assert visits(late) == 1  # it did not come by in time


def test_the_configuration_never_holds_a_key(app: Flask, client: FlaskClient) -> None:
    assert visits(client) == 1
    assert app.secret_key is None
    assert not app.config["SECRET_KEY_FALLBACKS"]
    assert FIRST not in repr(app.config)


def test_an_answer_that_used_no_session_sets_no_cookie(client: FlaskClient) -> None:
    assert "Set-Cookie" not in client.get("/livez").headers
    assert "Vary" not in client.get("/livez").headers
    assert client.get(f"{items.PATH}/visits").headers["Vary"] == "Cookie"


def rejected(app: Flask) -> float | None:
    value: float | None = app.extensions["metrics"].registry.get_sample_value(FROM_FUTURE)
    return value


def visit_in_turn(
    clock: Clock, apps: list[Flask], ahead: float, times: int
) -> Iterator[tuple[int, int]]:
    """Visit two pods in turn with one cookie; the clock of the first one is ahead.

    :return: how often the browser was there, and how often the pods say that it was.
    """
    cookie = None
    start = clock.now
    for number in range(times):
        client = apps[number % 2].test_client()
        if cookie:
            client.set_cookie("session", cookie)
        # as soon as the other pod answered; over 100 visits the second changes
        clock.now = start + 0.011 * number + (ahead if number % 2 == 0 else 0)
        yield number + 1, visits(client)
        found = client.get_cookie("session")
        assert found
        cookie = found.value


@pytest.fixture
def two_pods(
    app: Flask, settings: Settings, mount: Mount, start: Callable[[Settings], Flask]
) -> list[Flask]:
    return [app, start(replace(settings, secrets_dir=mount.folder))]


@pytest.mark.parametrize("ahead", [0.1, 0.5, 2, 5])
def test_no_session_is_lost_between_pods_whose_clocks_differ(
    two_pods: list[Flask], clock: Clock, ahead: float
) -> None:
    for expected, counted in visit_in_turn(clock, two_pods, ahead, times=100):
        assert counted == expected
    assert [rejected(app) for app in two_pods] == [0, 0]


def test_a_larger_difference_is_counted_and_logged_once_a_minute(
    two_pods: list[Flask], clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    counted = [count for _, count in visit_in_turn(clock, two_pods, 7, times=20)]
    assert max(counted) < 3
    assert [rejected(app) for app in two_pods] == [0, 10]
    (line,) = (one for one in caplog.records if one.name == "app.core.session")
    assert re.search(r"dated [67] s in the future", line.getMessage())
    assert line.levelname == "WARNING"
    clock.uptime += 61
    list(visit_in_turn(clock, two_pods, 7, times=4))
    assert caplog.text.count("in the future") == 2


@pytest.mark.parametrize(("back", "expected"), [(0.1, 2), (5, 2), (6, 1), (3600, 1)])
def test_a_session_survives_a_clock_that_steps_back_by_five_seconds(
    app: Flask, client: FlaskClient, clock: Clock, back: float, expected: int
) -> None:
    assert visits(client) == 1
    clock.now -= back
    assert visits(client) == expected
    assert rejected(app) == (expected == 1)


def test_a_forged_signature_from_the_future_is_not_counted(
    app: Flask, client: FlaskClient, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Else anybody could fill the log."""
    clock.now += 60
    assert visits(client) == 1
    cookie = client.get_cookie("session")
    assert cookie
    clock.now -= 60
    client.set_cookie("session", cookie.value[:-3] + "xyz")
    assert visits(client) == 1
    assert rejected(app) == 0
    assert "in the future" not in caplog.text
    client.set_cookie("session", cookie.value)  # the control
    assert visits(client) == 1
    assert rejected(app) == 1


def test_a_session_still_expires(app: Flask, client: FlaskClient, clock: Clock) -> None:
    assert visits(client) == 1
    clock.now += app.permanent_session_lifetime.total_seconds()
    assert visits(client) == 2
    clock.now += app.permanent_session_lifetime.total_seconds() + 1
    assert visits(client) == 1
    assert rejected(app) == 0


def test_a_token_of_a_team_tolerates_the_same(clock: Clock) -> None:
    """As in docs/your-service.md; and itsdangerous' own signer does not."""
    counted: list[None] = []
    keys = [Secret("INVITE", SECOND), Secret("INVITE", FIRST)]
    signatures = TimedSignatures(lambda: counted.append(None))
    serializer = signatures.serializer(keys, salt="invites")
    usual = URLSafeTimedSerializer([FIRST, SECOND], salt="invites")
    token = serializer.dumps("ada")
    assert token == usual.dumps("ada")
    older = signatures.serializer(keys[1:], salt="invites").dumps("ada")
    clock.now -= 5
    for each in (token, older):
        assert serializer.loads(each, max_age=60) == "ada"
        with pytest.raises(SignatureExpired):
            usual.loads(each, max_age=60)
    clock.now -= 1
    for each in (token, older):
        with pytest.raises(SignatureExpired):
            serializer.loads(each, max_age=60)
    assert len(counted) == 2
    assert serializer.loads(token) == "ada"
    with pytest.raises(BadSignature):
        signatures.serializer(keys, salt="other").loads(token)
    clock.now += 6 + 61
    with pytest.raises(SignatureExpired):
        serializer.loads(token, max_age=60)
    assert len(counted) == 2


def test_a_forged_or_foreign_cookie_starts_again(client: FlaskClient) -> None:
    assert visits(client) == 1
    cookie = client.get_cookie("session")
    assert cookie
    client.set_cookie("session", cookie.value[:-3] + "xyz")
    assert visits(client) == 1


def test_a_coming_key_verifies_and_the_current_one_signs(
    settings: Settings,
    database: Database,
    start: Callable[[Settings], Flask],
    tmp_path: Path,
) -> None:
    """As in the announce step of a rotation: one pod signs with what another has announced."""
    coming = "the-coming-key-9a0364b9e99bb480dd25e1f0284c8555"
    source = FolderSecrets(database.root).get("secrets")
    values = {name: value.reveal() for name, value in source.data.items()}
    clients = {}
    for name, change in {
        "ahead": {"SECRET_KEY": coming},
        "announced": {"SECRET_KEY_FALLBACKS": coming},
        "behind": {},
    }.items():
        objects = FolderSecrets(tmp_path)
        objects.patch(objects.get(name), {**values, **change})
        clients[name] = start(replace(settings, secrets_dir=tmp_path / name)).test_client()
    assert visits(clients["ahead"]) == 1
    cookie = clients["ahead"].get_cookie("session")
    assert cookie
    for name, expected in (("announced", 2), ("behind", 1)):
        clients[name].set_cookie("session", cookie.value)
        assert visits(clients[name]) == expected
    cookie = clients["announced"].get_cookie("session")
    assert cookie
    clients["behind"].set_cookie("session", cookie.value)
    assert visits(clients["behind"]) == 3


@pytest.mark.parametrize("tls_dir", [None, Path("/etc/tls")])
def test_the_cookie_is_as_closed_as_it_can_be(
    settings: Settings, start: Callable[[Settings], Flask], tls_dir: Path | None
) -> None:
    client = start(replace(settings, tls_dir=tls_dir)).test_client()
    cookie = SimpleCookie(client.get(f"{items.PATH}/visits").headers["Set-Cookie"])["session"]
    assert cookie["httponly"] is True
    assert cookie["samesite"] == "Lax"
    assert bool(cookie["secure"]) is bool(tls_dir)
    assert cookie["domain"] == ""
    lifetime = parsedate_to_datetime(cookie["expires"]).timestamp() - time.time()
    assert abs(lifetime - settings.session_lifetime_seconds) < 60
