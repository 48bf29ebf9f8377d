"""Errors: JSON for the API, a plain page for browsers, and never a traceback."""

from __future__ import annotations

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests import items
from tests.conftest import Database


@pytest.fixture
def failing(app: Flask) -> FlaskClient:
    """Return a client of a service with a bug."""

    def fail() -> str:
        raise RuntimeError("the inside of the service")

    app.add_url_rule("/fail", view_func=fail)
    app.add_url_rule("/api/fail", endpoint="api-fail", view_func=fail)
    return app.test_client()


def test_the_api_answers_in_json(failing: FlaskClient) -> None:
    for path, status in (("/api/nowhere", 404), ("/api/fail", 500)):
        answer = failing.get(path)
        assert answer.status_code == status
        assert list(answer.get_json()) == ["error"]


def test_a_browser_gets_a_page(failing: FlaskClient) -> None:
    for path, status in (("/nowhere", 404), ("/fail", 500)):
        answer = failing.get(path, headers={"Accept": "text/html,*/*;q=0.8"})
        assert answer.status_code == status
        assert answer.mimetype == "text/html"
        assert f"<h1>{status}" in answer.text


def test_who_asks_for_json_gets_json(failing: FlaskClient) -> None:
    assert failing.get("/nowhere", headers={"Accept": "application/json"}).is_json


@pytest.mark.parametrize("path", ["/fail", "/api/fail"])
def test_no_answer_shows_the_inside(failing: FlaskClient, path: str) -> None:
    answer = failing.get(path)
    assert "inside" not in answer.text
    assert "Traceback" not in answer.text


def test_a_wrong_method_says_which_are_right(client: FlaskClient) -> None:
    answer = client.put(items.PATH)
    assert answer.status_code == 405
    assert "POST" in answer.headers["Allow"]


@pytest.mark.parametrize("path", ["/", "/livez", items.PATH])
def test_a_malformed_host_is_a_400(client: FlaskClient, path: str) -> None:
    answer = client.get(path, headers={"Host": "a" * 64 + ".example.org"})
    assert answer.status_code == 400
    assert "Content-Security-Policy" in answer.headers


def test_a_database_error_logs_no_value(
    app: Flask, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    database.execute(
        "ALTER TABLE test_items ADD CONSTRAINT refused CHECK (text <> 'what somebody wrote')"
    )
    try:
        answer = app.test_client().post(items.PATH, json={"text": "what somebody wrote"})
    finally:
        database.execute("ALTER TABLE test_items DROP CONSTRAINT refused")
    assert answer.status_code == 500
    assert "IntegrityError" in caplog.text
    assert "parameters" in caplog.text
    assert "[parameters: {'text': 'what" not in caplog.text


def test_a_database_that_is_away_is_a_503(unreachable: FlaskClient) -> None:
    answer = unreachable.get(items.PATH)
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "5"
    assert answer.get_json() == {"error": "The database does not answer."}


@pytest.mark.parametrize(
    "path", ["/", "/status", "/livez", items.PATH, "/nowhere", "/panel/static/panel.css"]
)
def test_every_answer_has_the_security_headers(client: FlaskClient, path: str) -> None:
    with client.get(path) as answer:
        headers = answer.headers
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"


@pytest.mark.parametrize(
    ("path", "control"),
    [("/", "no-store"), (items.PATH, "no-store"), ("/panel/static/panel.css", "")],
)
def test_no_answer_is_kept_but_static_files(client: FlaskClient, path: str, control: str) -> None:
    with client.get(path) as answer:
        given = answer.headers.getlist("Cache-Control")
    assert len(given) == 1
    assert (given == ["no-store"]) is bool(control)
