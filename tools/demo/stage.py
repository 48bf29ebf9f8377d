"""Where the story is told: acts, sentences, steps with their times, and pauses between them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
import time
from typing import TextIO

from tools.progress import Progress

#: How long a line of the story is at most.
WIDTH = 88


class NotAsTold(Exception):
    """Something did not go as the story has it; the message says what, and where to look."""


class Stage:
    """Tells the story.

    :param progress: where it is told.
    :param waits: whether somebody presses Enter between the acts.
    """

    def __init__(self, progress: Progress, waits: bool = False) -> None:
        self.progress = progress
        self._waits = waits
        self._began = time.monotonic()
        self._acts = 0

    def act(self, title: str) -> None:
        """Begin the next act; between two of them, somebody may want to talk."""
        if self._acts and self._waits:
            self.say()
            self._wait(f"Enter: {title} ")
        self._acts += 1
        minutes, seconds = divmod(round(time.monotonic() - self._began), 60)
        self.say()
        self.say(f"{self._acts}. {title}  [{minutes}:{seconds:02}]")
        self.say()

    def say(self, *sentences: str) -> None:
        """Tell some sentences, as a paragraph."""
        width = min(WIDTH, shutil.get_terminal_size().columns)
        for line in textwrap.wrap(" ".join(sentences), width, break_on_hyphens=False) or [""]:
            self.progress.say(line)

    def line(self, text: str) -> None:
        """Tell something that stands in a line of its own, however long it is."""
        self.progress.say(text)

    def _wait(self, prompt: str) -> None:
        try:
            input(prompt)
        except EOFError:
            self.say()


def someone_watches(stdin: TextIO, stdout: TextIO) -> bool:
    """Tell whether there is a person who may press Enter; with YES=1, nobody is asked."""
    return os.environ.get("YES") != "1" and stdin.isatty() and stdout.isatty()


def open_page(url: str) -> bool:
    """Open a page in the user's browser, where there is one and a display; tell whether it did."""
    program = _opener()
    if os.environ.get("OPEN") == "0" or not program:
        return False
    quiet = subprocess.DEVNULL
    try:
        done = subprocess.run([program, url], stdin=quiet, stdout=quiet, stderr=quiet, timeout=10)
    except subprocess.TimeoutExpired:
        return True  # some begin the browser themselves, and wait for its end
    return done.returncode == 0


def _opener() -> str | None:
    if sys.platform == "darwin":
        return shutil.which("open")
    has_display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return shutil.which("xdg-open") if has_display else None
