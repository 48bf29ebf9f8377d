"""The demo waits for Enter where somebody can press it, and opens a browser where there is one."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.terminal import terminal
from tools.demo.stage import open_page

ROOT = Path(__file__).parents[3]

STORY = """
import sys
from tools.demo.stage import Stage, someone_watches
from tools.progress import Progress
with Progress(sys.stdout) as progress:
    stage = Stage(progress, someone_watches(sys.stdin, sys.stdout))
    stage.act("First")
    stage.say("a long sentence " * 10)
    stage.act("Second")
    stage.act("Third")
"""
COMMAND = [sys.executable, "-c", STORY]
TOLD = ["1. First", "2. Second", "3. Third"]


def acts(lines: list[str]) -> list[str]:
    """Return the titles of the acts, without their times."""
    return [line.rpartition("  [")[0] for line in lines if line[:1].isdigit()]


URL = "https://localhost:8443"


def test_on_a_terminal_each_act_but_the_first_waits_for_enter() -> None:
    with terminal(COMMAND, ROOT, {}, columns=40) as shown:
        shown.wait_for("Enter: Second $")
        assert "2. Second" not in shown.written
        shown.press(b"\n")
        shown.wait_for("Enter: Third $")
        shown.press(b"\n")
        assert shown.end() == 0
    screen = shown.screen()
    assert acts(screen) == TOLD
    assert max(map(len, screen)) <= 40


@pytest.mark.parametrize("command", ['YES=1 "$@"', '"$@" </dev/null', '"$@" | cat'])
def test_nobody_is_asked_with_yes_or_half_a_terminal(command: str) -> None:
    with terminal(["sh", "-c", command, "sh", *COMMAND], ROOT, dict(os.environ)) as shown:
        assert shown.end() == 0
    assert acts(shown.screen()) == TOLD
    assert "Enter" not in shown.written


@pytest.fixture
def browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put programs there that open a page; return the file in which they say which one."""
    asked = tmp_path / "asked"
    for name in ("xdg-open", "open"):
        (tmp_path / name).write_text(f'#!/bin/sh\necho "$1" >{asked}\n')
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.delenv("OPEN", raising=False)
    return asked


def test_the_page_is_opened_where_there_is_a_display(browser: Path) -> None:
    assert open_page(URL)
    assert browser.read_text() == f"{URL}\n"


@pytest.mark.parametrize(("name", "value"), [("OPEN", "0"), ("DISPLAY", ""), ("PATH", "/nowhere")])
def test_elsewhere_it_is_not(
    browser: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv(name, value)
    assert not open_page(URL)
    assert not browser.exists()


def test_a_browser_that_fails_is_no_opened_page(browser: Path) -> None:
    for name in ("xdg-open", "open"):
        (browser.parent / name).write_text("#!/bin/sh\nexit 3\n")
    assert not open_page(URL)
