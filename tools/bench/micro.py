"""The parts of secret_files on their own: check, reload, swap and redaction."""

from __future__ import annotations

import secrets
import threading
import time
import timeit
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Final, TypeVar

from keeper.folder_secrets import FolderSecrets
from secret_files import Folder, Key, Redactor, Secret, SecretStore
from tools.poll import poll
from tools.problem import Problem

from .report import NO_GOAL, Goal, Table

Name = TypeVar("Name")

ROUNDS: Final = 7
COUNTS: Final = (5, 50, 500)
LENGTHS: Final = (300, 3_000, 30_000)
#: What is linear or flat may differ by so much, since a cache holds less of what is larger.
ABOUT_THE_SAME: Final = 1.5

THREADS: Final = 8
CHECK_SECONDS: Final = 1.0
#: Nothing looks for a change by itself.
NEVER: Final = 3600.0

HEADINGS: Final = ["", "measured", "goal", "result"]

LOG_LINE: Final = (
    '{"time": "2026-01-31T12:00:00+0000", "level": "INFO", "logger": "gunicorn.access", '
    '"message": "GET /api/notes 200 12ms"}, '
)


def following(folder: Path) -> Table:
    """Measure what it costs to follow the folder, and how soon a change is everywhere."""
    delays = _swaps(folder)
    reload_goals = {COUNTS[0]: Goal(1, " ms")}
    return Table(
        "Following the folder",
        "A check is `SecretStore.current()` when it has just looked; a reload reads, checks and "
        "publishes every file.",
        HEADINGS,
        [
            _row("a check", _check(folder) * 1e6, ".2f", " µs", Goal(1, " µs")),
            *(
                _row(f"a reload of {n} files", cost * 1e3, ".2f", " ms", reload_goals.get(n))
                for n in COUNTS
                for cost in [_reload(folder, n)]
            ),
            _row(f"from a swap to all of {THREADS} threads", median(delays), ".2f", " s"),
            _row(
                f"the longest of {ROUNDS} swaps, looking every {CHECK_SECONDS:g} s",
                *(max(delays), ".2f", " s", Goal(CHECK_SECONDS + 0.1, " s")),
            ),
        ],
    )


def redaction() -> Table:
    """Measure what it costs to take secrets out of log lines."""
    few, many, short, long = COUNTS[0], COUNTS[-1], LENGTHS[0], LENGTHS[-1]
    lines = [*((few, length) for length in LENGTHS), *((count, short) for count in COUNTS[1:])]
    seconds = _in_turn({line: _redaction(*line) for line in lines})
    per_short = {line: seconds[line] / line[1] * short for line in lines}
    (with_hit,) = _in_turn({short: _redaction(few, short, hit=True)}).values()
    linear = per_short[few, long] / per_short[few, short]
    flat = per_short[many, short] / per_short[few, short]
    goals = {(few, short): Goal(10, " µs")}
    return Table(
        "Redaction",
        f"For each {short} bytes of a line, which holds no secret unless it says so. Learning "
        "makes as many new values known as there were.",
        HEADINGS,
        [
            *(
                _row(f"a line of {length:,} bytes, {count} values known", cost * 1e6, *form)
                for (count, length), cost in per_short.items()
                for form in [(".1f", " µs", goals.get((count, length)))]
            ),
            _row(f"{long:,} bytes to {short}", linear, ".2f", "", Goal(ABOUT_THE_SAME)),
            _row(f"{many} values to {few}", flat, ".2f", "", Goal(ABOUT_THE_SAME)),
            _row(f"a line of {short} bytes that holds a secret", with_hit * 1e6, ".1f", " µs"),
            *(_row(f"learning {n} values", _learn(n) * 1e3, ".1f", " ms") for n in COUNTS),
        ],
    )


def _row(
    what: str, value: float, form: str, unit: str, goal: Goal | None = None
) -> tuple[str, ...]:
    return (what, format(value, form) + unit, *(goal.cells(value) if goal else NO_GOAL))


def _check(folder: Path) -> float:
    _, store = _store(folder / "check", COUNTS[0], NEVER)
    (seconds,) = _in_turn({COUNTS[0]: store.current}).values()
    return seconds


def _reload(folder: Path, count: int) -> float:
    write, store = _store(folder / f"reload-{count}", count, NEVER)

    def reload() -> float:
        version = store.current().version
        write(_values(count))
        started = time.perf_counter()
        adopted = store.refresh()
        elapsed = time.perf_counter() - started
        if adopted.version == version:
            raise Problem("The store did not adopt a new generation.")
        return elapsed

    return median(reload() for _ in range(ROUNDS))


def _swaps(folder: Path) -> list[float]:
    """Return how long it took, for each swap, until every thread had the new generation."""
    write, store = _store(folder / "swaps", COUNTS[0], CHECK_SECONDS)
    stop = threading.Event()
    seen: list[float] = []

    def follow() -> None:
        version = store.current().version
        while not stop.is_set():
            if (current := store.current().version) != version:
                version = current
                seen.append(time.monotonic())
            time.sleep(0.002)

    def swap(number: int) -> float:
        time.sleep(CHECK_SECONDS * number / ROUNDS)  # at another moment between two looks
        seen.clear()
        started = time.monotonic()
        write(_values(COUNTS[0]))
        what = "the new generation in every thread"
        poll(lambda: len(seen) == THREADS, what, 10 * CHECK_SECONDS, 0.002)
        return max(seen) - started

    threads = [threading.Thread(target=follow) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    try:
        return [swap(number) for number in range(ROUNDS)]
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _redaction(count: int, length: int, hit: bool = False) -> Callable[[], object]:
    """Return what redacts a line of `length` bytes, with `count` values known."""
    values = _values(count)
    redactor = Redactor()
    redactor.learn(Secret(name, value) for name, value in values.items())
    line = (LOG_LINE * (length // len(LOG_LINE) + 1))[:length]
    if hit:
        value = values["SECRET_0"]
        line = line[: length // 2] + value + line[length // 2 + len(value) :]
    if (redactor.redact(line) != line) != hit:
        raise Problem("The redactor did not do what it is for.")
    return lambda: redactor.redact(line)


def _learn(count: int) -> float:
    def learn() -> float:
        redactor = Redactor()
        first, second = (
            [Secret(name, value) for name, value in _values(count).items()] for _ in range(2)
        )
        redactor.learn(first)
        started = time.perf_counter()
        redactor.learn(second)
        return time.perf_counter() - started

    return median(learn() for _ in range(ROUNDS))


def _store(
    folder: Path, count: int, check_seconds: float
) -> tuple[Callable[[Mapping[str, str]], None], SecretStore]:
    """Return what writes values into a folder as the kubelet does, and the store that reads it."""
    objects = FolderSecrets(folder.parent)

    def write(values: Mapping[str, str]) -> None:
        objects.patch(objects.get(folder.name), values)

    values = _values(count)
    write(values)
    return write, SecretStore(Folder(folder, [Key(name) for name in values]), check_seconds)


def _values(count: int) -> dict[str, str]:
    return {f"SECRET_{number}": secrets.token_urlsafe(32) for number in range(count)}


def _in_turn(calls: Mapping[Name, Callable[[], object]]) -> dict[Name, float]:
    """Return the seconds that one call of each takes."""
    timers = {key: timeit.Timer(call) for key, call in calls.items()}
    numbers = {key: timer.autorange()[0] for key, timer in timers.items()}  # 0.2 s each
    rounds = [
        {key: timer.timeit(numbers[key]) / numbers[key] for key, timer in timers.items()}
        for _ in range(ROUNDS)
    ]
    return {key: median(seconds[key] for seconds in rounds) for key in calls}
