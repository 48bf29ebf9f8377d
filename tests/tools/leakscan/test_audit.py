"""What an event of the audit log has to tell."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tools.leakscan.audit import Events

BY_SOMEBODY = {"username": "somebody"}


def taken(**event: Any) -> Events:
    whole = {
        "level": "Metadata",
        "verb": "get",
        "objectRef": {"resource": "secrets", "namespace": "here", "name": "one"},
        **event,
    }
    events = Events("here", "2026-01-01T00:00:00")
    list(events.pass_on([json.dumps(whole).encode() + b"\n"]))
    return events


def test_who_did_what_is_taken() -> None:
    events = taken(user=BY_SOMEBODY, responseStatus={"code": 200})
    assert events.deeds == {("somebody", "get", "one")}
    assert not events.wrong


def test_what_was_refused_was_not_done() -> None:
    events = taken(user=BY_SOMEBODY, responseStatus={"code": 403})
    assert (events.deeds, dict(events.wrong)) == (set(), {})


@pytest.mark.parametrize(("code", "is_wrong"), [(200, True), (403, True), (401, False)])
def test_only_whose_token_is_nobodys_may_be_nobody(code: int, is_wrong: bool) -> None:
    events = taken(user={}, responseStatus={"code": code})
    assert dict(events.wrong) == ({"without who": 1} if is_wrong else {})
    assert events.deeds == set()


def test_another_level_is_wrong() -> None:
    assert dict(taken(user=BY_SOMEBODY, level="Request").wrong) == {"of level Request": 1}
