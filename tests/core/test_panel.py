"""What the panel says of the last rotation, and of what is going on."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from app.core.events import KEEPER, Event, Pod, View
from app.core.panel import last_rotation, newest_of, summary

BEGIN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

PAIR = ("DATABASE_PASSWORD", "DATABASE_USERNAME")
KEY = ("SECRET_KEY_FALLBACKS",)

BOTH = [
    Event(KEEPER, "announced", 100, "app_b", (*PAIR, *KEY)),
    Event(KEEPER, "promoted", 110, changed=("SECRET_KEY", *KEY)),
    Event(KEEPER, "revoked", 110, "app_a"),
    Event(KEEPER, "rotated", 110),
]
STOPPED = [BOTH[0], Event(KEEPER, "stopped", 100, detail="a has 90")]
TITLES = [
    "Announced",
    "Every pod has it",
    "Promoted",
    "Every pod signs with it",
    "Revoked",
    "Finished",
]


def newest_first(events: list[Event]) -> list[Event]:
    """Return events, each a second after the one before."""
    times = (BEGIN + timedelta(seconds=number) for number in range(len(events)))
    dated = [
        Event(**{**vars(event), "happened_at": time})
        for event, time in zip(events, times, strict=True)
    ]
    return dated[::-1]


def pod(
    name: str,
    generation: int | None,
    refused: str = "",
    role: str = "app_a",
    adopted_at: datetime = BEGIN,
) -> Pod:
    return Pod(name, generation, role, 1, refused, adopted_at, BEGIN)


def test_a_generation_of_the_future_is_not_the_newest() -> None:
    """The keeper's clock was wrong, and it goes on with the time."""
    early, late = pod("a", 4_000_000_000), pod("b", 1_700_000_000)
    late_events = [replace(BOTH[0], generation=1_700_000_000)]
    assert newest_of([early, late]) == late
    assert newest_of([early]) == early
    assert done(late_events, early, late)[-1].endswith(": 1 of 2 so far.")
    assert done([replace(BOTH[0], generation=4_000_000_000)], early)[-1].endswith("1 of 1 so far.")


def done(events: list[Event], *pods: Pod) -> list[str]:
    """Return the titles of the steps that are done, and the text of the one that is not."""
    steps = last_rotation(newest_first(events), pods)
    finished = [step.title for step in steps if step.done_at]
    assert finished == [step.title for step in steps[: len(finished)]]
    waiting = steps[len(finished) :]
    return finished + [f"{step.title}: {step.text}" for step in waiting[:1]]


def test_no_rotation_was_seen() -> None:
    assert last_rotation([], []) == []
    assert (
        last_rotation(newest_first([Event(KEEPER, "filled", 1), Event(KEEPER, "retired", 2)]), [])
        == []
    )


def test_a_whole_rotation_has_six_steps_in_order() -> None:
    steps = last_rotation(newest_first(BOTH), [])
    assert [step.title for step in steps] == TITLES
    times = [step.done_at for step in steps]
    assert None not in times
    assert times == sorted(times)  # type: ignore[type-var]
    assert "app_b" in steps[0].text
    assert "app_a" in steps[4].text
    assert "old session key still verifies" in steps[5].text


@pytest.mark.parametrize(
    ("number", "generations", "expected"),
    [
        (1, (100, 90), "Every pod has it: 1 of 2 so far."),
        (1, (100, 100), "Every pod has it: 2 of 2 so far."),
        (1, (90, None), "Every pod has it: 0 of 2 so far."),
        (2, (110, 100), "Every pod signs with it: 1 of 2 so far."),
        (3, (110, 110), f"Finished: {last_rotation(newest_first(BOTH), [])[5].text}"),
    ],
)
def test_the_step_that_is_under_way_counts_the_pods(
    number: int, generations: tuple[int | None, int | None], expected: str
) -> None:
    pods = [pod(name, generation) for name, generation in zip("ab", generations, strict=True)]
    found = done(BOTH[:number], *pods)
    assert found == [*TITLES[: len(found) - 1], expected]


def test_one_part_alone_has_only_its_steps() -> None:
    database = [Event(KEEPER, "announced", 100, "app_b", PAIR), *BOTH[2:]]
    assert done(database) == ["Announced", "Every pod has it", "Revoked", "Finished"]
    assert "session key" not in " ".join(
        one.text for one in last_rotation(newest_first(database), [])
    )
    session = [Event(KEEPER, "announced", 100, changed=KEY), BOTH[1], BOTH[3]]
    assert done(session) == [*TITLES[:4], "Finished"]


def test_the_last_one_is_shown_and_what_follows_it_is_none() -> None:
    retired = Event(KEEPER, "retired", 120, changed=KEY)
    following = [Event(KEEPER, "announced", 130, "app_a", PAIR)]
    assert done([*BOTH, retired]) == TITLES
    assert done([*BOTH, retired, *following], pod("a", 110)) == [
        "Announced",
        "Every pod has it: 0 of 1 so far.",
    ]


def test_what_is_announced_again_is_the_same_rotation() -> None:
    again = [BOTH[0], Event(KEEPER, "announced", 105, "app_b")]
    assert done(again, pod("a", 100), pod("b", 105)) == [
        "Announced",
        "Every pod has it: 1 of 2 so far.",
    ]
    assert done([*again, *BOTH[1:]]) == TITLES


@pytest.mark.parametrize(
    ("pods", "events", "sentence"),
    [
        ([pod("a", 1), pod("b", 1)], [], "No rotation is under way."),
        ([pod("a", 1), pod("b", 2)], [], "Not every pod has the newest secrets."),
        ([pod("a", 5), pod("b", None)], [], "Not every pod has the newest secrets."),
        ([pod("a", None), pod("b", None)], [], "Every pod uses the same database role."),
        ([pod("a", None), pod("b", None, role="b")], [], "Not every pod has the newest secrets."),
        ([pod("a", 90)], STOPPED, "A rotation has stopped, step 2 of 6: every pod has it."),
        ([pod("a", 1), pod("b", 1, "KEY is empty")], [], "b does not take a newer generation"),
        ([pod("a", 110)], BOTH, "No rotation is under way."),
        ([pod("a", 90)], BOTH[:1], "A rotation is under way, step 2 of 6: every pod has it."),
    ],
)
def test_one_sentence_says_what_is_going_on(
    pods: list[Pod], events: list[Event], sentence: str
) -> None:
    view = View(BEGIN, tuple(pods), (), tuple(newest_first(events)), {})
    assert summary(view, last_rotation(view.by_keeper, pods)).startswith(sentence)


def test_a_pod_that_is_alone_says_so() -> None:
    view = View(None, (pod("a", 1),), (), (), {})
    assert "one pod knows" in summary(view, [])


def test_the_newest_has_the_highest_number_and_without_numbers_was_the_last_to_adopt() -> None:
    later = BEGIN + timedelta(seconds=1)
    numbered = [pod("a", 2), pod("b", 1, adopted_at=later)]
    assert newest_of(numbered).name == "a"
    for other in (None, 9):  # from a source with numbers to one without
        assert newest_of([pod("a", other), pod("b", None, adopted_at=later)]).name == "b"


def test_what_was_told_after_the_end_belongs_to_no_rotation() -> None:
    """The keeper's word of the next one's beginning was lost."""
    late = [Event(KEEPER, "promoted", 200), Event(KEEPER, "revoked", 200, "app_b")]
    steps = last_rotation(newest_first([*BOTH, *late]), [])
    assert [step.done_at for step in steps] == [
        step.done_at for step in last_rotation(newest_first(BOTH), [])
    ]
