"""A real browser for the tests: a Chromium without a window, driven by playwright."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Playwright, sync_playwright
from playwright.sync_api import Error as Missing

from tools.doctor.local import CHROMIUM

MISSING = (
    "no Chromium can be started: install your distribution's, run `.venv/bin/playwright install "
    "chromium`, or name one in CHROMIUM"
)

PLAYWRIGHT = (sys.executable, "-m", "playwright")

#: As large as a small phone's, in CSS pixels.
PHONE = {"width": 360, "height": 740}

#: What axe calls a fault that keeps somebody from using the page.
SERIOUS = ("serious", "critical")


#: The steps of a rotation of both, as the page calls them.
HAS, SIGNS = "Every pod has it", "Every pod signs with it"
STEPS = ["Announced", HAS, "Promoted", SIGNS, "Revoked", "Finished"]

#: Notes what the panel shows at some places, as often as it becomes something else.
WATCH = """() => {
  const texts = (selector) =>
    [...document.querySelectorAll(selector)].map((one) => one.textContent);
  window.seen = {verify: [], role: [], generation: [], next: [], pods: [], ages: []};
  const note = () => {
    const [, verify, role, generation] = texts("#facts dd");
    const next = texts("#rotation .now strong").join();
    const pods = texts("#pods tbody th").join();
    // never the time itself, which stands there until the age is told
    const ages = texts("#pods time").every((text) => text.endsWith(" s ago"));
    for (const [name, text] of Object.entries({verify, role, generation, next, pods, ages})) {
      if (window.seen[name].at(-1) !== text) window.seen[name].push(text);
    }
  };
  note();
  new MutationObserver(note).observe(document.getElementById("panel"),
    {subtree: true, childList: true, characterData: true});
}"""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start a browser; where there is none, the test is skipped, or fails where CI is set."""
    give_up = pytest.fail if os.environ.get("CI") else pytest.skip
    if problem := driver_problem():
        give_up(problem)
    with sync_playwright() as playwright:
        browser = _launch(playwright)
        if not browser:
            give_up(MISSING)
        try:
            yield browser
        finally:
            browser.close()


@functools.cache
def driver_problem() -> str:
    """Return why playwright itself can't be used here, if so: a slim system lacks a library."""
    asked = subprocess.run([*PLAYWRIGHT, "--version"], capture_output=True, text=True)
    if not asked.returncode:
        return ""
    said = (asked.stderr.strip().splitlines() or ["it does not say why"])[-1]
    return f"playwright can't be started, install what it lacks (on Debian libatomic1): {said}"


def _launch(playwright: Playwright) -> Browser | None:
    """Start the one that somebody names, playwright's own, or this machine's."""
    named = os.environ.get("CHROMIUM")
    for program in [named] if named else [None, *_installed()]:
        # its sandbox needs rights that neither a container nor root has
        with suppress(Missing):
            return playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
    return None


def _installed() -> list[str]:
    return [path for path in map(shutil.which, CHROMIUM) if path]


@dataclass
class Visit:
    """A page that is open, and everything that the browser had to complain about."""

    page: Page
    complaints: list[str] = field(default_factory=list)

    def axe(self) -> list[str]:
        """Return the serious accessibility faults that axe finds, with the places."""
        found: dict[str, Any] = Axe().run(self.page).response
        assert found["passes"], "axe has looked at nothing"
        return [
            f"{fault['id']}: {[node['target'] for node in fault['nodes']]}"
            for fault in found["violations"]
            if fault["impact"] in SERIOUS
        ]


@contextmanager
def visit(browser: Browser, url: str, **options: Any) -> Iterator[Visit]:
    """Open a page in a session of its own.

    What it asks of another host, an error in its console, which a violation of its content
    security policy is, too, and an exception of its scripts are complaints.

    :param options: playwright's, of a new context: `color_scheme` or `viewport`, for instance.
    """
    context = browser.new_context(**options)
    page = context.new_page()
    opened = Visit(page)
    page.on("console", lambda said: _complain(opened, said.type, said.text))
    page.on("pageerror", lambda error: opened.complaints.append(f"exception: {error}"))
    page.on("request", lambda asked: _check_host(opened, asked.url, url))
    try:
        page.goto(url)
        yield opened
    finally:
        context.close()


def _complain(opened: Visit, kind: str, text: str) -> None:
    if kind in ("error", "warning"):
        opened.complaints.append(f"{kind}: {text}")


def _check_host(opened: Visit, asked: str, url: str) -> None:
    if not asked.startswith(url):
        opened.complaints.append(f"asked another host: {asked}")


def main() -> None:
    """Download playwright's own browser, unless this machine has one."""
    problem = driver_problem()
    if not problem and not os.environ.get("CHROMIUM") and not _installed():
        problem = _download()
    if problem:
        print(f"The tests of the page are skipped: {problem}.", file=sys.stderr)


def _download() -> str:
    # of each of its five tries, in milliseconds: a firewall may never answer
    limit = {"PLAYWRIGHT_DOWNLOAD_CONNECTION_TIMEOUT": "10000"}
    install = [*PLAYWRIGHT, "install", "--only-shell", "chromium"]
    done = subprocess.run(install, capture_output=True, env={**limit, **os.environ})
    return MISSING if done.returncode else ""


if __name__ == "__main__":
    main()
