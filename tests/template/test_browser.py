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


def test_such_a_playwright_is_not_asked_for_a_browser(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    called = play(tmp_path, monkeypatch, f"echo '{LACKS}' >&2; exit 127")
    browser.main()
    assert called.read_text().splitlines() == ["--version"]
    said = capsys.readouterr().err
    assert said.startswith("The tests of the page are skipped: playwright can't be started")
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("status", [0, 1])
def test_a_browser_is_downloaded_once_and_its_lack_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], status: int
) -> None:
    script = f'[ "$1" = --version ] || {{ echo much; echo more >&2; exit {status}; }}'
    called = play(tmp_path, monkeypatch, script)
    browser.main()
    assert called.read_text().splitlines() == ["--version", "install --only-shell chromium"]
    printed = capsys.readouterr()
    assert printed.out == ""
    skipped = f"The tests of the page are skipped: {browser.MISSING}.\n"
    assert printed.err == (skipped if status else "")


def test_a_browser_of_this_machine_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = play(tmp_path, monkeypatch, "exit 0")
    monkeypatch.setattr(browser, "CHROMIUM", (sys.executable,))
    browser.main()
    assert called.read_text().splitlines() == ["--version"]
