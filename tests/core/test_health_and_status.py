"""The probes, and what /status and /metrics tell: never a value."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client import generate_latest
from prometheus_client.samples import Sample

from app.core import logs
from app.core.connection import LimitedConnection
from app.core.events import Journal
from app.secret_keys import KEYS
from app.settings import Settings
from secret_files import Folder, SecretStore
from tests import items
from tests.conftest import Database
from tests.rotation import ROLES, Rotation

#: A password that nobody has.
WRONG = "wrong-pw-0c4f1b7be2a94f61"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Write no journal behind a test's back: its thread would look for a newer generation, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Journal, "_write", lambda journal: None)
        yield


def test_ready_when_the_database_was_reached(client: FlaskClient) -> None:
    assert client.get("/livez").status_code == 200
    assert client.get("/readyz").status_code == 200


def test_alive_but_not_ready_without_a_database(unreachable: FlaskClient) -> None:
    assert unreachable.get("/livez").status_code == 200
    assert unreachable.get("/readyz").status_code == 503


def test_stays_ready_when_the_database_goes_away(
    app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client.get("/readyz").status_code == 200
    monkeypatch.setattr(app.extensions["database"], "engine", None)
    assert client.get("/readyz").status_code == 200


def test_status_names_the_secrets_and_shows_none(client: FlaskClient, settings: Settings) -> None:
    status = client.get("/status")
    told = status.get_json()
    names = [key.name for key in KEYS if key.name != "SECRET_KEY_FALLBACKS"]  # which is empty
    assert told["secrets"]["names"] == names
    assert told["database"] == {"role": "flask_app_a", "reached": True}
    snapshot = Folder(settings.secrets_dir, KEYS).read()
    assert snapshot.generation
    assert told["secrets"]["generation"] == snapshot.generation
    for secret in snapshot.confidential():
        assert secret.reveal() not in status.text


def scrape(app: Flask) -> str:
    return generate_latest(app.extensions["metrics"].registry).decode()


def test_metrics_count_requests_by_route_not_by_path(app: Flask, client: FlaskClient) -> None:
    client.get("/livez")
    client.delete(f"{items.PATH}/12345")
    client.get("/anything-at-all")
    client.open("/livez", method="FORGED")
    scraped = scrape(app)
    assert 'http_requests_total{method="GET",route="/livez",status="200"} 1.0' in scraped
    route = f"{items.PATH}/<int:item_id>"
    assert f'method="DELETE",route="{route}",status="404"}} 1.0' in scraped
    assert 'http_requests_total{method="GET",route="none",status="404"} 1.0' in scraped
    assert "anything" not in scraped
    assert "FORGED" not in scraped
    assert 'http_request_duration_seconds_count{method="GET",route="/livez"} 1.0' in scraped


def test_metrics_show_the_generation(app: Flask) -> None:
    store: SecretStore = app.extensions["secrets"]
    generation = store.current().generation
    assert generation
    registry = app.extensions["metrics"].registry
    assert registry.get_sample_value("secrets_generation") == generation


def test_metrics_count_what_becomes_of_new_generations(
    settings: Settings, start: Callable[[Settings], Flask], rotation: Rotation
) -> None:
    app = start(replace(settings, secrets_dir=rotation.mount.folder))
    registry = app.extensions["metrics"].registry

    def reloads() -> list[float | None]:
        return [
            registry.get_sample_value("secrets_reloads_total", {"result": result})
            for result in ("adopted", "rejected")
        ]

    assert reloads() == [0, 0]
    rotation.rotate()
    generation = registry.get_sample_value("secrets_generation")  # a scrape looks, too
    assert generation == int((rotation.mount.folder / "GENERATION").read_text())
    assert reloads() == [1, 0]
    rotation.mount.write({"SECRET_KEY": "short"})
    assert registry.get_sample_value("secrets_generation") == generation
    assert reloads() == [1, 1]


class Follower:
    """A service on a folder of its own, and what it tells of it."""

    def __init__(self, app: Flask) -> None:
        self.client = app.test_client()
        self._store: SecretStore = app.extensions["secrets"]
        self._registry = app.extensions["metrics"].registry

    def has_refused(self) -> bool:
        """Tell whether /status has something that is refused."""
        return bool(self.client.get("/status").get_json()["secrets"]["refused"])

    def refused(self) -> Any:
        """Return what /status tells is refused, once the metrics and the requests agree."""
        (sample,) = self._ask_for("secrets_refused")
        assert self.client.post(items.PATH, json={"text": "it goes on"}).status_code == 201
        status = self.client.get("/status")
        known = [secret.reveal() for secret in self._store.current().confidential()]
        for value in (*known, WRONG):
            assert value not in status.text
        refused = status.get_json()["secrets"]["refused"]
        assert sample.value == bool(refused)
        if refused:
            since = datetime.fromisoformat(refused.pop("since"))
            assert abs(time.time() - since.timestamp()) < 60
        return refused

    def roles(self) -> dict[str, float]:
        """Return each role that the metrics tell."""
        return {
            sample.labels["role"]: sample.value for sample in self._ask_for("database_role_info")
        }

    def _ask_for(self, name: str) -> list[Sample]:
        """Scrape this alone: no other metric has looked for a newer generation before."""
        (metric,) = self._registry.restricted_registry([name]).collect()
        return list(metric.samples)


@pytest.fixture
def follow(
    settings: Settings, start: Callable[[Settings], Flask], rotation: Rotation
) -> Callable[[Path], Follower]:
    """Return a function that starts a service on a folder."""
    return lambda folder: Follower(start(replace(settings, secrets_dir=folder)))


@pytest.mark.parametrize("fault", [None, b""], ids=["missing", "empty"])
def test_a_file_that_goes_is_told_until_it_is_back_and_the_last_good_one_serves(
    follow: Callable[[Path], Follower], rotation: Rotation, fault: bytes | None
) -> None:
    mount = rotation.mount
    service = follow(mount.folder)
    assert service.refused() is None
    password = (mount.folder / "DATABASE_PASSWORD").read_text()
    mount.write({"GENERATION": "1700000500"})
    mount.tamper("DATABASE_PASSWORD", fault)
    reason = "is missing" if fault is None else "is empty"
    assert service.refused() == {"key": "DATABASE_PASSWORD", "reason": reason}
    mount.write({"DATABASE_PASSWORD": password})
    assert service.refused() is None


@pytest.mark.parametrize("fault", [None, b""], ids=["missing", "empty"])
def test_the_same_is_told_of_plain_files(
    follow: Callable[[Path], Follower],
    rotation: Rotation,
    wait_for: Callable[..., None],
    tmp_path: Path,
    fault: bytes | None,
) -> None:
    plain = tmp_path / "plain"
    shutil.copytree(rotation.mount.folder / "..data", plain)
    service = follow(plain)
    assert service.refused() is None
    file = plain / "DATABASE_PASSWORD"
    password = file.read_bytes()
    file.unlink()
    if fault is not None:
        file.write_bytes(fault)
        file.chmod(0o400)
    wait_for(service.has_refused, "the refusal")
    reason = "is missing" if fault is None else "is empty"
    assert service.refused() == {"key": "DATABASE_PASSWORD", "reason": reason}
    file.unlink(missing_ok=True)
    file.write_bytes(password)
    file.chmod(0o400)
    wait_for(lambda: not service.has_refused(), "the end of the refusal")
    assert service.refused() is None


def test_a_pair_that_the_database_refuses_is_told_without_what_it_said(
    follow: Callable[[Path], Follower], rotation: Rotation
) -> None:
    service = follow(rotation.mount.folder)
    rotation.rotate()
    good = (rotation.mount.folder / "DATABASE_PASSWORD").read_text()
    rotation.mount.write({"DATABASE_PASSWORD": WRONG})
    assert service.refused() == {
        "key": "DATABASE_PASSWORD",
        "reason": "can't be used, the database refuses the user name or the password",
    }
    rotation.mount.write({"DATABASE_PASSWORD": good})
    assert service.refused() is None


def test_metrics_tell_the_role_of_new_connections_and_no_other(
    follow: Callable[[Path], Follower], rotation: Rotation
) -> None:
    service = follow(rotation.mount.folder)
    seen = [service.roles()]
    for _ in range(2):
        rotation.rotate()
        seen.append(service.roles())  # a scrape looks, too
    rotation.mount.write({"DATABASE_USERNAME": "somebody", "DATABASE_PASSWORD": WRONG})
    seen.append(service.roles())
    assert seen == [{ROLES[turn % 2]: 1} for turn in (0, 1, 2, 2)]


def test_the_values_of_every_generation_are_redacted_the_refused_ones_too(
    settings: Settings, start: Callable[[Settings], Flask], rotation: Rotation
) -> None:
    app = start(replace(settings, secrets_dir=rotation.mount.folder))
    store: SecretStore = app.extensions["secrets"]
    known: list[str] = []
    for _ in range(3):
        known.append(store.refresh()["DATABASE_PASSWORD"].reveal())
        rotation.rotate()
    refused = "a-password-that-is-refused-88f1"
    rotation.mount.write({"DATABASE_PASSWORD": refused})
    store.refresh()
    assert len(set(known)) == 3
    for value in [*known, refused]:
        assert logs.redactor.redact(value) == "[redacted]"


def test_a_value_is_redacted_before_anybody_tries_it(
    settings: Settings,
    start: Callable[[Settings], Flask],
    rotation: Rotation,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = start(replace(settings, secrets_dir=rotation.mount.folder))
    store: SecretStore = app.extensions["secrets"]
    refused = "a-password-that-is-tried-93b2"
    written: list[str] = []

    def connect(*arguments: object, password: str, **options: object) -> None:
        written.append(logs.redactor.redact(password))
        raise psycopg.OperationalError

    monkeypatch.setattr(LimitedConnection, "connect", connect)
    rotation.mount.write({"DATABASE_PASSWORD": refused})
    store.refresh()
    assert set(written) == {"[redacted]"}


def test_metrics_count_failed_logins(unreachable: FlaskClient) -> None:
    unreachable.get("/readyz")
    metrics = unreachable.application.extensions["metrics"]
    assert metrics.registry.get_sample_value("database_login_failures_total") == 1


def test_metrics_hold_no_secret(app: Flask, client: FlaskClient, database: Database) -> None:
    client.get("/")
    scraped = scrape(app)
    for secret in Folder(database.root / "secrets", KEYS).read().confidential():
        assert secret.reveal() not in scraped
