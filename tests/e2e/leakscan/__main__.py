"""`make leak-scan`: looks for the secrets of what `make deploy` deployed, and prints a table.

Exit status: 0 nothing was found, 1 something was, 2 a place could not be read.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

from tests.e2e.cluster import Cluster

from .engine import UNREADABLE, told
from .needles import Needles
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
    started = time.monotonic()
    try:
        with scanning(cluster) as scan:
            try:
                if arguments.rotate:
                    scan.rotate()
                report = scan.report()
            except Exception as problem:
                print(f"The scan failed: {told(problem, Needles(scan.values))}", file=sys.stderr)
                return UNREADABLE
    except (AssertionError, OSError) as problem:
        print(f"The cluster {cluster.name} can't be scanned: {problem}", file=sys.stderr)
        return UNREADABLE
    seconds = time.monotonic() - started
    print(table(report), summary(report, seconds), sep="\n\n")
    if arguments.json:
        figures = {"seconds": round(seconds, 1), "memory_bytes": peak_memory()}
        arguments.json.write_text(json.dumps({**report.as_dict(), **figures}, indent=2) + "\n")
    return report.status


if __name__ == "__main__":
    sys.exit(main())
