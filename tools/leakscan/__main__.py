"""`make leak-scan`: looks for the secrets of what `make deploy` deployed, and prints a table.

Exit status: 0 nothing was found, 1 something was, 2 a place could not be read, 130 Ctrl-C. (make
itself ends with 2 whenever a command fails, and prints the command's own status.) On a terminal,
each place is told as it is read.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from secret_files import Redactor, Secret
from tools.cluster.client import Cluster
from tools.progress import Progress, is_terminal

from .engine import UNREADABLE
from .report import peak_memory, summary, table
from .run import scanning

#: As a shell tells it of a program that Ctrl-C has ended.
INTERRUPTED = 130


def main() -> int:
    """Scan, and return the exit status."""
    parser = argparse.ArgumentParser(prog="make leak-scan", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there, too")
    parser.add_argument(
        "--rotate", action="store_true", help="rotate first, and look for the values before as well"
    )
    arguments = parser.parse_args()
    cluster = Cluster.from_environment()
    values: list[Secret] = []
    try:
        shown = sys.stderr if is_terminal(sys.stderr) else None
        with Progress(shown) as progress, scanning(cluster, progress) as scan:
            values = scan.values
            if arguments.rotate:
                with progress.step("rotate"):
                    scan.rotate()
            started = time.monotonic()
            report = scan.report()
            seconds = time.monotonic() - started
            progress.say()
    except Exception as problem:
        print(f"{cluster.name} can't be scanned: {told(problem, values)}", file=sys.stderr)
        return UNREADABLE
    except KeyboardInterrupt:
        print(f"{cluster.name} was not scanned to the end.", file=sys.stderr)
        return INTERRUPTED
    print(table(report), summary(report, seconds), sep="\n\n")
    if arguments.json:
        figures = {"seconds": round(seconds, 1), "memory_bytes": peak_memory()}
        arguments.json.write_text(json.dumps({**report.as_dict(), **figures}, indent=2) + "\n")
    return report.status


def told(problem: Exception, values: Sequence[Secret]) -> str:
    """Return what an error says, unless there is a value in it."""
    message = f"{type(problem).__name__}: {problem}"
    redactor = Redactor()
    redactor.learn(values)
    return redactor.redact(message)


if __name__ == "__main__":
    sys.exit(main())
