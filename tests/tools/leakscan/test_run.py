"""A scan that looked for values which were others meanwhile is no pass."""

from __future__ import annotations

from typing import Any

import pytest

from secret_files import Secret
from tests.tools.leakscan.nowhere import NOWHERE, target_for
from tools.leakscan.engine import CLEAN, UNREADABLE, Place, Reading, Report, Sample
from tools.leakscan.run import Scan
from tools.leakscan.target import Target

OLD = Secret("flask-app-secrets/KEY", "the-value-of-this-test-4f1c")
NEW = Secret("flask-app-secrets/KEY", "another-value-of-this-test-9b27")


class Reader:
    """Reads one value."""

    def __init__(self, value: Secret) -> None:
        self._value = value

    def values(self) -> list[Secret]:
        return [self._value]


def leak(target: Target) -> Reading:
    """What has the old value."""
    yield Sample("a file", OLD.reveal().encode())


def clean(target: Target) -> Reading:
    """What is harmless."""
    yield Sample("a file", b"nothing of interest")


def report(now: Secret, read: Any) -> Report:
    """Look for the old value, while the Secret holds the one of now."""
    nobody: Any = None
    reader: Any = Reader(now)
    target = target_for(OLD, reader=reader)
    return Scan(NOWHERE, reader, nobody).report(target, [Place("group", "place", read)])


@pytest.mark.parametrize(("now", "status"), [(OLD, CLEAN), (NEW, UNREADABLE)])
def test_other_values_after_the_places_make_it_unreadable(now: Secret, status: int) -> None:
    assert report(now, clean).status == status


def test_what_was_found_before_is_told_all_the_same() -> None:
    told = report(NEW, leak)
    assert told.found() == {OLD.name: {"group: place"}}
    assert list(told.unread()) == ["kubernetes objects: secrets"]
