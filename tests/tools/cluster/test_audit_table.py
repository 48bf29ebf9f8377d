"""The table: a row for a request, or for several alike, and sentences for what is left out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.tools.cluster.events import ADMIN, KEEPER, NAMES, NODE, line
from tools.cluster.audit_events import Log, Request
from tools.cluster.audit_table import Requests, as_json, left_out, which, who


def request(user: str = KEEPER, verb: str = "get", **changes: Any) -> Request:
    found = Log("flask-app", NAMES).take(line(user, verb, **changes))
    assert found
    return found


def table(*requests: Request, is_wide: bool = False) -> list[list[str]]:
    """Return the cells of each line."""
    text = Requests("flask-app", is_wide).begin(requests)
    return [[cell.strip() for cell in row.split("  ") if cell] for row in text.splitlines()]


def test_a_row_says_when_who_did_what_to_which_secret() -> None:
    stranger = request(
        ADMIN, code=403, decision="forbid", impersonatedUser={"username": "stranger"}
    )
    headings, *rows = table(request(), stranger)
    assert headings == ["TIME (UTC)", "WHO", "VERB", "SECRET", "OUTCOME", "FROM"]
    time = "2026-11-26 05:00:00"
    assert rows == [
        [time, "sa/flask-app-keeper", "get", "flask-app-secrets", "allowed", "10.244.0.5"],
        [
            *(time, f"user/stranger, by user/{ADMIN}", "get", "flask-app-secrets", "denied"),
            "10.244.0.5",
        ],
    ]


def test_a_wide_table_has_the_user_agents() -> None:
    headings, row = table(request(), is_wide=True)
    assert (headings[-1], row[-1]) == ("USER AGENT", "OpenAPI-Generator/35.0.0/python")


def test_nothing_is_headings_alone() -> None:
    assert len(table()) == 1


def test_requests_that_are_alike_are_one_row_that_counts_them() -> None:
    times = ("05:00:00", "05:00:01", "05:00:09")
    reads = [request(at=at) for at in times]
    denied = request(at="05:00:10", code=403, decision="forbid")
    rows = table(*reads, denied, request(at="05:00:11"))[1:]
    assert [row[4:] for row in rows] == [
        ["allowed", "10.244.0.5", "and 2 more until 05:00:09"],
        ["denied", "10.244.0.5"],
        ["allowed", "10.244.0.5"],
    ]


def test_the_day_is_told_where_it_is_another_one() -> None:
    later = request(requestReceivedTimestamp="2026-11-27T01:00:00.000000Z")
    assert table(request(), later)[1][-1] == "and 1 more until 2026-11-27 01:00:00"


def test_a_later_row_stands_under_the_same_headings() -> None:
    one = Requests("flask-app", is_wide=False)
    headings = one.begin([])
    row = one.row(request(ADMIN)._replace(name="short"))
    for heading, cell in (("WHO", f"user/{ADMIN}"), ("FROM", "10.244.0.5")):
        assert headings.index(heading) == row.index(cell)


@pytest.mark.parametrize(
    ("user", "name"),
    [
        (KEEPER, "sa/flask-app-keeper"),
        ("system:serviceaccount:default:leak-scan", "sa/default/leak-scan"),
        # the same account's name in another namespace is another account
        ("system:serviceaccount:default:flask-app-keeper", "sa/default/flask-app-keeper"),
        (NODE, "node/flask-app-control-plane"),
        ("system:kube-controller-manager", "system:kube-controller-manager"),
        ("system:serviceaccount:odd", "system:serviceaccount:odd"),
        ("jane", "user/jane"),
        # who calls himself like an account is none
        ("sa/flask-app-keeper", "user/sa/flask-app-keeper"),
        ("", "nobody who is known"),
    ],
)
def test_a_name_is_short_and_nobody_elses(user: str, name: str) -> None:
    assert who(user, "flask-app") == name


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({}, "flask-app-secrets"),
        ({"verb": "list", "name": ""}, "all"),
        ({"verb": "watch", "name": "", "namespace": ""}, "all in every namespace"),
        ({"verb": "list", "name": "", "requestURI": "/x?labelSelector=a%3Db"}, "all with a=b"),
        ({"verb": "create", "name": "", "code": 403}, "a new one"),
    ],
)
def test_what_was_asked_for_is_a_secret_or_all(changes: dict[str, Any], what: str) -> None:
    assert which(request(**changes)) == what


def test_nobody_writes_to_the_terminal_but_the_table() -> None:
    """A name that somebody asked for may be a command to the terminal, or very long."""
    hostile = request("\x1b[2Jx\n", userAgent="\x07" + "y" * 500)
    text = Requests("flask-app", is_wide=True).begin([hostile])
    assert "user/?[2Jx?" in text
    assert all(row.isprintable() for row in text.splitlines())
    assert len(text.splitlines()) == 2
    assert f"{'y' * 78}…" in text
    assert "y" * 79 not in text
    assert "\x1b" not in as_json(hostile)
    told = Log("flask-app", NAMES)
    told.take(line(name="\x1b[2Jz"))
    assert "?[2Jz 1" in "".join(left_out(told))


def test_json_has_the_same_and_no_more() -> None:
    found = json.loads(as_json(request(code=403, decision="forbid", auditID="262a")))
    assert found == {
        "time": "2026-11-26T05:00:00.459498+00:00",
        "user": KEEPER,
        "impersonated_by": None,
        "verb": "get",
        "namespace": "flask-app",
        "secret": "flask-app-secrets",
        "selector": None,
        "outcome": "denied",
        "code": 403,
        "from": ["10.244.0.5"],
        "user_agent": "OpenAPI-Generator/35.0.0/python",
        "audit_id": "262a",
    }


def test_what_is_left_out_is_counted_in_sentences() -> None:
    log = Log("flask-app", NAMES)
    assert left_out(log) == ["The log is empty."]
    for text in (line(), line(NODE), line(NODE), line("system:apiserver"), "half a line"):
        log.take(text)
    for number in range(7):
        log.take(line(ADMIN, name=f"other-{number}"))
    log.take(line(level="Request"))
    assert left_out(log) == [
        "The log goes back to 2026-11-26 05:00:00.",
        "Left out, --all shows them: reads by Kubernetes itself, 3 "
        "(node/flask-app-control-plane 2, system:apiserver 1).",
        "Left out, --all shows them: requests for other Secrets of the namespace, 7 "
        "(other-0 1, other-1 1, other-2 1, other-3 1, other-4 1 and 2 others).",
        "Lines of the log that can't be read: 1.",
        "Events of another level than Metadata: 1. The log can hold values of Secrets: "
        "tools/cluster/audit-policy.yaml has to keep them out.",
    ]
