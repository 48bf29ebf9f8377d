"""Lab 4: read a pair of secrets while another process replaces it, in two ways, and count.

Both values of a pair have the same number, so that a pair of two generations is seen.
"""

from __future__ import annotations

import math
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from secret_files import Folder
from tests.writers import NAMES, PAIR, keep_writing, number_of, write_linked

#: So many torn pairs show that it happens.
ENOUGH = 20
#: As long as nothing is torn, in seconds.
PATIENCE = 60

Pair = tuple[str, str]


def main() -> None:
    """Print a line for each way to read."""
    # the same on every system
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as made:
        path = Path(made)
        write_linked(path, 0)
        since = spawn.Value("d", 0.0, lock=False)
        writer = spawn.Process(target=keep_writing, args=("linked", path, since), daemon=True)
        writer.start()
        while not since.value:
            time.sleep(0.01)
        folder = Folder(path, PAIR)
        try:
            torn, pairs = count(lambda: two_opens(path), torn=ENOUGH)
            print(f"two files, opened one after the other: {torn} of {pairs:,} pairs are torn")
            torn, pairs = count(lambda: one_generation(folder), pairs=pairs)
            print(f"one generation, as the service reads it: {torn} of {pairs:,} pairs are torn")
        finally:
            writer.terminate()
            writer.join()


def two_opens(path: Path) -> Pair:
    """Read the pair as most programs do."""
    return (path / "..data" / NAMES[0]).read_text(), (path / "..data" / NAMES[1]).read_text()


def one_generation(folder: Folder) -> Pair:
    """Read the pair as the service does."""
    found = folder.read()
    return found[NAMES[0]].reveal(), found[NAMES[1]].reveal()


def count(
    read: Callable[[], Pair], torn: float = math.inf, pairs: float = math.inf
) -> tuple[int, int]:
    """Read until so many are torn, or were read; return how many were torn, and of how many.

    A pair is torn when it is of two generations, or when its second half has gone.
    """
    found = done = 0
    deadline = time.monotonic() + PATIENCE
    while found < torn and done < pairs and time.monotonic() < deadline:
        done += 1
        try:
            first, second = read()
            found += number_of(first) != number_of(second)
        except FileNotFoundError:
            found += 1
    return found, done


if __name__ == "__main__":
    main()
