"""A demo that does not go as it is told ends with 1, and takes its leak back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from tools.cluster.client import Cluster
from tools.demo import __main__ as demo
from tools.demo import acts, leak, rotation
from tools.demo.stage import NotAsTold
from tools.leakscan.engine import Finding, Place, Report, Row
from tools.leakscan.places import PLACES
from tools.load import Failure, Load

IN_ETCD = "etcd: database files"

#: What each scan of the demo finds: before the leak, with it, and after it.
Found = tuple[set[str], set[str], set[str]]

AS_TOLD: Found = (set(), leak.SURFACES | {IN_ETCD}, {IN_ETCD})


class Scans:
    """Stands for the scans, and for the leak that they look at."""

    def __init__(self) -> None:
        self.found: list[set[str]] = list(AS_TOLD)
        self.error = ""
        self.planted: list[str] = []
        self.looked: list[set[str]] = []
        self.stop: BaseException | None = None

    def look(self, _stage: Any, _cluster: Any, places: Sequence[Place], *_: Any) -> Report:
        self.looked.append({str(place) for place in places})
        found = self.found[len(self.looked) - 1]
        if self.stop and self.planted:
            raise self.stop
        rows = [Row(place, objects=1, size=1, error=self.error) for place in places]
        for row in rows:
            if str(row.place) in found:
                row.findings.add(Finding("somewhere", f"{leak.CANARY}, raw", leak.CANARY))
        return Report(rows, [leak.CANARY])

    @contextmanager
    def leaked(self, *_: Any) -> Iterator[None]:
        self.planted.append("leak")
        try:
            yield
        finally:
            self.planted.remove("leak")


@pytest.fixture
def scans(monkeypatch: pytest.MonkeyPatch) -> Scans:
    """Play all without a cluster but the two acts with scans, for which there are stand-ins."""
    scans = Scans()

    @contextmanager
    def canary(_: Cluster) -> Iterator[str]:
        yield "the-canary-of-this-test"

    def nothing(*_: Any) -> list[Any]:
        return []

    monkeypatch.setattr(demo, "deploy", lambda _, cluster: cluster)
    monkeypatch.setattr(demo, "open_it", nothing)
    monkeypatch.setattr(demo, "rotate_under_load", nothing)
    monkeypatch.setattr("signal.signal", nothing)
    monkeypatch.setattr(acts, "look", scans.look)
    monkeypatch.setattr(leak, "canary", canary)
    monkeypatch.setattr(leak, "leaked", scans.leaked)
    monkeypatch.setattr(leak, "wait_until_swept", nothing)
    monkeypatch.setenv("YES", "1")
    return scans


def test_as_it_is_told(scans: Scans, capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main() == 0
    told = capsys.readouterr()
    assert told.err == ""
    assert "found in output: logs: flask-app-canary/API_TOKEN, raw, in somewhere" in told.out
    assert "Not yet from etcd: database files" in told.out
    whole, ofpods, again = scans.looked
    assert whole == set(map(str, PLACES))
    assert leak.SURFACES < ofpods < whole
    assert again == AS_TOLD[1]
    assert scans.planted == []


@pytest.mark.parametrize(
    ("number", "found", "problem"),
    [
        (0, {IN_ETCD}, "the scan is not clean before there is a planted leak"),
        (1, set(), "the scan is blind: the leak is not found in kubernetes objects: namespace"),
        (1, leak.SURFACES - {"output: logs"}, "the leak is not found in output: logs"),
        (2, {"output: logs"}, "the leak was taken back, and is still in output: logs"),
    ],
)
def test_a_scan_that_goes_another_way(
    scans: Scans,
    capsys: pytest.CaptureFixture[str],
    number: int,
    found: set[str],
    problem: str,
) -> None:
    scans.found[number] = found
    assert demo.main() == 1
    assert problem in capsys.readouterr().err
    assert scans.planted == []


def test_a_place_that_can_not_be_read(scans: Scans, capsys: pytest.CaptureFixture[str]) -> None:
    for number, problem in ((1, "not clean before"), (2, "more to tell"), (3, "more to tell")):
        scans.looked.clear()
        look = scans.look

        def some(
            *arguments: Any, number: int = number, look: Callable[..., Report] = look
        ) -> Report:
            scans.error = "away" if len(scans.looked) + 1 == number else ""
            return look(*arguments)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(acts, "look", some)
            assert demo.main() == 1
        assert problem in capsys.readouterr().err


def test_something_else_is_found(scans: Scans, monkeypatch: pytest.MonkeyPatch) -> None:
    def look(*arguments: Any) -> Report:
        report = scans.look(*arguments)
        if len(scans.looked) == 2:
            report.rows[0].findings.add(Finding("somewhere", "flask-app-secrets/KEY, raw", "KEY"))
        return report

    monkeypatch.setattr(acts, "look", look)
    assert demo.main() == 1


@pytest.mark.parametrize(
    ("stop", "status"), [(KeyboardInterrupt(), 130), (OSError("no kubectl"), 1)]
)
def test_the_leak_is_taken_back_whatever_happens(
    scans: Scans, stop: BaseException, status: int
) -> None:
    scans.stop = stop
    assert demo.main() == status
    assert len(scans.looked) == 2
    assert scans.planted == []


FAILURE = Failure(0, 1, "GET /", "500 something")


@pytest.mark.parametrize(
    ("failures", "lost_sessions", "lost", "requests", "restarted", "old", "problem"),
    [
        ([FAILURE], [], set(), 1000, False, "refused", "somebody noticed the rotation"),
        ([], [FAILURE], set(), 1000, False, "refused", "somebody noticed the rotation"),
        ([], [], {"a note"}, 1000, False, "refused", "1 texts are gone"),
        ([], [], set(), 10, False, "refused", "10 requests are no load"),
        ([], [], set(), 1000, True, "refused", "a pod was restarted"),
        ([], [], set(), 1000, False, "let in", "the old login is let in"),
        ([], [], set(), 1000, False, "refused", ""),
    ],
)
def test_a_rotation_that_somebody_notices_is_not_as_told(
    failures: list[Failure],
    lost_sessions: list[Failure],
    lost: set[str],
    requests: int,
    restarted: bool,
    old: str,
    problem: str,
) -> None:
    load = Load(0, Path(), failures=failures, lost_sessions=lost_sessions)
    load.seconds += [0.01] * requests
    with pytest.raises(NotAsTold, match=problem) if problem else nullcontext():
        rotation.check(load, lost, restarted, old, "let in")
