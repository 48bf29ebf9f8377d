"""A Secret shows its name, whatever is tried, and gives its value to `reveal` only."""

from __future__ import annotations

import copy
import json
import logging
import operator
import pickle
import pprint
import reprlib
import string
import time
import timeit
import traceback
from collections.abc import Callable
from functools import partial

import pytest
import yaml

from secret_files import Secret

VALUE = "s3cr3t-value-for-this-test"


@pytest.fixture
def secret() -> Secret:
    return Secret("TOKEN", VALUE)


def test_reveal_gives_the_value(secret: Secret) -> None:
    assert secret.reveal() == VALUE


@pytest.mark.parametrize(
    "show",
    [
        repr,
        str,
        ascii,
        "{}".format,
        "{!r}".format,
        "{:>30}".format,
        "%s".__mod__,
        "%r".__mod__,
        "%30s".__mod__,
        lambda secret: f"{secret}",
        lambda secret: f"{secret!s:>30}",
        pprint.pformat,
        reprlib.repr,
        lambda secret: string.Template("$it").substitute(it=secret),
        lambda secret: logging.makeLogRecord({"msg": secret}).getMessage(),
    ],
)
def test_shows_its_name_only(secret: Secret, show: Callable[[object], str]) -> None:
    assert show(secret).strip() == "Secret('TOKEN')"


def test_containers_show_its_name_only(secret: Secret) -> None:
    assert VALUE not in repr([secret]) + str({"a": secret}) + f"{(secret,)}"


@pytest.mark.parametrize(
    "take_along",
    [
        json.dumps,
        lambda secret: json.dumps({"token": [secret]}),
        pickle.dumps,
        *(partial(pickle.dumps, protocol=number) for number in range(pickle.HIGHEST_PROTOCOL + 1)),
        copy.copy,
        copy.deepcopy,
        lambda secret: copy.deepcopy([secret]),
        yaml.dump,
        vars,
        bytes,
        iter,
        Secret.__getstate__,
    ],
)
def test_can_not_be_taken_along(secret: Secret, take_along: Callable[[object], object]) -> None:
    with pytest.raises(TypeError) as caught:
        take_along(secret)
    assert VALUE not in str(caught.value)


def test_a_traceback_with_locals_shows_its_name_only(secret: Secret) -> None:
    def fail(inner: Secret) -> None:
        raise ValueError(inner)

    with pytest.raises(ValueError) as caught:
        fail(secret)
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    text = "".join(shown.format())
    assert "Secret('TOKEN')" in text
    assert VALUE not in text


def test_equality_is_that_of_the_values(secret: Secret) -> None:
    assert secret == Secret("OTHER", VALUE)
    assert secret != Secret("TOKEN", VALUE + "x")
    assert secret != VALUE


def seconds_to_compare(value: object, *others: object) -> list[float]:
    """Return what each comparison takes at least, in seconds of the processor, turn by turn."""
    timers = [
        timeit.Timer(partial(operator.eq, value, other), timer=time.process_time)
        for other in others
    ]
    turns = [[timer.timeit(3) for timer in timers] for _ in range(15)]
    return [min(taken) for taken in zip(*turns, strict=True)]


@pytest.mark.parametrize(("make", "constant"), [(partial(Secret, "TOKEN"), True), (str, False)])
def test_equality_takes_as_long_for_a_difference_at_the_start_as_at_the_end(
    make: Callable[[str], object], constant: bool
) -> None:
    """A plain string is the control: it is compared up to the first difference."""
    middle = "x" * 2_000_000
    value = make("a" + middle + "a")
    early, late = seconds_to_compare(value, make("b" + middle + "a"), make("a" + middle + "b"))
    assert (late < 3 * early) is constant


def test_has_no_hash(secret: Secret) -> None:
    with pytest.raises(TypeError):
        hash(secret)
