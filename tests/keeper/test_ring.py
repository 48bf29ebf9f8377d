"""A key goes from coming over current to accepted, and ends; nothing that is valid is dropped."""

from __future__ import annotations

import time

import pytest

from keeper.ring import CLOCK_TOLERANCE, Fallback, Ring
from secret_files import Secret


def secret(text: str) -> Secret:
    return Secret("INVITE_KEY", text)


def ring(*texts: str, note: str = "") -> Ring:
    return Ring.of([secret(text) for text in texts], note)


def revealed(found: Ring) -> list[str]:
    return [value.reveal() for value in found.values]


def is_now(when: int | None) -> bool:
    return when is not None and abs(when - time.time()) < 5


def test_each_step_of_a_rotation() -> None:
    first = ring("one")
    announced = first.announced(secret("two"))
    assert (revealed(announced), announced.note) == (["one", "two"], "coming")
    assert announced.coming == secret("two")
    promoted = announced.promoted(1_700_000_000)
    assert (revealed(promoted), promoted.note) == (["two", "one"], "1700000000")
    assert promoted.coming is None
    closed = promoted.restarted(1_700_000_009)
    assert (revealed(closed), closed.note) == (["two", "one"], "1700000009")
    assert closed.without(1_700_000_008) == closed
    retired = closed.without(1_700_000_009)
    assert (revealed(retired), retired.note) == (["two"], "")


def test_the_one_before_the_last_stays_for_its_time() -> None:
    found = ring("two", "one", note="1700000000").announced(secret("three")).promoted(1_700_000_500)
    assert revealed(found) == ["three", "two", "one"]
    assert revealed(found.restarted(1_700_000_600).without(1_700_000_000)) == ["three", "two"]
    assert found.restarted(1_700_000_600).note == "1700000600,1700000000"


def test_what_was_announced_before_makes_room() -> None:
    found = ring("one", "lost", "zero", note="coming,1700000000").announced(secret("two"))
    assert revealed(found) == ["one", "two", "zero"]
    assert found.note == "coming,1700000000"


def test_without_a_coming_value_nothing_is_promoted() -> None:
    found = ring("two", "one", note="1700000000")
    assert found.promoted(1_800_000_000) == found


def test_what_is_coming_is_never_dropped_for_its_age() -> None:
    found = ring("one", "two", note="coming")
    assert found.without(time.time() + 1e9) == found


@pytest.mark.parametrize("note", ["", "coming", "coming,1700000000", "1,2,3"])
def test_values_of_another_number_than_noted_were_written_by_hand_and_stay(note: str) -> None:
    texts = ["now", *"abcde"[: len(note.split(",")) + 1]]
    found = ring(*texts, note=note)
    assert revealed(found) == texts
    assert all(is_now(one.since) for one in found.fallbacks)
    assert found.coming is None


@pytest.mark.parametrize("nonsense", ["yesterday", "-1", "1.5", "²", " 1", "1\n", "9" * 12])
def test_a_time_that_makes_no_sense_is_now(nonsense: str) -> None:
    (one,) = ring("two", "one", note=nonsense).fallbacks
    assert is_now(one.since)


def test_a_time_of_the_future_is_now_beyond_the_tolerance() -> None:
    ahead = int(time.time()) + CLOCK_TOLERANCE - 5
    (one,) = ring("two", "one", note=str(ahead)).fallbacks
    assert one.since == ahead
    (one,) = ring("two", "one", note=str(ahead + 10)).fallbacks
    assert is_now(one.since)


def test_the_value_of_a_fallback_is_not_shown() -> None:
    assert "a-value" not in repr(Fallback(secret("a-value-that-nobody-may-see"), None))
