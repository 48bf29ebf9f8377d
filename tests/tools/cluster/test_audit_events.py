"""What a line of the audit log becomes: who, what, and whether it was let through."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.tools.cluster.events import ADMIN, CONTROLLER, KEEPER, NAMES, NODE, event, line
from tools.cluster.audit_events import Log, Request


def log(**options: Any) -> Log:
    return Log("flask-app", NAMES, **options)


def taken(user: str = KEEPER, verb: str = "get", **changes: Any) -> Request:
    found = log().take(line(user, verb, **changes))
    assert found
    return found


def is_shown(user: str = KEEPER, verb: str = "get", **changes: Any) -> bool:
    return log().take(line(user, verb, **changes)) is not None


def test_a_read_has_its_time_who_what_and_from_where() -> None:
    told = event(auditID="262a696c")
    assert log().take(json.dumps(told)) == Request(
        time=datetime(2026, 11, 26, 5, 0, 0, 459498, UTC),
        user=KEEPER,
        behind="",
        verb="get",
        namespace="flask-app",
        name="flask-app-secrets",
        selector="",
        is_denied=False,
        code=200,
        sources=("10.244.0.5",),
        agent="OpenAPI-Generator/35.0.0/python",
        id="262a696c",
    )


@pytest.mark.parametrize(
    ("code", "decision", "outcome"),
    [
        (200, "allow", "allowed"),
        (201, "allow", "allowed"),
        (404, "allow", "allowed, 404"),
        (409, "allow", "allowed, 409"),
        (403, "forbid", "denied"),
        # whoever may, and is stopped by an admission plugin
        (403, "allow", "denied"),
        (0, "forbid", "denied"),
    ],
)
def test_the_decision_is_the_api_servers(code: int, decision: str, outcome: str) -> None:
    assert taken(code=code, decision=decision).outcome == outcome


@pytest.mark.parametrize("code", [401, 403])
def test_who_is_refused_before_the_decision_is_denied(code: int) -> None:
    """By a token that is none, or since he may not act as somebody else."""
    found = taken("", code=code, annotations={})
    assert (found.user, found.outcome) == ("", "denied")


def test_who_acts_as_somebody_else_stands_behind_him() -> None:
    found = taken(ADMIN, impersonatedUser={"username": "stranger"})
    assert (found.user, found.behind) == ("stranger", ADMIN)


@pytest.mark.parametrize(
    ("query", "selector"),
    [
        ("", ""),
        ("?limit=500", ""),
        ("?labelSelector=name%3Dflask-app%2Cowner%3Dhelm", "name=flask-app,owner=helm"),
        ("?labelSelector=a%3Db&fieldSelector=type%3DOpaque", "a=b,type=Opaque"),
    ],
)
def test_a_list_is_of_all_of_them_but_for_its_selector(query: str, selector: str) -> None:
    uri = f"/api/v1/namespaces/flask-app/secrets{query}"
    found = taken(ADMIN, "list", name="", requestURI=uri)
    assert (found.name, found.selector) == ("", selector)


@pytest.mark.parametrize(
    ("shown", "namespace", "name"),
    [
        (True, "flask-app", "flask-app-tls"),
        (True, "flask-app", ""),
        (True, "", ""),
        (False, "flask-app", "another"),
        (False, "kube-system", "flask-app-tls"),
        (False, "kube-system", ""),
    ],
)
@pytest.mark.parametrize("verb", ["list", "watch", "deletecollection"])
def test_what_may_be_of_the_release_is_shown(
    shown: bool, namespace: str, name: str, verb: str
) -> None:
    assert is_shown(ADMIN, verb, namespace=namespace, name=name) is shown


@pytest.mark.parametrize(
    "other",
    [
        {"resource": "configmaps", "namespace": "flask-app", "name": "flask-app-tls"},
        {"resource": "secrets", "apiGroup": "example.org", "name": "flask-app-tls"},
        None,
    ],
)
def test_what_is_no_secret_is_not_shown(other: Any) -> None:
    assert not is_shown(objectRef=other)


@pytest.mark.parametrize("user", [NODE, CONTROLLER, "system:apiserver"])
@pytest.mark.parametrize("verb", ["get", "list", "watch"])
def test_what_kubernetes_reads_is_counted(user: str, verb: str) -> None:
    one = log()
    assert not one.take(line(user, verb))
    assert one.routine == {user: 1}


@pytest.mark.parametrize(
    "changes",
    [
        {"code": 403, "decision": "forbid"},
        {"verb": "delete"},
        {"user": "system:serviceaccount:kube-system-of-mine:x"},
        {"user": "system:serviceaccount:flask-app:flask-app"},
        {"user": "system:anonymous"},
        # whoever may act as a node is none
        {"user": ADMIN, "impersonatedUser": {"username": NODE}},
    ],
)
def test_what_is_not_its_routine_is_shown(changes: dict[str, Any]) -> None:
    assert is_shown(**{"user": NODE, **changes})


def test_other_secrets_of_the_namespace_are_counted_by_their_names() -> None:
    one = log()
    for name in ("sh.helm.release.v1.flask-app.v1", "sh.helm.release.v1.flask-app.v1", "x"):
        assert not one.take(line(ADMIN, name=name))
    assert one.others == {"sh.helm.release.v1.flask-app.v1": 2, "x": 1}
    assert not one.routine


def test_all_of_it_is_all_of_it() -> None:
    one = log(is_all=True)
    assert one.take(line(NODE))
    assert one.take(line(ADMIN, name="another"))
    assert not one.take(line(ADMIN, namespace="kube-system"))
    assert not one.routine
    assert not one.others


def test_what_is_older_is_neither_shown_nor_counted() -> None:
    one = log(since=datetime(2026, 11, 26, 5, 0, 1, tzinfo=UTC))
    assert not one.take(line())
    assert not one.take(line(NODE))
    assert one.take(line(at="05:00:01"))
    assert not one.routine
    assert one.begins == datetime(2026, 11, 26, 5, 0, 0, 459498, UTC)


def test_only_what_was_denied() -> None:
    one = log(only_denied=True)
    assert not one.take(line())
    assert not one.take(line(code=404))
    assert one.take(line(code=403, decision="forbid"))


def test_a_watch_is_one_request() -> None:
    """It has an event at its start, and one when it ends; a file can come twice, too."""
    one = log()
    watch = {"verb": "watch", "auditID": "1", "name": ""}
    assert one.take(line(ADMIN, stage="ResponseStarted", **watch))
    assert not one.take(line(ADMIN, stage="ResponseComplete", **watch))
    assert one.take(line(ADMIN, **{**watch, "auditID": "2"}))


@pytest.mark.parametrize(
    "broken",
    [
        line()[:-20],
        line()[20:],
        line()[:300] + line(),
        "\x00\x00\x00",
        "null",
        "[]",
        "7",
        '{"kind": "Event"}',
        line().replace('"user"', '"usher"'),
        line(requestReceivedTimestamp="soon"),
    ],
)
def test_a_broken_line_is_counted_once_and_stops_nothing(broken: str) -> None:
    one = log()
    for text in (broken, line(), broken, "", line()):
        one.take(text)
    assert one.unreadable == 1
    assert len(one.names) == 2
    assert one.take(line())


@pytest.mark.parametrize("level", ["Request", "RequestResponse"])
def test_a_body_goes_no_further_and_is_told_of(level: str) -> None:
    one = log()
    value = "a-value-that-is-secret-0123456789"
    told = event(verb="patch", level=level)
    told["requestObject"] = told["responseObject"] = {"data": {"SECRET_KEY": value}}
    found = one.take(json.dumps(told))
    assert found
    assert value not in repr(found)
    assert one.bodies == 1
