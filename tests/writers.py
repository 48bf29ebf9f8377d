"""Processes that replace a pair of secrets again and again, each in one layout of the folder.

A pair has the same number in both values, so that one of two generations is seen to be torn.
"""

from __future__ import annotations

import itertools
import math
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from secret_files import Key

PAIR = (Key("DATABASE_USERNAME", min_bytes=1, public=True), Key("DATABASE_PASSWORD"))
NAMES = tuple(key.name for key in PAIR)

#: Seconds between two generations.
INTERVAL = 0.002
#: Plain files are left alone after so many generations, so that there is one to be taken.
BURST = 20
REST = 0.15


def value(number: int) -> str:
    """Return a value that is long enough to be seen half written."""
    return f"{number:06d}-" + "Xk4mvqz7" * 20 + f"-{number:06d}"


def number_of(value: str) -> int:
    """Return the number of a whole value; a part of one has none."""
    first, _, last = value.split("-")
    assert first == last
    return int(first)


def write_linked(folder: Path, number: int) -> None:
    """Write a new folder and swap `..data` to it, as the kubelet and the CSI driver do."""
    new = folder / f"..{number:06d}"
    new.mkdir()
    for name in NAMES:
        _write(new / name, number)
    (folder / "..data_tmp").symlink_to(new.name)
    (folder / "..data_tmp").replace(folder / "..data")
    if number:
        shutil.rmtree(folder / f"..{number - 1:06d}")


def write_renamed(folder: Path, number: int) -> None:
    """Replace one file after the other by rename, as the Vault Agent does."""
    for name in NAMES:
        _write(folder / "new", number)
        (folder / "new").replace(folder / name)


def write_in_place(folder: Path, number: int) -> None:
    """Write one file after the other where it stands, in two pieces."""
    text = value(number)
    for name in NAMES:
        with open(folder / name, "w", opener=_private) as file:
            file.write(text[:60])
            file.flush()
            file.write(text[60:])


WRITERS: dict[str, Callable[[Path, int], None]] = {
    "linked": write_linked,
    "renamed": write_renamed,
    "in place": write_in_place,
}


class Moment(Protocol):
    """A time that two processes share, as `multiprocessing.Value("d")` makes it."""

    value: float


def keep_writing(layout: str, folder: Path, writing_since: Moment) -> None:
    """Write one generation after the other, until the process is ended.

    :param writing_since: gets the monotonic time at which the write under way began, or infinity.
    """
    write = WRITERS[layout]
    for number in itertools.count(1):
        writing_since.value = time.monotonic()
        write(folder, number)
        writing_since.value = math.inf
        rests = layout != "linked" and number % BURST == 0
        time.sleep(REST if rests else INTERVAL)


def _write(path: Path, number: int) -> None:
    with open(path, "w", opener=_private) as file:
        file.write(value(number))


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
