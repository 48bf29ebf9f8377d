"""The state of a rotation is read from the Secret as it was written, and from nonsense safely."""

from __future__ import annotations

import string
import time
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keeper.objects import NO_NOTES, StoredSecret
from keeper.plan import DATABASE, SESSION
from keeper.ring import Fallback, Ring, is_future
from keeper.state import ANNOUNCED, IDLE, PROMOTED, SESSION_KEY, State, times_ahead
from secret_files import Secret

#: No time that a keeper writes has more digits.
LAST = 10**11 - 1

times = st.integers(1, LAST)
past = st.integers(1, int(time.time()))
keys = st.text(string.ascii_letters + string.digits + "-_", min_size=1).map(
    lambda text: Secret("SECRET_KEY_FALLBACKS", text)
)
fallbacks = st.lists(st.builds(Fallback, keys, st.none() | past), max_size=4).map(tuple)
rings = st.builds(Ring, keys, fallbacks)
states = st.builds(
    State,
    step=st.sampled_from([IDLE, ANNOUNCED, PROMOTED]),
    parts=st.frozensets(st.sampled_from([SESSION, DATABASE])),
    made=st.fixed_dictionaries({SESSION: times, DATABASE: times}),
    rings=st.dictionaries(st.sampled_from([SESSION_KEY, "INVITE_KEY", "LINK_KEY"]), rings),
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
def test_the_next_generation_is_always_another_and_grows_from_the_past(state: State) -> None:
    following = state.published()
    assert following.generation != state.generation
    assert (following.generation > state.generation) is not is_future(state.generation)
    assert following.published().generation > following.generation
    assert replace(following, generation=state.generation) == state


@pytest.mark.parametrize(("ahead", "is_kept"), [(290, True), (310, False), (10**9, False)])
def test_after_a_generation_of_the_future_comes_the_time(ahead: int, is_kept: bool) -> None:
    generation = int(time.time()) + ahead
    following = State.of(stored({"GENERATION": str(generation)})).next_generation()
    assert following == generation + 1 if is_kept else is_now(following)


def test_times_of_the_future_are_named() -> None:
    ahead = str(int(time.time()) + 310)
    notes = {
        "session-made": ahead,
        "database-made": "1700000000",
        "fallbacks": f"coming,1700000000,{ahead}",
        "fallbacks-INVITE_KEY": ahead,
        "role": ahead,
    }
    names = ["GENERATION", "fallbacks", "fallbacks-INVITE_KEY", "session-made"]
    assert times_ahead(stored({"GENERATION": ahead, "SECRET_KEY": ahead}, notes)) == names
    assert times_ahead(stored({"GENERATION": "1700000000"}, {"session-made": "yesterday"})) == []


def test_a_generation_is_the_time_where_that_is_more() -> None:
    state = State.of(stored({"GENERATION": "1700000000"}))
    assert is_now(state.next_generation())


def test_an_empty_secret_is_at_rest_and_new() -> None:
    state = State.of(stored({}))
    assert (state.step, state.parts, state.rings) == (IDLE, frozenset(), {})
    assert state.generation == 0
    assert all(is_now(when) for when in state.made.values())


def test_what_has_no_note_is_as_old_as_its_generation() -> None:
    state = State.of(stored({"GENERATION": "1700000000"}, {"session-made": "1600000000"}))
    assert state.made == {SESSION: 1_600_000_000, DATABASE: 1_700_000_000}


@pytest.mark.parametrize("nonsense", ["", "yesterday", "-1", "1.5", "²", " 1", "1\n", "9" * 12])
def test_a_number_that_makes_no_sense_is_none(nonsense: str) -> None:
    notes = {"session-made": nonsense}
    state = State.of(stored({"GENERATION": nonsense}, notes))
    assert state.generation == 0
    assert is_now(state.made[SESSION])


def test_the_session_keys_fallbacks_are_a_key_of_the_secret_and_an_own_keys_are_its_lines() -> None:
    values = {"SECRET_KEY": "a", "SECRET_KEY_FALLBACKS": "b\nc", "INVITE_KEY": "d\ne\nf"}
    notes = {"fallbacks": "coming,1700000000", "fallbacks-INVITE_KEY": "1700000001,1600000000"}
    state = State.of(stored(values, notes))
    assert {name: revealed(ring) for name, ring in state.rings.items()} == {
        SESSION_KEY: ["a", "b", "c"],
        "INVITE_KEY": ["d", "e", "f"],
    }
    assert [one.since for one in state.rings["INVITE_KEY"].fallbacks] == [1700000001, 1600000000]
    assert state.changing == ["SECRET_KEY_FALLBACKS", "INVITE_KEY"]
    assert {**values, "GENERATION": "0"} == state.values()


@pytest.mark.parametrize("values", [{}, {"INVITE_KEY": ""}, {"INVITE_KEY": "\n"}])
def test_an_empty_own_key_is_not_there(values: Mapping[str, str]) -> None:
    assert State.of(stored(values, {"fallbacks-INVITE_KEY": "coming"})).rings == {}


@pytest.mark.parametrize("key", ["INVITE_KEY", "step", "fallbacks"])
def test_a_key_without_a_note_of_its_own_is_nobodys(key: str) -> None:
    notes = {"step": ANNOUNCED, "fallbacks": "coming"}
    assert State.of(stored({key: "a"}, notes)).rings == {}


@pytest.mark.parametrize(
    ("step", "parts", "own", "lacks"),
    [
        (ANNOUNCED, "session", "1700000000", True),
        (ANNOUNCED, "session", "coming", False),
        (ANNOUNCED, "database", "1700000000", False),
        (PROMOTED, "session", "1700000000", False),
    ],
)
def test_a_rotation_lacks_a_key_that_is_not_coming(
    step: str, parts: str, own: str, lacks: bool
) -> None:
    values = {"SECRET_KEY": "a", "SECRET_KEY_FALLBACKS": "b", "INVITE_KEY": "c\nd"}
    notes = {"step": step, "parts": parts, "fallbacks": "coming", "fallbacks-INVITE_KEY": own}
    assert State.of(stored(values, notes)).lacks_a_key is lacks


@given(states)
def test_no_note_holds_a_key_or_what_is_made_from_one(state: State) -> None:
    key = Secret("SECRET_KEY_FALLBACKS", "a-key-that-nobody-may-see-77ab")
    others = state.turned(
        lambda ring: Ring(key, tuple(replace(one, key=key) for one in ring.fallbacks))
    )
    assert others.notes() == state.notes()


def revealed(ring: Ring) -> list[str]:
    return [value.reveal() for value in ring.values]
