"""`make leak-scan`: looks for the secrets of what `make deploy` deployed, and prints a table.

Exit status: 0 nothing was found, 1 something was, 2 a place could not be read. (make itself
ends with 2 whenever a command fails, and prints the command's own status.)
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from app.secret_files import Redactor, Secret
from tests.e2e.cluster import Cluster

from .engine import UNREADABLE
from .report import peak_memory, summary, table
from .run import scanning


def main() -> int:
    """Scan, and return the exit status."""
    parser = argparse.ArgumentParser(prog="make leak-scan", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there, too")
    parser.add_argument(
        "--rotate", action="store_true", help="rotate first, and look for the values before as well"
    )
    arguments = parser.parse_args()
    cluster = Cluster(os.environ.get("CLUSTER", "flask-app"), port="")
    values: list[Secret] = []
    try:
        with scanning(cluster) as scan:
            values = scan.values
            if arguments.rotate:
                scan.rotate()
            started = time.monotonic()
            report = scan.report()
            seconds = time.monotonic() - started
    except Exception as problem:
        print(f"{cluster.name} can't be scanned: {told(problem, values)}", file=sys.stderr)
        return UNREADABLE
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
