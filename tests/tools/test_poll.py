"""Waiting ends with what was awaited, or with a sentence that says what did not come."""

from __future__ import annotations

import pytest

from tools.poll import PollTimeout, poll
from tools.problem import Problem


def test_the_first_true_result_is_returned() -> None:
    results = iter([None, "", "found", "later"])
    assert poll(lambda: next(results), "a word", 10, 0) == "found"
    assert next(results) == "later"


def test_what_did_not_come_in_time_is_named() -> None:
    looks: list[int] = []
    with pytest.raises(PollTimeout, match=r"^not within 0\.02 s: more than none$") as caught:
        poll(lambda: looks.append(1), "more than none", 0.02, 0.001)
    assert len(looks) > 1
    # for a user's program, and for a test
    assert isinstance(caught.value, Problem)
    assert isinstance(caught.value, AssertionError)


def test_it_looks_once_in_any_case_and_the_sentence_may_be_of_the_end() -> None:
    looks: list[int] = []
    with pytest.raises(PollTimeout, match="not within 0 s: more than 1"):
        poll(lambda: looks.append(1), lambda: f"more than {len(looks)}", 0, 1)
    assert poll(lambda: 1, "a number", 0, 1) == 1
