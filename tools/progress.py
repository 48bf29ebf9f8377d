"""Tells each step when it is done, with its seconds; on a terminal also what is under way.

Steps may run at the same time.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Self, TextIO


@dataclass(eq=False)
class Step:
    """Something that is under way."""

    #: One without a text has no line of its own.
    text: str
    began: float = field(default_factory=time.monotonic)
    #: What came of it; told at its end, if there is something to tell.
    outcome: str = ""

    @property
    def line(self) -> str:
        """What is told at its end."""
        ended = f"{self.text}: {self.outcome}" if self.outcome else self.text
        return timed(ended, time.monotonic() - self.began)

    def restart(self, text: str) -> None:
        """Let another step, of this text, be under way in its place; this one is not told."""
        self.text, self.began = text, time.monotonic()


class Progress:
    """Tells of steps, from the `with` statement to its end.

    :param stream: where it is told; nowhere without one.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream
        self._began = time.monotonic()
        self._is_terminal = bool(stream and is_terminal(stream))
        self._under_way: list[Step] = []
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._counter = threading.Thread(target=self._count, daemon=True)

    def __enter__(self) -> Self:
        if self._is_terminal:
            self._counter.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._is_terminal:
            self._counter.join()

    @contextmanager
    def step(self, text: str) -> Iterator[Step]:
        """Show that a step is under way, and tell it at its end."""
        step = Step(text)
        with self._lock:
            self._under_way.append(step)
            self._show()
        try:
            yield step
        except BaseException as problem:
            step.outcome = "failed" if isinstance(problem, Exception) else "interrupted"
            raise
        finally:
            with self._lock:
                self._under_way.remove(step)
                self._write(step.line if step.text else None)

    def say(self, text: str = "") -> None:
        """Tell something that is no step."""
        with self._lock:
            self._write(text)

    def finish(self) -> None:
        """Tell what all of it took."""
        self.say(timed("in all", time.monotonic() - self._began))

    def _count(self) -> None:
        while not self._ended.wait(1):
            with self._lock:
                self._show()

    def _write(self, text: str | None) -> None:
        """Write a line, or none, in the place of what is under way."""
        if self._stream:
            erase = "\r\x1b[K" if self._is_terminal else ""
            line = "" if text is None else f"{text}\n"
            print(f"{erase}{line}", end="", file=self._stream, flush=True)
            self._show()

    def _show(self) -> None:
        """Rewrite the last line: all that is under way, with the seconds of what takes longest."""
        if self._is_terminal and self._stream and self._under_way:
            seconds = time.monotonic() - self._under_way[0].began
            texts = ", ".join(step.text for step in self._under_way)
            # a line that is longer than the terminal can't be rewritten
            line = timed(f"{texts} ...", seconds)[: _columns(self._stream) - 1]
            print(f"\r{line}\x1b[K", end="", file=self._stream, flush=True)


def timed(text: str, seconds: float | None = None, decimals: int = 0) -> str:
    """Return a line with the seconds that something took, as far as they are known."""
    return f"{' ' * 7 if seconds is None else f'{seconds:5.{decimals}f} s'}  {text}"


def is_terminal(stream: TextIO) -> bool:
    """Tell whether there is a terminal on which a line can be rewritten."""
    return stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def _columns(stream: TextIO) -> int:
    return os.get_terminal_size(stream.fileno()).columns or 80
