"""The service beside something simpler, each in turn."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from statistics import median, quantiles
from typing import Final

from . import load, servers
from .report import NO_GOAL, Goal, Table
from .servers import (
    BARE,
    BARE_CONFIG,
    CONFIG,
    FIXED,
    SERVICE,
    UNLIMITED,
    UNLIMITED_CONFIG,
    Running,
    Settings,
)

#: Many short rounds: what else the machine does then disturbs a few of them.
REQUEST_ROUNDS: Final = 31
START_ROUNDS: Final = 21
SECONDS: Final = 1
WARM_UP_SECONDS: Final = 1

NOTES: Final = "/api/notes?limit=20"

Sample = Mapping[str, float]
Rounds = list[tuple[Sample, Sample]]


def livez(settings: Settings, folder: Path) -> Table:
    """Measure the lightest route beside a bare one."""
    return Table(
        "The lightest route",
        "`/livez`, beside a Flask app with one route that answers the same.",
        _headings("a bare route"),
        _request_rows(_requests(settings, folder, BARE, "/livez"), Goal(0.95, least=True)),
    )


def notes(settings: Settings, folder: Path) -> Table:
    """Measure a page of notes beside the same with credentials that are never looked up."""
    return Table(
        "The database",
        f"`{NOTES}`, beside the same service with credentials fixed at its start.",
        _headings("fixed credentials"),
        _request_rows(_requests(settings, folder, FIXED, NOTES), Goal(0.97, least=True)),
    )


def limits(settings: Settings, folder: Path) -> Table:
    """Measure a page of notes beside the same without limits for slow clients and the database."""
    rounds = _requests(settings, folder, UNLIMITED, NOTES, UNLIMITED_CONFIG)
    return Table(
        "The limits",
        f"`{NOTES}`, beside the same service without limits for slow clients and for the "
        "database, on eight threads of gunicorn's own worker.",
        _headings("without limits"),
        _request_rows(rounds, Goal(0.97, least=True)),
    )


def process(settings: Settings, folder: Path) -> Table:
    """Measure the start and the memory of a worker beside a bare one."""

    def measure(application: str, config: Path) -> Sample:
        with servers.gunicorn(application, settings, folder, config) as running:
            load.send(running.port, "/livez", WARM_UP_SECONDS)
            return {"start": running.start_seconds, **running.memory()}

    rounds = [(measure(SERVICE, CONFIG), measure(BARE, BARE_CONFIG)) for _ in range(START_ROUNDS)]
    return Table(
        "The process",
        "Beside a bare app with the same libraries imported. Memory is that after "
        f"{WARM_UP_SECONDS} s of requests; with gunicorn's first process, what both share is "
        "counted once.",
        _headings("a bare app"),
        [
            _row("from the spawn to the first answer, s", rounds, "start", ".3f", Goal(1.25)),
            _row("the worker's memory (RSS), MiB", rounds, "rss", ".1f", Goal(1.1)),
            *(
                _row("with gunicorn's first process (PSS), MiB", rounds, key, ".1f")
                for key in ["pss"]
                if key in rounds[0][0]  # Linux has it
            ),
        ],
    )


def _requests(
    settings: Settings, folder: Path, other: str, path: str, config: Path = CONFIG
) -> Rounds:
    with ExitStack() as stack:
        ours, theirs = (
            stack.enter_context(servers.gunicorn(application, settings, folder, settings_of_it))
            for application, settings_of_it in ((SERVICE, CONFIG), (other, config))
        )
        for running in (ours, theirs):
            load.send(running.port, path, WARM_UP_SECONDS)
        return [(_sample(ours, path), _sample(theirs, path)) for _ in range(REQUEST_ROUNDS)]


def _request_rows(rounds: Rounds, goal: Goal) -> list[tuple[str, ...]]:
    return [
        _row("requests per second", rounds, "rate", ",.0f", goal),
        _row("the worker's CPU time per request, µs", rounds, "cpu", ",.0f"),
    ]


def _sample(running: Running, path: str) -> Sample:
    before = running.cpu_seconds()
    sent = load.send(running.port, path, SECONDS)
    cpu = running.cpu_seconds() - before
    return {"rate": sent.per_second, "cpu": cpu / sent.requests * 1e6}


def _headings(other: str) -> list[str]:
    return ["", "service", other, "ratio", "half of the ratios", "goal", "result"]


def _row(
    what: str, rounds: Rounds, key: str, form: str, goal: Goal | None = None
) -> tuple[str, ...]:
    ratios = [ours[key] / theirs[key] for ours, theirs in rounds]
    lower, ratio, upper = quantiles(ratios, n=4)
    return (
        what,
        format(median(ours[key] for ours, _ in rounds), form),
        format(median(theirs[key] for _, theirs in rounds), form),
        f"{ratio:.3f}",
        f"{lower:.3f} to {upper:.3f}",
        *(goal.cells(ratio) if goal else NO_GOAL),
    )
