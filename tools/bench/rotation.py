"""``python -m tools.bench.rotation``: rotations on kind, and the usual way beside them.

It deploys to the cluster of `make e2e`, measures under the load of its tests, and writes its
part of docs/benchmarks.md. A goal that is missed is written down.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from tools.cluster.client import SUSPENDED, Cluster, CommandError
from tools.cluster.job import start
from tools.load import PER_SECOND, Load
from tools.poll import poll

from . import pods, report, servers, usual

PAGE = servers.ROOT / "docs" / "benchmarks.md"
ROUNDS = 3
REPLICAS = (2, 5, 10)
#: How long the load runs before and after, in seconds.
AROUND = 5
LIMIT = 400


@dataclass(frozen=True)
class Round:
    """What one rotation took, and what it did to those who asked meanwhile."""

    seconds: float
    requests: int
    failed: int
    lost_sessions: int
    connections: int
    replaced: int


def main() -> int:
    """Measure everything, and write it down."""
    cluster = Cluster.from_environment()
    print(cluster.run("make", "deploy"))
    cluster.kubectl("patch", "cronjob", "flask-app-keeper", "--patch", SUSPENDED)
    try:
        introduction = _introduction()
        tables = [_side_by_side(cluster), _growth(cluster), _thousand()]
    finally:
        if os.environ.get("KEEP") != "1":
            cluster.run("make", "destroy")
    for table in tables:
        print(f"{table}\n")
    report.write(PAGE, introduction, tables)
    return 0


def _introduction() -> str:
    return "\n\n".join(
        [
            "# Rotation, on kind",
            report.fill(
                f"Written by `make bench-rotation`, on {os.cpu_count()} CPUs that the cluster, the "
                f"load and the database share. The load is {PER_SECOND} "
                "requests a second, pages with a session, lists and new notes, each over a "
                "connection of its own. The kubelet looks every 2 s (`syncFrequency` in "
                "kind-config.yaml), unless a column says otherwise."
            ),
        ]
    )


def _side_by_side(cluster: Cluster) -> report.Table:
    """Measure the keeper's rotation and the usual one in turn."""
    ours, others = [], []
    for _ in range(ROUNDS):
        ours.append(_measure(cluster, "service", lambda: _rotate(cluster)))
        with usual.usual_service(cluster):
            others.append(_measure(cluster, "usual", lambda: usual.rotate(cluster)))
    with cluster.sync_frequency("0s"):
        slow = _measure(cluster, "service", lambda: _rotate(cluster))

    def row(title: str, value: Callable[[Round], float], form: str = "{:.0f}") -> list[str]:
        cells = [form.format(statistics.median(map(value, rounds))) for rounds in (ours, others)]
        return [title, *cells, form.format(value(slow))]

    def total(title: str, value: Callable[[Round], float]) -> list[str]:
        cells = [f"{sum(map(value, rounds)):,.0f}" for rounds in (ours, others)]
        return [title, *cells, f"{value(slow):,.0f}"]

    return report.Table(
        "Beside the usual way",
        f"{ROUNDS} rotations each, in turn, in one cluster and under one load; seconds, "
        "connections and pods are medians, requests are of all rounds. The usual way gives the "
        "one database role a new password, writes a new Secret, and replaces every pod, which "
        "has its secrets in its environment (`kubectl rollout restart`, or Reloader). It keeps "
        "the old session key as a fallback. The connections of this rotation are for the most "
        "part the keeper's own. The last column is one rotation at the kubelet's default pace.",
        ["", "this rotation", "the usual one", "this one, kubelet at its default"],
        [
            row("seconds until every replica is on the new values", lambda r: r.seconds, "{:.1f}"),
            total("requests", lambda r: r.requests),
            total("failed requests", lambda r: r.failed),
            total("lost sessions", lambda r: r.lost_sessions),
            row("database connections opened", lambda r: r.connections),
            row("pods replaced", lambda r: r.replaced),
        ],
    )


def _growth(cluster: Cluster) -> report.Table:
    rows = []
    for replicas in REPLICAS:
        scale(cluster, replicas)
        rounds = [
            _measure(cluster, "service", lambda: _rotate(cluster), replicas) for _ in range(ROUNDS)
        ]
        seconds = statistics.median(one.seconds for one in rounds)
        failed = sum(one.failed + one.lost_sessions for one in rounds)
        rows.append([str(replicas), f"{seconds:.1f}", str(failed)])
    scale(cluster, 2)
    return report.Table(
        "How it grows",
        f"The median of {ROUNDS} rotations under load.",
        ["replicas", "seconds until every replica is on the new values", "failed or lost"],
        rows,
    )


def _thousand() -> report.Table:
    found, _ = pods.ask_a_thousand()
    rows = [
        ("seconds for one look at all of them", found["seconds"], "{:.1f}", report.Goal(5)),
        ("the keeper's memory (peak RSS), MiB", found["megabytes"], "{:.0f}", report.Goal(190)),
    ]
    return report.Table(
        "A thousand pods",
        "The keeper asks 1,000 local servers for their generation, once; one in ten answers "
        "later than it waits, and at one in ten nobody listens.",
        ["", "measured", "goal", "result"],
        [[title, form.format(value), *goal.cells(value)] for title, value, form, goal in rows],
    )


def scale(cluster: Cluster, replicas: int) -> None:
    """Run so many pods of the service, and wait until they are ready."""
    cluster.kubectl("scale", "deployment/flask-app", f"--replicas={replicas}")
    cluster.kubectl("rollout", "status", "deployment/flask-app", "--timeout", "240s")
    cluster.wait_until_ready()


def _rotate(cluster: Cluster) -> int:
    """Rotate session key and password with the keeper, and return the last generation."""
    job = start(cluster, "rotate", "session", "database")
    if not job.succeeds():
        raise CommandError(job.log())
    return int(cluster.secret("flask-app-secrets")["GENERATION"].reveal())


def _measure(
    cluster: Cluster, component: str, rotate: Callable[[], int], replicas: int = 2
) -> Round:
    before = set(cluster.pods(component))
    assert len(before) == replicas
    _settle(cluster)
    with Load(int(cluster.port), cluster.state / "ca.crt") as load:
        time.sleep(AROUND)
        opened = connections(cluster)
        began = time.monotonic()
        generation = rotate()
        wait_for(cluster, component, generation, replicas)
        seconds = time.monotonic() - began
        time.sleep(AROUND)
        opened = connections(cluster) - opened - 1  # the question itself opens one
    for failure in (*load.failures, *load.lost_sessions):
        print(component, failure, flush=True)
    return Round(
        seconds,
        requests=len(load.seconds) + len(load.failures),
        failed=len(load.failures),
        lost_sessions=len(load.lost_sessions),
        connections=opened,
        replaced=len(before - set(cluster.pods(component))),
    )


def _settle(cluster: Cluster) -> None:
    """Wait until the node's network rules lead every request to a pod that answers."""
    deadline = time.monotonic() + LIMIT
    answers = 0
    while answers < 100:
        assert time.monotonic() < deadline, "not every request gets through"
        try:
            cluster.request("/livez")
            answers += 1
        except OSError:
            answers = 0


def wait_for(cluster: Cluster, component: str, generation: int, replicas: int) -> None:
    """Wait until so many pods, and no others, use a generation."""

    def have_it() -> bool:
        pods = cluster.items("pods", f"app.kubernetes.io/component={component}")
        try:
            found = [_generation(cluster, pod["metadata"]["name"]) for pod in pods]
        except CommandError:  # one that starts or ends
            return False
        return found == [generation] * replicas

    poll(have_it, f"{replicas} pods with the generation {generation}", LIMIT, 0.3)


def _generation(cluster: Cluster, pod: str) -> int:
    return int(cluster.metric(pod, "secrets_generation"))


def connections(cluster: Cluster) -> int:
    """Return how many sessions the database has opened in all its life."""
    statement = "SELECT sessions FROM pg_stat_database WHERE datname = 'flask_app'"
    return int(cluster.sql(statement))


if __name__ == "__main__":
    sys.exit(main())
