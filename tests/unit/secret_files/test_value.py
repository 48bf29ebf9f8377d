"""A Secret shows its name, whatever is tried, and gives its value to `reveal` only."""

from __future__ import annotations

import copy
import json
import pickle
import traceback
from collections.abc import Callable

import pytest

from app.secret_files import Secret

VALUE = "s3cr3t-value-for-this-test"


@pytest.fixture
def secret() -> Secret:
    return Secret("TOKEN", VALUE)


def test_reveal_gives_the_value(secret: Secret) -> None:
    assert secret.reveal() == VALUE


@pytest.mark.parametrize(
    "show",
    [repr, str, "{}".format, "{!r}".format, "{:>30}".format, "%s".__mod__, "%r".__mod__, ascii],
)
def test_shows_its_name_only(secret: Secret, show: Callable[[object], str]) -> None:
    assert show(secret).strip() == "Secret('TOKEN')"


def test_containers_show_its_name_only(secret: Secret) -> None:
    assert VALUE not in repr([secret]) + str({"a": secret}) + f"{(secret,)}"


@pytest.mark.parametrize("take_along", [json.dumps, pickle.dumps, copy.copy, copy.deepcopy, vars])
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


def test_has_no_hash(secret: Secret) -> None:
    with pytest.raises(TypeError):
        hash(secret)
