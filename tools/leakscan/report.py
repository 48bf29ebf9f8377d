"""What a scan tells: a table for people, the same as JSON."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from itertools import groupby

from tools.table import Table

from .engine import Report, Row

#: How many findings of one place are listed; their number is told in any case.
LISTED = 10


def table(report: Report) -> str:
    """Return a line for each place: what was searched, how much, and the verdict."""
    return "\n".join(_lines(report))


def summary(report: Report, seconds: float) -> str:
    """Return what was looked for, what came of it, and what that took."""
    verdicts = [row.verdict for row in report.rows]
    size = sum(row.size for row in report.rows)
    return (
        f"{len(report.needles)} values in {len(report.rows)} places, {_bytes(size)}: "
        f"{verdicts.count('clean')} clean, {verdicts.count('found')} with findings, "
        f"{verdicts.count('unreadable')} unreadable; {seconds:.0f} s, {_bytes(peak_memory())} held"
    )


def peak_memory() -> int:
    """Return the most that this process has held in memory, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # https://man.freebsd.org/cgi/man.cgi?query=getrusage: in KiB there and on Linux, not on macOS
    return peak if sys.platform == "darwin" else peak * 1024


def _lines(report: Report) -> Iterator[str]:
    headings = ("PLACE", "WHAT WAS SEARCHED", "OBJECTS", "BYTES", "VERDICT")
    heading, *lines = Table(headings, right=(2, 3)).begin(map(_cells, report.rows))
    yield heading
    places = zip(report.rows, lines, strict=True)
    for group, found in groupby(places, lambda one: one[0].place.group):
        yield group
        for row, line in found:
            yield line
            yield from _problems(row)


def _cells(row: Row) -> tuple[str, ...]:
    place = row.place
    return (f"  {place.name}", place.searched, f"{row.objects:,}", _bytes(row.size), row.verdict)


def _problems(row: Row) -> Iterator[str]:
    for finding in sorted(row.findings)[:LISTED]:
        yield f"    found: {finding.what}, in {finding.where}"
    if len(row.findings) > LISTED:
        yield f"    and {len(row.findings) - LISTED} more"
    if row.error:
        yield f"    could not be read: {row.error}"


def _bytes(size: float) -> str:
    """Return a size in the largest unit that fits."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
