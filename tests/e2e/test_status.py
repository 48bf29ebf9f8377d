"""`make status` on a real cluster: every figure on the screen is what the cluster says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from cryptography import x509

from keeper.certificates import due_at
from keeper.screen import duration
from tests.e2e.test_rotation import unreadable_secret
from tools.cluster.client import ROOT, Cluster
from tools.cluster.job import start

WaitFor = Callable[..., None]

#: How long a change may take to be in every pod, with the time to look, in seconds.
DELIVERY = 60

#: 30 days: the chart's `keeper.rotation.interval`.
INTERVAL = timedelta(days=30)


def status(cluster: Cluster) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tools.cluster", "status"],
        cwd=ROOT,
        env=cluster.environment(),
        capture_output=True,
        text=True,
    )


def screen(cluster: Cluster) -> str:
    """Return a screen on which nothing is broken; it is plain, and its Job is gone."""
    before = {job["metadata"]["name"] for job in cluster.items("jobs")}
    done = status(cluster)
    assert (done.stderr, done.returncode) == ("", 0), done.stdout
    assert all(line.isprintable() for line in done.stdout.splitlines())
    assert done.stdout.endswith("\nNothing is broken.\n")
    assert {job["metadata"]["name"] for job in cluster.items("jobs")} <= before
    return done.stdout


def cells(text: str, beginning: str) -> list[str]:
    """Return the cells of the one line that begins so, the first one left out."""
    (line,) = [one for one in text.splitlines() if one.startswith(f"{beginning}  ")]
    return re.split("  +", line.strip())[1:]


def when(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


def check(cluster: Cluster, text: str) -> None:
    """See that everything on the screen is what helm, the API server and the pods say."""
    (release,) = json.loads(cluster.run("helm", "list", "--output", "json", "-n", "flask-app"))
    deployed = datetime.fromisoformat(release["updated"].replace(" +0000 UTC", "+00:00"))
    chart = f"{release['chart']}, app {release['app_version']}"
    revision = f"flask-app, revision {release['revision']} (deployed), chart {chart}, "
    assert f"{revision}deployed {when(deployed.timestamp())} (" in text
    now = datetime.fromisoformat(cells(text, "Now")[0].replace(" UTC", "+00:00")).timestamp()
    secret = json.loads(cluster.kubectl("get", "secret", "flask-app-secrets", "--output", "json"))
    notes = secret["metadata"]["annotations"]
    public = cluster.secret("flask-app-secrets")
    generation, role = public["GENERATION"].reveal(), public["DATABASE_USERNAME"].reveal()
    verify = 1 + len(public["SECRET_KEY_FALLBACKS"].reveal().split())
    keys = f"session keys: 1 signs, {verify} verify"
    assert f"made by the keeper, generation {generation}, role {role}; {keys}" in text
    for name, part in (("session key", "session"), ("database password", "database")):
        made = int(notes[f"keeper.flask-app/{part}-made"])
        age, was, due = cells(text, name)
        assert (age, was) == (duration(now - made), when(made))
        coming = made + INTERVAL.total_seconds()
        assert due == f"{when(coming)} (in {duration(coming - now)})"
    for name in ("flask-app-ca", "flask-app-tls", "flask-app-database-tls"):
        pem = cluster.secret(name)["tls.crt"].reveal()
        ends = x509.load_pem_x509_certificate(pem.encode()).not_valid_after_utc.timestamp()
        renewal, end = cells(text, name)
        assert renewal.startswith(f"{when(due_at(pem))} (in ")
        assert end.startswith(f"{when(ends)} (in ")
    pods = cluster.objects("pods", "app.kubernetes.io/component=service")
    assert len(pods) == 2
    for pod in pods:
        name = pod["metadata"]["name"]
        restarts = pod["status"]["containerStatuses"][0]["restartCount"]
        used = f"{cluster.metric(name, 'secrets_generation'):.0f}"
        assert used == generation
        assert cells(text, name) == [used, role, "yes", str(restarts)]


def test_every_figure_agrees_before_and_after_a_rotation(cluster: Cluster) -> None:
    before = screen(cluster)
    check(cluster, before)
    assert "its CronJob is suspended" in before
    assert "  - the keeper's CronJob is suspended: nothing is rotated on its own" in before
    rotation = start(cluster, "rotate", "session", "database")
    assert rotation.succeeds(), rotation.log()
    after = screen(cluster)
    check(cluster, after)
    for name in ("session key", "database password"):
        assert cells(after, name) != cells(before, name)
    ended = json.loads(cluster.kubectl("get", "job", rotation.name, "--output", "json"))
    completed = datetime.fromisoformat(ended["status"]["completionTime"])
    last = f"rotate session database, done {when(completed.timestamp())} ("
    assert cells(after, "Keeper")[0].startswith(last)
    assert f"job/{rotation.name}" in after


def test_it_needs_no_right_to_read_a_value(cluster: Cluster) -> None:
    """Whoever runs it reads Helm's records, of which the API server's log tells; no value."""
    began = float(cluster.node("date", "+%s.%N"))
    text = screen(cluster)
    age = int(float(cluster.node("date", "+%s.%N")) - began) + 2
    listed = cluster.run("make", "audit", f"AUDIT_ARGS=--json --since {age}s")
    told = [json.loads(line) for line in listed.splitlines()]
    # not what the test before has read
    read = [one for one in told if datetime.fromisoformat(one["time"]).timestamp() >= began]
    keeper = "system:serviceaccount:flask-app:flask-app-keeper"
    assert {one["secret"] for one in read if one["user"] == keeper} >= {"flask-app-secrets"}
    others = [one for one in read if one["user"] != keeper]
    assert all("owner=helm" in (one["selector"] or "") for one in others), others
    values = [
        value.reveal()
        for name in ("flask-app-secrets", "flask-app-tls", "flask-app-database-admin")
        for key, value in cluster.secret(name).items()
        if key in ("SECRET_KEY", "DATABASE_PASSWORD", "password", "tls.key")
    ]
    assert len(values) == 4
    assert not [value for value in values if value in text]


def published(cluster: Cluster) -> int:
    return int(cluster.secret("flask-app-secrets")["GENERATION"].reveal())


def has_it(cluster: Cluster, pod: str) -> bool:
    return cluster.metric(pod, "secrets_generation") == published(cluster)


def test_a_pod_that_is_behind_is_broken(cluster: Cluster, wait_for: WaitFor) -> None:
    pod, other = cluster.pods("service")
    generation = published(cluster)
    with unreadable_secret(cluster, pod):
        cluster.change_secret("flask-app-secrets", {"GENERATION": str(generation + 1)})
        wait_for(lambda: has_it(cluster, other), "the other pod to have it", DELIVERY)
        done = status(cluster)
    assert done.returncode == 1
    what = f"  - the pod {pod} is behind: it has generation {generation}, not {generation + 1}"
    assert done.stdout.split("\n\nBroken:\n")[1].splitlines()[0] == what
    assert cells(done.stdout, pod)[-1] == "behind"
    assert cells(done.stdout, other)[-1] != "behind"
    wait_for(lambda: has_it(cluster, pod), "the pod to have it", DELIVERY)
    screen(cluster)


def test_a_rotation_that_stopped_is_told_with_its_step(cluster: Cluster, wait_for: WaitFor) -> None:
    pod, other = cluster.pods("service")
    with unreadable_secret(cluster, pod):
        rotation = start(cluster, "rotate", "session", WAIT_SECONDS="5")
        assert not rotation.succeeds()
        wait_for(lambda: has_it(cluster, other), "the other pod to have it", DELIVERY)
        done = status(cluster)
    assert done.returncode == 1
    broken, to_know = done.stdout.split("\n\nBroken:\n")[1].split("To know:\n")
    said = f"the keeper's last run failed; its log says why: job/{rotation.name}"
    assert broken == f"  - {said}\n"
    assert "  - a rotation is under way: it is announced, which 1 of 2 pods have;" in to_know
    assert cells(done.stdout, "Rotation") == ["under way: announced"]
    assert cells(done.stdout, "Keeper")[0].startswith("rotate session, failed ")
    assert cells(done.stdout, pod)[-1] == "behind"
    run = start(cluster, "run")
    assert run.succeeds(), run.log()
    check(cluster, screen(cluster))
