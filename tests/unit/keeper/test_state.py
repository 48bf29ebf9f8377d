"""The state of a rotation is read from the Secret as it was written, and from nonsense safely."""

from __future__ import annotations

import string
import time
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.keeper.objects import NO_NOTES, StoredSecret
from app.keeper.plan import DATABASE, SESSION
from app.keeper.state import ANNOUNCED, IDLE, PROMOTED, Fallback, State
from app.secret_files import Secret

#: No time that a keeper writes has more digits.
LAST = 10**11 - 1

times = st.integers(1, LAST)
keys = st.text(string.ascii_letters + string.digits + "-_", min_size=1).map(
    lambda text: Secret("SECRET_KEY_FALLBACKS", text)
)
states = st.builds(
    State,
    step=st.sampled_from([IDLE, ANNOUNCED, PROMOTED]),
    parts=st.frozensets(st.sampled_from([SESSION, DATABASE])),
    made=st.fixed_dictionaries({SESSION: times, DATABASE: times}),
    fallbacks=st.lists(st.builds(Fallback, keys, st.none() | times), max_size=4).map(tuple),
    generation=st.integers(0, LAST),
)


def stored(values: Mapping[str, str], notes: Mapping[str, str] = NO_NOTES) -> StoredSecret:
    data = {key: Secret(key, value) for key, value in values.items()}
    return StoredSecret("secrets", "1", data, notes)


def is_now(when: int | None) -> bool:
    return when is not None and abs(when - time.time()) < 5


@given(states)
def test_what_was_written_is_read(state: State) -> None:
    assert State.of(stored(state.values(), state.notes())) == state


@given(states)
def test_the_next_generation_is_always_another_and_grows(state: State) -> None:
    following = state.published()
    assert following.generation > state.generation
    assert following.published().generation > following.generation
    assert replace(following, generation=state.generation) == state


def test_a_generation_is_the_time_where_that_is_more() -> None:
    state = State.of(stored({"GENERATION": "1700000000"}))
    assert is_now(state.next_generation())


def test_an_empty_secret_is_at_rest_and_new() -> None:
    state = State.of(stored({}))
    assert (state.step, state.parts, state.fallbacks) == (IDLE, frozenset(), ())
    assert state.generation == 0
    assert all(is_now(when) for when in state.made.values())


def test_what_has_no_note_is_as_old_as_its_generation() -> None:
    state = State.of(stored({"GENERATION": "1700000000"}, {"session-made": "1600000000"}))
    assert state.made == {SESSION: 1_600_000_000, DATABASE: 1_700_000_000}


@pytest.mark.parametrize("nonsense", ["", "yesterday", "-1", "1.5", "²", " 1", "1\n", "9" * 12])
def test_a_number_that_makes_no_sense_is_none(nonsense: str) -> None:
    notes = {"session-made": nonsense, "fallbacks": nonsense}
    state = State.of(stored({"GENERATION": nonsense, "SECRET_KEY_FALLBACKS": "one"}, notes))
    assert state.generation == 0
    assert is_now(state.made[SESSION])
    assert [is_now(one.since) for one in state.fallbacks] == [True]


@pytest.mark.parametrize("text", ["", "one", "one\ntwo\nthree", "one\n\ntwo\nthree\n"])
def test_fallbacks_of_another_number_than_noted_were_written_by_hand_and_stay(text: str) -> None:
    state = State.of(stored({"SECRET_KEY_FALLBACKS": text}, {"fallbacks": "coming,1700000000"}))
    assert [one.key.reveal() for one in state.fallbacks] == text.split()
    assert all(is_now(one.since) for one in state.fallbacks)
    assert state.coming is None


def test_the_coming_key_is_the_one_that_is_noted_so() -> None:
    values = {"SECRET_KEY_FALLBACKS": "one\ntwo"}
    state = State.of(stored(values, {"fallbacks": "1700000000,coming"}))
    assert state.coming == Secret("SECRET_KEY_FALLBACKS", "two")
    assert state.fallbacks[0].since == 1_700_000_000


@given(states)
def test_no_note_holds_a_key_or_what_is_made_from_one(state: State) -> None:
    key = Secret("SECRET_KEY_FALLBACKS", "a-key-that-nobody-may-see-77ab")
    others = tuple(replace(one, key=key) for one in state.fallbacks)
    assert replace(state, fallbacks=others).notes() == state.notes()
