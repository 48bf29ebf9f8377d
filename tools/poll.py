"""Waiting for something that happens by itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from .problem import Problem

Found = TypeVar("Found")


class PollTimeout(Problem, AssertionError):
    """What was awaited did not come in time; the message says what it was."""


def poll(
    look: Callable[[], Found | None],
    what: str | Callable[[], str],
    seconds: float,
    pause: float = 0.2,
) -> Found:
    """Call `look` until its result is true, and return that.

    :param what: what is awaited, or a function that says so at the end.
    :param seconds: how long at most; it looks once in any case.
    :param pause: the seconds between two calls.
    :raises PollTimeout: it did not come in time.
    """
    deadline = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() >= deadline:
            awaited = what if isinstance(what, str) else what()
            raise PollTimeout(f"not within {seconds:g} s: {awaited}")
        time.sleep(pause)
    return found
