"""Secrets rotate on a real cluster, under load, and nobody notices; whatever is in the way.

Every test ends with the same check: no request failed, no session and no note was lost, no
pod was restarted, and what was replaced is refused.
"""

from __future__ import annotations

import hashlib
import json
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from keeper.state import IDLE
from secret_files import Secret
from tests.pages import blocks
from tools.cluster.checks import login, restarts
from tools.cluster.client import ROOT, Cluster
from tools.cluster.job import Job, start
from tools.leakscan.needles import Needles
from tools.load import BESIDE_OTHERS, Load, connection, visits_in
from tools.poll import poll

ROTATIONS = 10

#: How long a change may take to be in every pod, in seconds: kind-config.yaml's syncFrequency.
DELIVERY = 30

#: What the page rotates with: all, the service's Secret alone, and a new authority.
ALL, SECRETS, AUTHORITY = "".join(one.text for one in blocks("docs/rotation.md")).splitlines()

#: What a rotation of all replaces in the service's Secret.
BOTH = ("SECRET_KEY", "DATABASE_PASSWORD")


@pytest.fixture(autouse=True)
def settled(cluster: Cluster) -> None:
    """Begin with pods that are ready, and with no rotation under way."""
    cluster.wait_until_ready()
    if step(cluster) != IDLE:
        run = start(cluster, "run")
        assert run.succeeds(), run.log()


@pytest.fixture
def load(cluster: Cluster) -> Iterator[Load]:
    """Put the service under load, and see at the end that nobody noticed anything."""
    with unnoticed(cluster, BESIDE_OTHERS) as load:
        yield load


@contextmanager
def unnoticed(cluster: Cluster, pace: int) -> Iterator[Load]:
    before = restarts(cluster, "service", "database")
    with under_load(cluster, pace) as load:
        yield load
    load.check()
    assert restarts(cluster, "service", "database") == before


def under_load(cluster: Cluster, pace: int = BESIDE_OTHERS) -> Load:
    return Load(int(cluster.port), cluster.state / "ca.crt", pace=pace)


def notes(cluster: Cluster) -> dict[str, str]:
    found = json.loads(cluster.kubectl("get", "secret", "flask-app-secrets", "--output", "json"))
    prefix = "keeper.flask-app/"
    return {
        name.removeprefix(prefix): value
        for name, value in found["metadata"]["annotations"].items()
        if name.startswith(prefix)
    }


def step(cluster: Cluster) -> str:
    return notes(cluster).get("step", IDLE)


def wait_for_pods(cluster: Cluster, generation: str) -> None:
    def have_it() -> bool:
        found = {cluster.metric(pod, "secrets_generation") for pod in cluster.pods("service")}
        return found == {float(generation)}

    wait_until(have_it, f"the generation {generation} in every pod")


def visit(cluster: Cluster, cookie: str = "") -> tuple[int, str]:
    """Ask for the page; return the visits that it counts, and the cookie that came back."""
    with connection(int(cluster.port), cluster.state / "ca.crt") as server:
        server.request("GET", "/", headers={"Cookie": cookie} if cookie else {})
        answer = server.getresponse()
        assert answer.status == 200
        page = answer.read().decode()
    return visits_in(page), (answer.getheader("Set-Cookie") or "").split(";")[0]


def served(cluster: Cluster) -> set[str]:
    """Return the digest of every certificate that 20 connections meet."""
    found = set()
    for _ in range(20):
        with connection(int(cluster.port), cluster.state / "ca.crt") as server:
            server.connect()
            found.add(hashlib.sha256(server.sock.getpeercert(binary_form=True) or b"").hexdigest())
    return found


SERVED_BY_THE_DATABASE = """
import hashlib
from keeper.database import Server
host = "flask-app-database.flask-app.svc"
server = Server(host, 5432, "flask_app", "verify-full")
print(hashlib.sha256(server.certificate()).hexdigest())
"""


def certificates(cluster: Cluster) -> dict[str, str]:
    """Return the digests of the two certificates that ought to be served."""
    return {
        name: hashlib.sha256(
            ssl.PEM_cert_to_DER_cert(cluster.secret(f"flask-app-{name}")["tls.crt"].reveal())
        ).hexdigest()
        for name in ("tls", "database-tls")
    }


@contextmanager
def rotated(cluster: Cluster) -> Iterator[None]:
    """See that all which there was is replaced, refused and no longer served afterwards."""
    before, certificate = cluster.secret("flask-app-secrets"), certificates(cluster)
    assert login(cluster, before) == "let in"
    yield
    after = cluster.secret("flask-app-secrets")
    assert step(cluster) == IDLE
    assert before["DATABASE_USERNAME"] != after["DATABASE_USERNAME"]
    assert before["SECRET_KEY"] != after["SECRET_KEY"]
    assert login(cluster, before) == "refused"
    assert login(cluster, after) == "let in"
    replaced = certificates(cluster)
    assert not set(replaced.values()) & set(certificate.values())
    assert served(cluster) == {replaced["tls"]}
    assert cluster.python(SERVED_BY_THE_DATABASE).strip() == replaced["database-tls"]


@contextmanager
def finished(cluster: Cluster, *replaced: str) -> Iterator[None]:
    """See that a `run` finishes whatever was left, and that what it replaced is refused.

    :param replaced: the keys that are new then, whatever happened in between.
    """
    before = cluster.secret("flask-app-secrets")
    yield
    run = start(cluster, "run")
    assert run.succeeds(), run.log()
    after = cluster.secret("flask-app-secrets")
    assert step(cluster) == IDLE
    assert login(cluster, after) == "let in"
    assert [key for key in replaced if before[key] == after[key]] == []
    if before["DATABASE_PASSWORD"] != after["DATABASE_PASSWORD"]:
        assert login(cluster, before) == "refused"
    wait_for_pods(cluster, after["GENERATION"].reveal())


def test_ten_rotations_in_a_row(cluster: Cluster) -> None:
    cookies = []
    # an old key is retired by the rotation after the next one: none takes less than 6 s
    lifetime = {"SESSION_LIFETIME_SECONDS": "5"}
    with unnoticed(cluster, 3 * BESIDE_OTHERS):
        for number in range(ROTATIONS):
            cookies.append(visit(cluster)[1])
            with rotated(cluster):
                began = time.monotonic()
                job = start(cluster, "rotate", **lifetime)
                assert job.succeeds(), job.log()
                print(f"rotation {number + 1} took {time.monotonic() - began:.1f} s")
            wait_for_pods(cluster, cluster.secret("flask-app-secrets")["GENERATION"].reveal())
            assert visit(cluster, cookies[-1])[0] == 2, "the replaced key does not verify"
            if number:
                assert visit(cluster, cookies[-2])[0] == 1, "a retired key still verifies"
    assert len(cluster.secret("flask-app-secrets")["SECRET_KEY_FALLBACKS"].reveal().split()) == 1


@pytest.mark.smoke
def test_make_rotate_prints_each_step(cluster: Cluster, load: Load) -> None:
    with rotated(cluster):
        printed = cluster.run("bash", "-c", ALL)
    for word in ("prepared", "announced", "promoted", "revoked", "rotated", "in all"):
        assert word in printed
    password = cluster.secret("flask-app-secrets")["DATABASE_PASSWORD"]
    assert Needles([password]).find(printed.encode()) == set()


def test_make_rotate_leaves_alone_what_is_not_asked_for(cluster: Cluster, load: Load) -> None:
    before, certificate = cluster.secret("flask-app-secrets"), certificates(cluster)
    cluster.run("bash", "-c", SECRETS)
    after = cluster.secret("flask-app-secrets")
    assert [key for key in BOTH if before[key] == after[key]] == []
    assert login(cluster, before) == "refused"
    assert certificates(cluster) == certificate


#: The step in which the database's certificate is one of the new authority.
MOVED = "flask-app-database-tls renewed"


def trust(load: Load, authorities: Secret) -> None:
    """Give the load other authorities, all at once: it looks at them for each request."""
    new = load.authorities.with_suffix(".new")
    new.write_text(authorities.reveal())
    new.replace(load.authorities)


@contextmanager
def started_by(cluster: Cluster, command: str) -> Iterator[Job]:
    """Run a command that starts a Job, and see at the end that both succeed."""

    def jobs() -> set[str]:
        return {job["metadata"]["name"] for job in cluster.items("jobs")}

    before = jobs()
    with subprocess.Popen(
        ["bash", "-c", command], stdout=subprocess.DEVNULL, cwd=ROOT, env=cluster.environment()
    ) as process:
        wait_until(lambda: bool(jobs() - before), "a Job of the CronJob")
        (name,) = jobs() - before
        job = Job(cluster, name)
        yield job
        assert job.succeeds(), job.log()
        assert process.wait(DELIVERY) == 0


def test_a_new_authority_is_trusted_before_it_signs(cluster: Cluster, load: Load) -> None:
    before = certificates(cluster)
    old = cluster.secret("flask-app-ca")["tls.crt"].reveal()
    with started_by(cluster, AUTHORITY) as job:
        job.wait_for("flask-app-tls trust changed")
        # whoever keeps a copy has to take the new one by now; the load looks each time
        trust(load, cluster.secret("flask-app-tls")["ca.crt"])
    seen, moved = (job.log().index(f'"{step}"') for step in ("authority seen", MOVED))
    assert seen < moved, "the database had a certificate that not every pod trusted"
    new = cluster.secret("flask-app-ca")["tls.crt"].reveal()
    assert new != old
    assert cluster.secret("flask-app-tls")["ca.crt"].reveal() == new + old
    assert not set(certificates(cluster).values()) & set(before.values())
    assert served(cluster) == {certificates(cluster)["tls"]}
    assert cluster.python(SERVED_BY_THE_DATABASE).strip() == certificates(cluster)["database-tls"]
    later = start(cluster, "run", SESSION_LIFETIME_SECONDS="1")
    assert later.succeeds(), later.log()
    for name in ("ca", "tls", "database-tls"):
        assert cluster.secret(f"flask-app-{name}")["ca.crt"].reveal() == new
    trust(load, cluster.secret("flask-app-ca")["tls.crt"])
    assert served(cluster) == {certificates(cluster)["tls"]}


def test_status_tells_ages_and_pods_and_no_value(cluster: Cluster) -> None:
    stored = cluster.secret("flask-app-secrets")
    wait_for_pods(cluster, stored["GENERATION"].reveal())
    job = start(cluster, "status")
    assert job.succeeds(), job.log()
    told = json.loads(job.log()[job.log().index("{\n") :])
    assert told["rotation"] == "none"
    assert told["role"] == stored["DATABASE_USERNAME"].reveal()
    assert {pod["name"]: str(pod["generation"]) for pod in told["pods"]} == {
        pod: stored["GENERATION"].reveal() for pod in cluster.pods("service")
    }
    assert set(told["certificates"]) == {"flask-app-ca", "flask-app-tls", "flask-app-database-tls"}
    for part in ("session", "database"):
        assert told[part]["made"] < told[part]["due"]
    assert Needles([stored[key] for key in BOTH]).find(job.log().encode()) == set()


def test_at_the_kubelets_default_pace(cluster: Cluster, load: Load) -> None:
    with cluster.sync_frequency("0s"), rotated(cluster):
        began = time.monotonic()
        job = start(cluster, "rotate")
        assert job.succeeds(), job.log()
        print(f"at the kubelet's default pace a rotation took {time.monotonic() - began:.0f} s")


@pytest.mark.parametrize(
    ("logged", "times"),
    [
        ("database prepared", 1),
        ("prepared", 1),
        ("announced", 1),
        ("seen", 1),
        ("promoted", 1),
        ("seen", 2),
        ("revoked", 1),
        ("rotated", 1),
    ],
)
def test_killed_at_every_step(cluster: Cluster, load: Load, logged: str, times: int) -> None:
    # before it is announced, nobody has heard of it: then it is undone
    with finished(cluster, *(() if "prepared" in logged else BOTH)):
        job = start(cluster, "rotate")
        job.kill_after(logged, times)
        assert not job.succeeds(), "it was not killed"
        assert job.exit_status() == 137


def test_the_api_server_is_away_for_a_minute(cluster: Cluster, load: Load) -> None:
    with finished(cluster, *BOTH):
        job = start(cluster, "rotate")
        job.wait_for("announced")
        cluster.node("pkill", "-STOP", "kube-apiserver")
        try:
            time.sleep(60)
        finally:
            cluster.node("pkill", "-CONT", "kube-apiserver")
        assert job.succeeds(), job.log()


@pytest.mark.parametrize("logged", ["database prepared", "announced", "promoted", "revoked"])
def test_the_database_restarts_between_two_steps(cluster: Cluster, logged: str) -> None:
    pods = restarts(cluster, "service")
    with under_load(cluster) as load, finished(cluster, *BOTH):
        job = start(cluster, "rotate")
        job.wait_for(logged)
        away = time.time()
        # which waits for that very pod; the next one has its name
        cluster.kubectl("delete", "pod", "flask-app-database-0", "--timeout=60s")
        cluster.kubectl("rollout", "status", "statefulset/flask-app-database", "--timeout=120s")
        # a request that waits for a connection gives up after 5 s, twice
        back = time.time() + 10
        assert job.succeeds(), job.log()
    print(load.summary(), f"while the database was away for {back - away:.0f} s")
    assert [one for one in load.failures if one.ended < away or one.began > back] == []
    assert restarts(cluster, "service") == pods
    assert load.per_second > BESIDE_OTHERS / 3
    assert load.lost_sessions == []
    assert load.lost() == set()


#: In the mount namespace of one container. It does not need a mount program, which an image may
#: not have.
COVER = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
if libc.mount(b"none", b"/etc/secrets", b"tmpfs", 0, b"mode=0755"):
    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
"""
UNCOVER = """
import ctypes
import os
assert ctypes.CDLL(None).umount2(b"/etc/secrets", 0) == 0
"""

#: One process of a pod's service: python alone, not the pause container's.
FIND_PROCESS = r"""
for process in $(grep -lE "pod$(echo {uid} | sed s/-/[-_]/g)" /proc/[0-9]*/cgroup 2>/dev/null); do
  case $(readlink "${{process%/cgroup}}/exe") in *python*) echo "$process" | cut -d/ -f3;; esac
done | head -1
"""


@contextmanager
def unreadable_secret(cluster: Cluster, pod: str) -> Iterator[None]:
    """Cover the mounted Secret in one pod with an empty folder."""
    uid = cluster.kubectl("get", "pod", pod, "--output", "jsonpath={.metadata.uid}")
    process = cluster.node("sh", "-c", FIND_PROCESS.format(uid=uid)).strip()
    assert process, "the pod has no process"
    inside = ("nsenter", "--target", process, "--mount", "/opt/venv/bin/python", "-c")
    cluster.node(*inside, COVER)
    try:
        yield
    finally:
        # one that was deleted took it along
        if pod in cluster.pods("service"):
            cluster.node(*inside, UNCOVER)


def test_a_pod_that_can_not_read_the_new_secret(cluster: Cluster, load: Load) -> None:
    before = cluster.secret("flask-app-secrets")
    pod, other = cluster.pods("service")
    with finished(cluster, *BOTH), unreadable_secret(cluster, pod):
        job = start(cluster, "rotate", WAIT_SECONDS="20")
        assert not job.succeeds(), "nobody noticed"
        assert job.exit_status() == 1
        (problem,) = [line for line in job.log().splitlines() if "not every pod has" in line]
        assert pod in problem
        assert other not in problem
        announced = cluster.secret("flask-app-secrets")
        assert announced["DATABASE_USERNAME"] != before["DATABASE_USERNAME"]
        assert login(cluster, before) == login(cluster, announced) == "let in"


def test_a_pod_is_deleted_and_another_one_starts_in_the_middle(cluster: Cluster) -> None:
    database = restarts(cluster, "database")
    with under_load(cluster) as load, finished(cluster, *BOTH):
        job = start(cluster, "rotate")
        job.wait_for("announced")
        cluster.kubectl("delete", "pod", cluster.pods("service")[0], "--wait=false")
        job.wait_for("promoted")
        cluster.kubectl("scale", "deployment/flask-app", "--replicas", "3")
        try:
            assert job.succeeds(), job.log()
        finally:
            cluster.kubectl("scale", "deployment/flask-app", "--replicas", "2")
            cluster.kubectl("rollout", "status", "deployment/flask-app", "--timeout", "120s")
    load.check()
    assert restarts(cluster, "database") == database


def test_two_keepers_at_once(cluster: Cluster, load: Load) -> None:
    with finished(cluster, *BOTH):
        jobs: list[Job] = [start(cluster, "rotate") for _ in range(2)]
        ended = [job.succeeds() for job in jobs]
        assert any(ended), "both gave way"
        for job, done in zip(jobs, ended, strict=True):
            if not done:
                assert job.exit_status() == 3
                assert "giving way" in job.log()


def rejected(cluster: Cluster) -> dict[str, float]:
    metric = 'secrets_reloads_total{result="rejected"}'
    return {pod: cluster.metric(pod, metric) for pod in cluster.pods("service")}


def wait_until(condition: Callable[[], bool], what: str) -> None:
    poll(condition, what, DELIVERY, 0.3)


def test_somebody_writes_a_wrong_password_into_the_secret(cluster: Cluster, load: Load) -> None:
    with finished(cluster, "DATABASE_PASSWORD"):
        before = rejected(cluster)
        generation = int(cluster.secret("flask-app-secrets")["GENERATION"].reveal())
        wrong = {"DATABASE_PASSWORD": "nobody-gave-this-to-the-database"}
        cluster.change_secret("flask-app-secrets", {**wrong, "GENERATION": str(generation + 1)})

        def refused_by_all() -> bool:
            return all(count > before[pod] for pod, count in rejected(cluster).items())

        wait_until(refused_by_all, "every pod looks at the wrong password")
        for pod in cluster.pods("service"):
            said = cluster.kubectl("logs", pod, "--since", "60s")
            assert "secrets not adopted, the last good ones stay" in said
            assert cluster.metric(pod, "secrets_generation") == generation
    after = cluster.secret("flask-app-secrets")
    assert after["DATABASE_PASSWORD"].reveal() != wrong["DATABASE_PASSWORD"]


def test_a_planted_failure_is_noticed(cluster: Cluster) -> None:
    """The load can fail: a login that is taken away while it is in use is seen by it."""
    user = cluster.secret("flask-app-secrets")["DATABASE_USERNAME"].reveal()
    with under_load(cluster) as load:
        cluster.sql(
            f"ALTER ROLE {user} NOLOGIN",
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{user}'",
        )
        try:
            wait_until(lambda: bool(load.failures), "a request that fails")
        finally:
            cluster.sql(f"ALTER ROLE {user} LOGIN")
    with pytest.raises(AssertionError, match="failed"):
        load.check()
