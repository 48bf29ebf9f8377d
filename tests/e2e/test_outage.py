"""The database does not answer for a minute, in the middle of a rotation and under load.

What needs it gets 503 within seconds, and the next answer once it is back. No pod restarts, no note
and no session is lost, and the rotation is finished.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.e2e.errors import send_signal
from tools.cluster.checks import login, restarts
from tools.cluster.client import Cluster
from tools.cluster.job import start
from tools.load import BESIDE_OTHERS, Load
from tools.resource import RESOURCE

#: How long the database is silent, in seconds.
SILENCE = 60
#: The longest that a request may take to fail, and after the silence, in seconds.
ANSWER, BACK = 15, 10


@contextmanager
def frozen(cluster: Cluster) -> Iterator[None]:
    """Stop every process of the database, while its kernel goes on to accept and to acknowledge."""
    (pod,) = cluster.pods("database")
    processes = ("first", "started")  # the server forks none once it is stopped
    for which in processes:
        send_signal(cluster, pod, which, "STOP")
    try:
        yield
    finally:
        for which in reversed(processes):
            send_signal(cluster, pod, which, "CONT")


@contextmanager
def cut_off(cluster: Cluster) -> Iterator[None]:
    """Drop whatever goes to the database's pod, or comes from it, without a word."""
    (pod,) = cluster.objects("pods", "app.kubernetes.io/component=database")
    rules = [["FORWARD", way, pod["status"]["podIP"], "-j", "DROP"] for way in ("-s", "-d")]
    for rule in rules:
        cluster.node("iptables", "--wait", "-I", *rule)
    try:
        yield
    finally:
        for rule in rules:
            cluster.node("iptables", "--wait", "-D", *rule)


@pytest.mark.skipif(not RESOURCE, reason="there is no tests/e2e/resource.py")
@pytest.mark.parametrize("silence", [frozen, cut_off])
def test_a_silent_database_costs_answers_and_nothing_else(
    cluster: Cluster, silence: Callable[[Cluster], Iterator[None]]
) -> None:
    cluster.wait_until_ready()
    replaced = cluster.secret("flask-app-secrets")
    before = restarts(cluster, "service", "database")
    with Load(int(cluster.port), cluster.state / "ca.crt", pace=2 * BESIDE_OTHERS) as load:
        job = start(cluster, "rotate")
        job.wait_for("announced")
        began = time.time()
        with silence(cluster):  # type: ignore[attr-defined]
            time.sleep(SILENCE)  # the length of the outage
        back = time.time()
        assert job.succeeds(), job.log()
    failed = load.failures
    print(f"{load.summary()}; the last failure {max(f.ended for f in failed) - back:.1f} s after")
    assert len(failed) > SILENCE, "it was no outage"
    assert {failure.reason[:3] for failure in failed} == {"503"}, failed[:3]
    assert began <= min(failure.ended for failure in failed)
    assert max(failure.began for failure in failed) < back + BACK
    assert max(failure.ended - failure.began for failure in failed) < ANSWER
    assert load.lost_sessions == []
    assert len(load.written) > 10
    assert load.lost() == set()
    assert restarts(cluster, "service", "database") == before
    assert login(cluster, replaced) == "refused"
