"""``python -m tools.bench``: measures the service, and writes docs/benchmarks.md.

A goal that is missed is written down; only what can't be measured is an error.
"""

from __future__ import annotations

import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import psutil
import psycopg

from tools.problem import Problem

from . import micro, pairs, recovery, report, servers

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PAGE = servers.ROOT / "docs" / "benchmarks.md"


def main() -> int:
    """Measure everything, and return the exit status."""
    for number in SIGNALS:
        signal.signal(number, _interrupt)
    introduction = report.introduction(pairs.REQUEST_ROUNDS, pairs.START_ROUNDS, pairs.SECONDS)
    print(f"{introduction}\n", flush=True)
    try:
        tables = _measure()
    except (Problem, OSError, psutil.Error, psycopg.Error) as problem:
        print(problem, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    report.write(PAGE, introduction, tables)
    return 0


def _measure() -> list[report.Table]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with servers.database(folder) as settings:
            measurements: list[Callable[[], report.Table]] = [
                lambda: pairs.livez(settings, folder),
                lambda: pairs.notes(settings, folder),
                lambda: pairs.limits(settings, folder),
                lambda: pairs.process(settings, folder),
            ]
            tables = [_show(measure()) for measure in measurements]
        tables.append(_show(recovery.table(folder)))
        return [*tables, _show(micro.following(folder)), _show(micro.redaction())]


def _show(table: report.Table) -> report.Table:
    print(f"{table}\n", flush=True)
    return table


def _interrupt(number: int, frame: FrameType | None) -> None:
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)  # a second Ctrl-C must not leave half of it behind
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
