"""Notes: what the API stores and refuses, how the page shows them; their number does not matter."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy
from flask import Flask
from flask.testing import FlaskClient
from playwright.sync_api import expect

from tests.browser import PHONE, chromium, visit
from tests.conftest import Database
from tools.service import Service


def texts(answer: dict[str, Any]) -> list[str]:
    return [note["text"] for note in answer["notes"]]


def test_a_note_is_stored_listed_and_deleted(client: FlaskClient) -> None:
    added = client.post("/api/notes", json={"text": "first"})
    assert added.status_code == 201
    note = added.get_json()
    assert note["text"] == "first"
    assert client.get("/api/notes").get_json() == {"notes": [note], "next": None}
    assert client.delete(f"/api/notes/{note['id']}").status_code == 204
    assert client.get("/api/notes").get_json() == {"notes": [], "next": None}


def test_listed_newest_first_in_pages(client: FlaskClient) -> None:
    for number in range(5):
        client.post("/api/notes", json={"text": str(number)})
    page = client.get("/api/notes?limit=2").get_json()
    assert texts(page) == ["4", "3"]
    page = client.get(page["next"]).get_json()
    assert texts(page) == ["2", "1"]
    page = client.get(page["next"]).get_json()
    assert texts(page) == ["0"]
    assert page["next"] is None


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "x" * 1_000,
        "😀" * 1_000,
        " ",
        "line\r\nline",
        "<script>alert(1)</script>",
        "e\u0301 ﷽ \u202e",
    ],
)
def test_any_text_comes_back_as_it_was(client: FlaskClient, text: str) -> None:
    for ensure_ascii in (True, False):
        body = json.dumps({"text": text}, ensure_ascii=ensure_ascii).encode()
        added = client.post("/api/notes", data=body, content_type="application/json")
        assert added.status_code == 201
        assert added.get_json()["text"] == text
    assert texts(client.get("/api/notes").get_json()) == [text, text]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "body"),
        (b"{", "body"),
        (b"\xff\xfe{", "body"),
        (b"[" * 10_000, "body"),
        (b"[]", "body"),
        (b'"text"', "body"),
        (b"{}", "text"),
        (b'{"text": null}', "text"),
        (b'{"text": 1}', "text"),
        (b'{"text": ""}', "text"),
        (json.dumps({"text": "x" * 1_001}).encode(), "text"),
        (b'{"text": "nul\\u0000"}', "text"),
        (b'{"text": "half \\ud83d"}', "text"),
    ],
)
def test_refuses_what_is_no_note_and_names_the_field(
    client: FlaskClient, body: bytes, field: str
) -> None:
    answer = client.post("/api/notes", data=body, content_type="application/json")
    assert answer.status_code == 400
    assert answer.get_json()["field"] == field
    assert client.get("/api/notes").get_json()["notes"] == []


@pytest.mark.parametrize("name", ["limit", "before"])
@pytest.mark.parametrize("value", ["0", "-1", "x", "", "1.5", "٣", "9" * 19, "9" * 5_000])
def test_refuses_a_page_that_can_not_be(client: FlaskClient, name: str, value: str) -> None:
    answer = client.get("/api/notes", query_string={name: value})
    assert answer.status_code == 400
    assert answer.get_json()["field"] == name


def test_the_limit_has_a_limit(client: FlaskClient) -> None:
    assert client.get("/api/notes?limit=100").status_code == 200
    assert client.get("/api/notes?limit=101").status_code == 400


@pytest.mark.parametrize("note_id", ["1", "9" * 18, "9" * 30])
def test_deleting_what_is_not_there_is_a_404(client: FlaskClient, note_id: str) -> None:
    answer = client.delete(f"/api/notes/{note_id}")
    assert answer.status_code == 404
    assert answer.get_json() == {"error": "There is no such note."}


def test_refuses_another_content_type(client: FlaskClient) -> None:
    answer = client.post("/api/notes", data="text=x", content_type="text/plain")
    assert answer.status_code == 415
    assert answer.get_json() == {"error": "Send application/json."}


def test_refuses_a_body_that_is_too_large(client: FlaskClient) -> None:
    answer = client.post("/api/notes", json={"text": "x" * 20_000})
    assert answer.status_code == 413
    assert "error" in answer.get_json()


def test_a_page_costs_the_same_with_a_million_notes(
    app: Flask, client: FlaskClient, database: Database
) -> None:
    statements: list[tuple[str, Any]] = []

    @sqlalchemy.event.listens_for(app.extensions["database"].engine, "before_cursor_execute")
    def record(connection: Any, cursor: Any, statement: str, parameters: Any, *rest: Any) -> None:
        statements.append((statement, parameters))

    client.get("/api/notes?limit=20&before=500000")
    statement, parameters = statements[-1]

    def blocks_read() -> int:
        with database.server.connect(database.administrator) as connection:
            connection.execute("ANALYZE notes")
            explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}".encode()
            row = connection.execute(explain, parameters).fetchone()
        assert row
        plan = row[0][0]["Plan"]
        assert plan["Actual Rows"] >= 10
        return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])

    database.execute("INSERT INTO notes (text) SELECT 'note ' || n FROM generate_series(1, 10) n")
    few = blocks_read()
    database.execute(
        "INSERT INTO notes (text) SELECT 'note ' || n FROM generate_series(11, 1000000) n"
    )
    assert blocks_read() <= few + 10


def test_times_are_in_utc_whatever_the_role_says(client: FlaskClient, database: Database) -> None:
    database.execute("ALTER ROLE flask_app_a SET timezone = 'America/New_York'")
    try:
        database.execute(
            "INSERT INTO notes (text, created_at) VALUES ('x', '2026-01-02 13:28:58Z')"
        )
        (note,) = client.get("/api/notes").get_json()["notes"]
        assert note["created_at"] == "2026-01-02T13:28:58+00:00"
        assert "2026-01-02 13:28 UTC" in client.get("/").get_data(as_text=True)
    finally:
        database.execute("ALTER ROLE flask_app_a RESET timezone")


@pytest.mark.parametrize("stored", ["infinity", "-infinity", "0044-03-15 BC", "12026-11-30"])
def test_a_time_that_python_can_not_hold_is_no_error(
    client: FlaskClient, database: Database, stored: str
) -> None:
    database.execute(f"INSERT INTO notes (text, created_at) VALUES ('x', '{stored}')")
    assert client.get("/api/notes").status_code == 200
    assert client.get("/").status_code == 200


def test_the_page_shows_the_notes_and_escapes_them(client: FlaskClient) -> None:
    client.post("/api/notes", json={"text": "<b>bold</b> & true"})
    page = client.get("/")
    assert page.mimetype == "text/html"
    assert "&lt;b&gt;bold&lt;/b&gt; &amp; true" in page.text
    assert "<b>bold" not in page.text


def test_notes_are_added_and_deleted_with_the_keyboard_on_a_phone(
    serve: Callable[..., Service], settings_of: dict[str, str], wait_for: Callable[..., None]
) -> None:
    service = serve(**settings_of)
    wait_for(service.listens, "a listening socket")
    url = f"http://127.0.0.1:{service.port}"
    with chromium() as browser, visit(browser, url, viewport=PHONE) as opened:
        page = opened.page
        page.get_by_label("A new note").focus()
        page.keyboard.type("<b>as it is</b>" + "w" * 900)
        page.keyboard.press("Tab")
        with page.expect_navigation():
            page.keyboard.press("Enter")
        expect(page.locator("#notes li p")).to_have_text(["<b>as it is</b>" + "w" * 900])
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        assert opened.axe() == []
        page.get_by_role("button", name="Delete this note").focus()
        with page.expect_navigation():
            page.keyboard.press("Enter")
        expect(page.locator("#notes li")).to_have_text(["None yet."])
        assert opened.complaints == []
