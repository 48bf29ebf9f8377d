"""The page in a real browser, served by two pods in turn; a rotation is seen on it."""

from __future__ import annotations

import itertools
import re
import select
import shutil
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from keeper import pods
from keeper.folder_secrets import FolderSecrets
from keeper.keeper import Keeper
from keeper.plan import DATABASE, SESSION, Plan, Service
from secret_files import Redactor
from tests.browser import HAS, PHONE, SIGNS, STEPS, WATCH, chromium, visit
from tests.conftest import Database
from tools.service import Service as Pod
from tools.service import free_port

pytestmark = pytest.mark.skipif(
    sys.platform == "darwin", reason="macOS has one loopback address, and no second pod"
)

#: The pods, with names as long as those of a Deployment.
FIRST, SECOND = "flask-app-6f9c7d5b48-4xkzq", "flask-app-6f9c7d5b48-t2v8m"
ADDRESSES = {FIRST: "127.0.0.1", SECOND: "127.0.0.2"}
ADOPTED = [f"{name} adopted" for name in ADDRESSES]

#: The browser's patience, in milliseconds: beside other work a page takes its time.
expect.set_options(timeout=30_000)

#: How long each does not look at its files, in seconds: one is ahead of the other for as long as
#: the page asks each of them.
CHECK_SECONDS = {FIRST: "0.1", SECOND: "3"}

#: What somebody does who got text of his own into the page.
INLINE = """() => {
  const script = document.createElement("script");
  script.textContent = "window.ran = true";
  document.body.append(script);
}"""


class Forwarding(socketserver.BaseRequestHandler):
    """One connection of a browser, led to the next pod."""

    server: Alternating

    def handle(self) -> None:
        with socket.create_connection(next(self.server.pods)) as pod:
            other = {self.request: pod, pod: self.request}
            while True:
                for ready in select.select([*other], [], [])[0]:
                    data = ready.recv(65536)
                    if not data:
                        return
                    other[ready].sendall(data)


class Alternating(socketserver.ThreadingTCPServer):
    """Leads connections to each pod in turn, as a Service of Kubernetes does."""

    daemon_threads = True

    def __init__(self, running: list[Pod]) -> None:
        super().__init__(("127.0.0.1", 0), Forwarding)
        self.pods = itertools.cycle([(one.host, one.port) for one in running])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Release:
    """Two pods, and the keeper of their Secret."""

    def __init__(self, root: Path, plan: Plan) -> None:
        self.root = root
        self.plan = plan

    def keep(self, *parts: str) -> None:
        """Let the keeper do what is due or asked for."""
        Keeper(FolderSecrets(self.root), self.plan, Redactor()).run(parts)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def release(database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """Fill the Secret of a release with a database of its own."""
    root = tmp_path_factory.mktemp("seen")
    shutil.copytree(database.root / "admin", root / "admin", symlinks=True)
    server = replace(database.server, database="seen")
    service = Service("pods", free_port())
    release = Release(root, replace(database.plan, server=server, service=service, wait_seconds=30))
    release.keep()
    yield release
    database.execute("DROP DATABASE IF EXISTS seen WITH (FORCE)")
    database.execute("DROP ROLE IF EXISTS seen_a, seen_b, seen_service")


@pytest.fixture(scope="module")
def url(release: Release, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve from two pods in turn, and return the address."""
    assert release.plan.service
    folder = tmp_path_factory.mktemp("pods")
    running = [
        Pod.start(
            folder / name,
            {
                "POD": name,
                "HOST": host,
                "METRICS_PORT": str(release.plan.service.metrics_port),
                "SECRETS_DIR": str(release.root / "secrets"),
                "SECRETS_CHECK_SECONDS": CHECK_SECONDS[name],
                "DATABASE_HOST": release.plan.server.host,
                "DATABASE_PORT": str(release.plan.server.port),
                "DATABASE_NAME": release.plan.server.database,
                "DATABASE_SSLMODE": "disable",
            },
            "tests/core/pod.conf.py",
        )
        for name, host in ADDRESSES.items()
    ]
    try:
        for one in running:
            wait_until(one.listens, seconds=60)
        with Alternating(running) as server:
            serving = threading.Thread(target=server.serve_forever)
            serving.start()
            yield server.url
            server.shutdown()
            serving.join()
    finally:
        for one in running:
            one.stop()


@pytest.mark.parametrize("color_scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault(browser: Browser, url: str, color_scheme: str) -> None:
    with visit(browser, url, color_scheme=color_scheme) as opened:
        faults = opened.axe()
        assert not faults, (
            f"the page is hard to read or use for some in the {color_scheme} color scheme: change "
            f"app/static/style.css, or what is meant in app/templates: {faults}"
        )
        # the control: a picture that says nothing to those who can't see it
        opened.page.evaluate("document.body.append(document.createElement('img'))")
        assert [fault.partition(":")[0] for fault in opened.axe()] == ["image-alt"]


def test_nothing_is_wider_than_a_phone(browser: Browser, url: str) -> None:
    with visit(browser, url, viewport=PHONE) as opened:
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        assert opened.complaints == []


def test_an_older_answer_is_not_shown(browser: Browser, url: str) -> None:
    """As from a pod that was slower: the page would go back for a moment."""
    with visit(browser, url) as opened:
        page = opened.page
        # after 5 s it would take an older one, too, and on a busy machine these requests last
        page.clock.set_fixed_time(time.time())
        page.reload()
        older = page.request.get(f"{url}/panel").text().replace("seen_", "older_")
        shown = page.locator("#now").get_attribute("data-read-at")
        assert shown
        read_at = re.compile(r'data-read-at="[0-9.]+"')
        assert read_at.search(older)
        answers = itertools.cycle([read_at.sub(f'data-read-at="{float(shown) - 1}"', older)])
        page.route("**/panel", lambda asked: asked.fulfill(body=next(answers)))
        for _ in range(3):
            page.wait_for_event("requestfinished", lambda asked: asked.url.endswith("/panel"))
        assert "seen_" in page.locator("#facts").inner_text()
        # the control
        answers = itertools.cycle([read_at.sub(f'data-read-at="{float(shown) + 60}"', older)])
        expect(page.locator("#facts")).to_contain_text("older_")


def test_it_is_said_that_nobody_answers_until_somebody_does(browser: Browser, url: str) -> None:
    with visit(browser, url) as opened:
        page = opened.page
        page.clock.install()
        page.clock.pause_at(time.time() + 60)  # from here on, it is as late as this test says
        page.reload()
        page.route("**/panel", lambda asked: asked.abort())
        page.clock.run_for(4_000)
        expect(page.locator("#stale")).to_be_empty()
        page.clock.run_for(4_000)
        expect(page.locator("#stale")).to_have_text("No answer: this is how it was.")
        page.unroute("**/panel")
        page.clock.resume()
        expect(page.locator("#pods th[scope=row]")).to_have_count(2)
        expect(page.locator("#stale")).to_be_empty()


def test_what_the_policy_forbids_is_a_complaint(browser: Browser, url: str) -> None:
    """The control of the tests that find none."""
    with visit(browser, url) as opened:
        opened.page.evaluate(INLINE)
        assert opened.page.evaluate("window.ran") is None
        assert any("Content Security Policy" in one for one in opened.complaints)


def test_a_rotation_is_seen_step_by_step_and_without_flicker(
    browser: Browser, url: str, release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pods, "_addresses", lambda host: list(ADDRESSES.values()))
    shown, wait = threading.Semaphore(0), pods.Pods.wait_for_generation

    def wait_when_shown(*arguments: Any) -> int:
        # every pod may have it before the page asks again: the step would not be seen
        assert shown.acquire(timeout=30)
        return wait(*arguments)

    monkeypatch.setattr(pods.Pods, "wait_for_generation", wait_when_shown)
    with visit(browser, url) as opened, ThreadPoolExecutor(1) as keeper:
        page = opened.page
        expect(page.locator("#pods tbody th")).to_have_text([*ADDRESSES])
        page.evaluate(WATCH)
        generation = page.locator("#facts dd").nth(3)
        before = generation.inner_text()
        rotated = keeper.submit(release.keep, SESSION, DATABASE)
        for step in (HAS, SIGNS):
            expect(page.locator("#rotation .now strong")).to_have_text(step)
            expect(generation).not_to_have_text(before)
            before = generation.inner_text()
            shown.release()
        expect(page.locator("#rotation .done strong")).to_have_text(STEPS, timeout=30_000)
        rotated.result()
        expect(page.locator("#pods .older")).to_have_count(0)
        expect(page.locator("#now")).to_contain_text("No rotation is under way")
        # what is recorded last is shown when the page has asked again
        for event, times in {"keeper rotated": 1, **dict.fromkeys(ADOPTED, 2)}.items():
            expect(page.locator("#events li").filter(has_text=event)).to_have_count(times)
        seen = page.evaluate("window.seen")
        events = page.locator("#events li").all_inner_texts()
        assert opened.complaints == []
    # each of them once, and never back
    assert seen["role"] == ["seen_a", "seen_b"]
    assert seen["verify"] == ["1", "2"]
    assert seen["generation"] == sorted(set(seen["generation"]))
    assert len(seen["generation"]) == 3
    assert seen["ages"] == [True]
    assert seen["pods"] == [",".join(ADDRESSES)]
    # the other steps may be over before the page asks again
    assert [step for step in seen["next"] if step in (HAS, SIGNS)] == [HAS, SIGNS]
    assert {seen["next"][0], seen["next"][-1]} == {""}
    told = [" ".join(event.split()[1:3]) for event in reversed(events)]
    for event in ("keeper announced", "keeper promoted", "keeper revoked", "keeper rotated"):
        assert told.count(event) == 1
    for event in ADOPTED:
        assert told.count(event) == 2


def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    """Wait for a condition, which has to come true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)
