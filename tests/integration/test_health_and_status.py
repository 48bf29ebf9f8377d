"""The probes, and what /status and /metrics tell: never a value."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client import generate_latest

from app import KEYS, logs
from app.secret_files import Folder, SecretStore
from app.settings import Settings
from tests.integration.conftest import Database
from tests.integration.rotation import Rotation


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
    assert told["secrets"]["names"] == [
        "SECRET_KEY",
        "DATABASE_USERNAME",
        "DATABASE_PASSWORD",
        "GENERATION",
    ]
    assert abs(told["secrets"]["generation"] - time.time()) < 600
    assert told["database"] == {"role": "flask_app_a", "reached": True}
    snapshot = Folder(settings.secrets_dir, KEYS).read()
    for secret in snapshot.confidential():
        assert secret.reveal() not in status.text


def scrape(app: Flask) -> str:
    return generate_latest(app.extensions["metrics"].registry).decode()


def test_metrics_count_requests_by_route_not_by_path(app: Flask, client: FlaskClient) -> None:
    client.get("/livez")
    client.delete("/api/notes/12345")
    client.get("/anything-at-all")
    client.open("/livez", method="FORGED")
    scraped = scrape(app)
    assert 'http_requests_total{method="GET",route="/livez",status="200"} 1.0' in scraped
    assert 'method="DELETE",route="/api/notes/<int:note_id>",status="404"} 1.0' in scraped
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
    assert generation == 1_700_000_000 + rotation.turn
    assert reloads() == [1, 0]
    rotation.mount.write({"SECRET_KEY": "short"})
    assert registry.get_sample_value("secrets_generation") == generation
    assert reloads() == [1, 1]


def test_the_values_of_every_generation_are_redacted_the_refused_ones_too(
    settings: Settings, start: Callable[[Settings], Flask], rotation: Rotation
) -> None:
    app = start(replace(settings, secrets_dir=rotation.mount.folder))
    store: SecretStore = app.extensions["secrets"]
    known: list[str] = []
    for _ in range(3):
        known.append(store.current()["DATABASE_PASSWORD"].reveal())
        rotation.rotate()
    refused = "a-password-that-is-refused-88f1"
    rotation.mount.write({"DATABASE_PASSWORD": refused})
    store.current()
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

    monkeypatch.setattr(psycopg, "connect", connect)
    rotation.mount.write({"DATABASE_PASSWORD": refused})
    store.current()
    assert written == ["[redacted]"]


def test_metrics_count_failed_logins(unreachable: FlaskClient) -> None:
    unreachable.get("/readyz")
    metrics = unreachable.application.extensions["metrics"]
    assert metrics.registry.get_sample_value("database_login_failures_total") == 1


def test_metrics_hold_no_secret(app: Flask, client: FlaskClient, database: Database) -> None:
    client.get("/")
    scraped = scrape(app)
    for secret in Folder(database.root / "secrets", KEYS).read().confidential():
        assert secret.reveal() not in scraped
