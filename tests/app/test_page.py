"""The page: the panel, a visit counter, and nothing that its content security policy forbids."""

from __future__ import annotations

import re

from flask.testing import FlaskClient


def visits(client: FlaskClient) -> int:
    found = re.search(r'id="visits">(\d+)<', client.get("/").text)
    assert found
    return int(found[1])


def test_shows_the_panel(client: FlaskClient) -> None:
    page = client.get("/")
    assert page.mimetype == "text/html"
    assert 'id="panel"' in page.text


def test_counts_the_visits_of_a_browser(client: FlaskClient) -> None:
    assert [visits(client) for _ in range(3)] == [1, 2, 3]


def test_the_page_asks_nothing_of_another_host_and_has_nothing_inline(client: FlaskClient) -> None:
    page = client.get("/").text
    assert re.findall(r'(?:src|href)="([^"]*)"', page)
    assert not re.findall(r'(?:src|href)="(?!/)[^"]*"', page)
    assert not re.findall(r"<style|\sstyle=|\son\w+=|<script>", page)
