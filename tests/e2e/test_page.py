"""Somebody watches a rotation on the page, across two replicas, in a real browser.

SCREENSHOTS=docs keeps what was seen there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import HAS, PHONE, SIGNS, STEPS, WATCH, chromium, visit
from tools.cluster.client import Cluster
from tools.cluster.job import start

#: How long a step may take to be seen, in milliseconds.
LIMIT = 60_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


def keep(page: Page, name: str) -> None:
    """Keep a picture of the page, where somebody asks for it."""
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def test_a_rotation_is_seen_step_by_step(cluster: Cluster, browser: Browser) -> None:
    url = f"https://localhost:{cluster.port}"
    wide = {"width": 1280, "height": 1000}
    # its authority is the release's own; test_service.py verifies it
    with visit(browser, url, ignore_https_errors=True, viewport=wide) as opened:
        page = opened.page
        expect(page.locator("#pods tbody th")).to_have_text(
            sorted(cluster.pods("service")), timeout=LIMIT
        )
        page.evaluate(WATCH)
        job = start(cluster, "rotate", "session", "database")
        expect(page.locator("#rotation .now strong")).to_have_text(HAS, timeout=LIMIT)
        expect(page.locator("#rotation .now strong")).to_have_text(SIGNS, timeout=LIMIT)
        keep(page, "page")
        assert opened.axe() == []
        expect(page.locator("#rotation .done strong")).to_have_text(STEPS, timeout=LIMIT)
        assert job.succeeds()
        expect(page.locator("#pods .newest")).to_have_count(2, timeout=LIMIT)
        seen = page.evaluate("window.seen")
        # the session goes on: it was signed with the key before
        page.reload()
        expect(page.locator("#visits")).to_have_text("2")
        assert opened.complaints == []
        assert opened.axe() == []
    assert len(seen["role"]) == 2
    assert [step for step in seen["next"] if step in (HAS, SIGNS)] == [HAS, SIGNS]
    assert seen["generation"] == sorted(set(seen["generation"]))
    assert len(seen["generation"]) == 3
    assert seen["pods"] == [",".join(sorted(cluster.pods("service")))]
    assert seen["ages"] == [True]


def test_what_happened_is_told_in_words(cluster: Cluster, browser: Browser) -> None:
    url = f"https://localhost:{cluster.port}"
    look = {"ignore_https_errors": True, "viewport": PHONE, "color_scheme": "dark"}
    with visit(browser, url, **look) as opened:
        page = opened.page
        expect(page.locator("#now")).to_have_text(
            "No rotation is under way. Every pod has the same generation."
        )
        told = page.locator("#events").inner_text()
        for event in ("announced", "promoted", "revoked", "rotated"):
            assert f"keeper {event}" in told
        for pod in cluster.pods("service"):
            assert f"{pod} adopted" in told
        assert opened.axe() == []
        assert opened.complaints == []
        keep(page, "page-phone")
