"""The browser of the tests: what is said where none can be had."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import browser

LACKS = "node: error while loading shared libraries: libatomic.so.1"


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    browser.driver_problem.cache_clear()
    yield
    browser.driver_problem.cache_clear()


def play(folder: Path, patch: pytest.MonkeyPatch, script: str) -> Path:
    """Let a stand-in be playwright's program; return the file where it says how it was called."""
    called = folder / "called"
    program = folder / "playwright"
    program.write_text(f'#!/bin/sh\necho "$*" >>"{called}"\n{script}\n')
    program.chmod(0o755)
    patch.setattr(browser, "PLAYWRIGHT", (str(program),))
    patch.setattr(browser, "CHROMIUM", ())
    patch.delenv("CHROMIUM", raising=False)
    return called


@pytest.mark.parametrize("ci", [False, True])
def test_a_playwright_that_lacks_a_library_is_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ci: bool
) -> None:
    play(tmp_path, monkeypatch, f"echo '{LACKS}' >&2; exit 127")
    monkeypatch.setenv("CI", "1") if ci else monkeypatch.delenv("CI", raising=False)
    outcome = pytest.fail.Exception if ci else pytest.skip.Exception
    with pytest.raises(outcome, match=r"install what it lacks.*libatomic1.*libatomic\.so"):
        browser.chromium().__enter__()


FETCH = "install --only-shell chromium"
SKIPPED = "The tests of the page are skipped: "


@pytest.mark.parametrize(
    ("script", "there", "calls", "said"),
    [
        (f"echo '{LACKS}' >&2; exit 127", (), ["--version"], f"{SKIPPED}playwright can't be start"),
        ("echo much", (), ["--version", FETCH], ""),
        ('[ "$1" = --version ]', (), ["--version", FETCH], f"{SKIPPED}{browser.MISSING}.\n"),
        ("exit 0", (sys.executable,), ["--version"], ""),
    ],
    ids=["lacks a library", "fetches one", "can't fetch one", "has one"],
)
def test_a_browser_is_fetched_where_there_is_none(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    script: str,
    there: tuple[str, ...],
    calls: list[str],
    said: str,
) -> None:
    called = play(tmp_path, monkeypatch, script)
    monkeypatch.setattr(browser, "CHROMIUM", there)
    browser.main()
    assert called.read_text().splitlines() == calls
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(said)
    assert len(printed.err.splitlines()) == bool(said)
