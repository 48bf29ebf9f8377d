"""`make demo` does what it tells, and leaves nothing behind."""

from __future__ import annotations

import re

from tools.cluster.checks import restarts
from tools.cluster.client import Cluster
from tools.demo import leak
from tools.resource import RESOURCE

ACTS = ("Deploy", "Open", "Load", "Rotate", "Scan", "Plant a leak", "What to look at next")


def test_make_demo_goes_as_it_is_told(cluster: Cluster) -> None:
    pods = restarts(cluster, "service", "database")
    before = cluster.secret("flask-app-secrets")
    told = cluster.run("make", "demo", "OPEN=0")
    print(told)
    lines = told.splitlines()
    acts = [line for line in lines if re.match(r"[0-9]\. .* \[[0-9]+:[0-9]{2}\]$", line)]
    assert [act[:3] for act in acts] == [f"{number}. " for number in range(1, len(ACTS) + 1)]
    assert all(act[3:].startswith(title) for act, title in zip(acts, ACTS, strict=True))
    assert f"  https://localhost:{cluster.port}" in lines
    figures = dict(re.findall(r"^  ([a-z ]+?) {2,}(.+)$", told, re.M))
    assert {figures[name] for name in ("requests failed", "sessions lost", "texts lost")} == {"0"}
    assert figures["pods restarted"] == "none"
    assert figures["the old login"] == "refused"
    assert re.search(r"36 places, .*: 36 clean, 0 with findings, 0 unreadable", told)
    for place in leak.SURFACES:
        assert f"  found in {place}: {leak.CANARY}, " in told
    assert "The leak is gone from all objects, processes and logs." in lines

    after = cluster.secret("flask-app-secrets")
    assert before["DATABASE_PASSWORD"] != after["DATABASE_PASSWORD"]
    assert restarts(cluster, "service", "database") == pods
    assert cluster.kubectl("get", "secret", leak.SECRET, "--ignore-not-found") == ""
    assert cluster.kubectl("get", "pod", leak.POD, "--ignore-not-found") == ""
    if RESOURCE:
        count = f"SELECT count(*) FROM {RESOURCE.table} WHERE {RESOURCE.column} LIKE 'load %'"
        assert cluster.sql(count) == "0"
    # what the fixture has turned off, for the tests that follow
    assert all(one["spec"]["suspend"] for one in cluster.objects("cronjobs"))
