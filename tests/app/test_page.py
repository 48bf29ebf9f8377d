"""The page, its session cookie, and the headers of every answer."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import replace
from email.utils import parsedate_to_datetime
from http.cookies import SimpleCookie
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.settings import Settings
from keeper.folder_secrets import FolderSecrets
from tests.conftest import Database


def visits(client: FlaskClient) -> int:
    found = re.search(r'id="visits">(\d+)<', client.get("/").text)
    assert found
    return int(found[1])


def test_shows_the_notes_and_escapes_them(client: FlaskClient) -> None:
    client.post("/api/notes", json={"text": "<b>bold</b> & true"})
    page = client.get("/")
    assert page.mimetype == "text/html"
    assert "&lt;b&gt;bold&lt;/b&gt; &amp; true" in page.text
    assert "<b>bold" not in page.text


def test_counts_the_visits_of_a_browser(client: FlaskClient) -> None:
    assert [visits(client) for _ in range(3)] == [1, 2, 3]


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
    cookie = SimpleCookie(client.get("/").headers["Set-Cookie"])["session"]
    assert cookie["httponly"] is True
    assert cookie["samesite"] == "Lax"
    assert bool(cookie["secure"]) is bool(tls_dir)
    assert cookie["domain"] == ""
    lifetime = parsedate_to_datetime(cookie["expires"]).timestamp() - time.time()
    assert abs(lifetime - settings.session_lifetime_seconds) < 60


@pytest.mark.parametrize(
    "path", ["/", "/status", "/livez", "/api/notes", "/nowhere", "/static/style.css"]
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
    ("path", "control"), [("/", "no-store"), ("/api/notes", "no-store"), ("/static/style.css", "")]
)
def test_no_answer_is_kept_but_static_files(client: FlaskClient, path: str, control: str) -> None:
    with client.get(path) as answer:
        given = answer.headers.getlist("Cache-Control")
    assert len(given) == 1
    assert (given == ["no-store"]) is bool(control)


def test_the_page_asks_nothing_of_another_host_and_has_nothing_inline(client: FlaskClient) -> None:
    page = client.get("/").text
    assert re.findall(r'(?:src|href)="([^"]*)"', page)
    assert not re.findall(r'(?:src|href)="(?!/)[^"]*"', page)
    assert not re.findall(r"<style|\sstyle=|\son\w+=|<script>", page)
