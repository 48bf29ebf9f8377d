"""A place that can't be read, or in which nothing was searched, is never a pass."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from secret_files import Secret
from tests.tools.leakscan.nowhere import target_for
from tools.leakscan.engine import (
    CLEAN,
    FOUND,
    UNREADABLE,
    Fault,
    Place,
    Reading,
    Report,
    Sample,
    Swept,
    Unreadable,
    scan,
)
from tools.leakscan.report import LISTED, summary, table
from tools.leakscan.target import Target
from tools.progress import Progress

VALUE = "the-value-of-this-test-4f1c"
SECRET = Secret("flask-app-secrets/KEY", VALUE)

Read = Callable[[Target], Reading]


def clean(target: Target) -> Reading:
    """What is harmless."""
    yield Sample("a file", b"nothing of interest")
    yield Sample("a stream", iter([b"nothing", b" either"]))
    yield Swept(3, 100)


def leak(target: Target) -> Reading:
    """What has the value."""
    yield Sample("a file", b"nothing")
    yield Sample("a stream", iter([b"it is ", VALUE[:9].encode(), VALUE[9:].encode()]))


def leak_in_a_name(target: Target) -> Reading:
    """What has the value in its name."""
    yield Sample(f"file {VALUE}", b"nothing")


def fault(target: Target) -> Reading:
    """What is wrong without a value."""
    yield Sample("a mount", b"tmpfs")
    yield Fault("a mount", "is not what it has to be")


def indiscreet_fault(target: Target) -> Reading:
    """What tells the value."""
    yield Fault("a file", f"holds {VALUE}")


def unreadable(target: Target) -> Reading:
    """What can't be read."""
    yield Sample("the first half", b"nothing")
    raise Unreadable("the second half is away")


def indiscreet_error(target: Target) -> Reading:
    """What can't be read, and why not is not for everybody."""
    yield Sample("the first half", b"nothing")
    raise OSError(f"no file {VALUE}")


def leak_and_unreadable(target: Target) -> Reading:
    """What is found before the rest can't be read."""
    yield from leak(target)
    yield from unreadable(target)


def empty(target: Target) -> Reading:
    """What is there and has no byte."""
    yield Sample("an empty file", b"")
    yield Sample("an empty stream", iter([]))


def nothing(target: Target) -> Iterator[Any]:
    """What is not there."""
    return iter(())


def scanned(*reads: Read) -> Report:
    return scan(target_for(SECRET), [Place("group", read.__name__, read) for read in reads])


@pytest.mark.parametrize(
    ("read", "status", "verdict"),
    [
        (clean, CLEAN, "clean"),
        (leak, FOUND, "found"),
        (leak_in_a_name, FOUND, "found"),
        (fault, FOUND, "found"),
        (indiscreet_fault, FOUND, "found"),
        (leak_and_unreadable, FOUND, "found"),
        (unreadable, UNREADABLE, "unreadable"),
        (indiscreet_error, UNREADABLE, "unreadable"),
        (empty, UNREADABLE, "unreadable"),
        (nothing, UNREADABLE, "unreadable"),
    ],
)
def test_verdict_and_exit_status(read: Read, status: int, verdict: str) -> None:
    report = scanned(clean, read)
    assert report.status == status
    assert [row.verdict for row in report.rows] == ["clean", verdict]
    shown = table(report) + summary(report, 1) + json.dumps(report.as_dict()) + repr(report)
    assert VALUE not in shown


def test_a_finding_counts_more_than_what_could_not_be_read() -> None:
    assert scanned(unreadable, leak).status == FOUND


def test_what_was_searched_is_counted() -> None:
    (row,) = scanned(clean).rows
    assert (row.objects, row.size) == (5, 19 + 14 + 100)


def test_findings_are_told_by_value_form_and_place() -> None:
    report = scanned(leak, fault, clean, leak_in_a_name)
    name = "flask-app-secrets/KEY"
    assert report.found() == {name: {"group: leak", "group: leak_in_a_name"}}
    assert report.faults() == {"group: fault": ["a mount: is not what it has to be"]}
    text = table(report)
    assert f"found: {name}, raw, in a stream" in text
    assert f"found: {name}, raw, in something whose name holds a value" in text
    assert "found: is not what it has to be, in a mount" in text


def test_a_slow_place_is_begun_first_and_told_in_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tools.leakscan.engine.THREADS", 1)
    begun = []

    def read(target: Target) -> Reading:
        """What is harmless."""
        begun.append(target)
        yield Sample(f"number {len(begun)}", VALUE.encode())

    places = [Place("group", "short", read), Place("group", "long", read, slow=True)]
    report = scan(target_for(SECRET), places)
    assert [(row.place.name, one.where) for row in report.rows for one in row.findings] == [
        ("short", "number 2"),
        ("long", "number 1"),
    ]


def test_what_could_not_be_read_is_told() -> None:
    report = scanned(unreadable, indiscreet_error, empty)
    assert report.unread() == {
        "group: unreadable": "Unreadable: the second half is away",
        "group: indiscreet_error": "OSError, whose message holds a value",
        "group: empty": "nothing was searched: 0 bytes",
    }
    assert all(problem in table(report) for problem in report.unread().values())


def test_the_table_has_a_line_for_each_place_and_not_for_each_finding() -> None:
    def many(target: Target) -> Reading:
        """What has it often."""
        for number in range(100):
            yield Sample(f"file {number}", VALUE.encode())

    report = scanned(clean, many)
    lines = table(report).splitlines()
    assert len(lines) == 1 + 1 + 2 + LISTED + 1
    assert lines[-1].strip() == f"and {100 - LISTED} more"
    assert "1 values in 2 places, 3 kB: 1 clean, 1 with findings" in summary(report, 1)


def test_a_scan_of_no_place_is_an_error() -> None:
    with pytest.raises(ValueError, match="no place"):
        scanned()


def test_each_place_is_told_with_its_verdict_and_never_with_a_value() -> None:
    stream = io.StringIO()
    places = [Place("group", read.__name__, read) for read in (clean, leak, indiscreet_error)]
    with Progress(stream) as progress:
        scan(target_for(SECRET), places, progress)
    assert {line[9:] for line in stream.getvalue().splitlines()} == {
        "group: clean: clean",
        "group: leak: found",
        "group: indiscreet_error: unreadable",
    }
    assert VALUE not in stream.getvalue()
