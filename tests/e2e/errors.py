"""Whatever can go wrong with a deployed release, made to happen, and undone."""

from __future__ import annotations

import secrets
import urllib.error
from collections.abc import Callable
from typing import Any

from tools.cluster.client import Cluster
from tools.poll import poll
from tools.resource import READ, RESOURCE

#: How long each may take until the service has noticed, and until it is well again, in seconds.
LIMIT = 90

#: The exit status of a container whose process was killed.
KILLED = 137

REFUSED = 'secrets_reloads_total{result="rejected"}'

#: Requests that are refused, each with the status of the answer.
REFUSALS: list[tuple[int, str, str, object]] = [
    (404, "GET", "/env", None),
    (405, "PUT", "/", None),
]
if RESOURCE:
    REFUSALS += [
        (400, "POST", RESOURCE.path, RESOURCE.rejected),
        (413, "POST", RESOURCE.path, RESOURCE.body("x" * 20_000)),
    ]

#: Sends a signal to processes of a pod: its `sandbox`, its containers' `first` ones, or those that
#: these have `started`.
SIGNAL = r"""
set -eu
for cgroup in $(grep -l "$1" /proc/[0-9]*/cgroup); do
  process=${cgroup%/cgroup}
  kind=started
  ! grep -qE '^NSpid:.*\s1$' $process/status || kind=first
  ! grep -q pause $process/comm || kind=sandbox
  [ $kind != "$2" ] || kill -s "$3" "${process#/proc/}" || [ ! -e $process ]
done
"""


def every_one(cluster: Cluster, remember: Callable[[], None]) -> dict[str, bytes]:
    """Bring wrong passwords, unfit Secrets, crashes, answers with 400 to 503, and a new start.

    :param remember: called when the Secret has other values.
    :return: the headers and bodies of the answers, by what they answer.
    """
    good = cluster.secret("flask-app-secrets")
    generation = int(good["GENERATION"].reveal())
    pods = cluster.pods("service")
    wrong = {"DATABASE_PASSWORD": f"wrong-{secrets.token_urlsafe(24)}"}
    unfit = {"SECRET_KEY": secrets.token_hex(15)}
    try:
        wrong["GENERATION"] = str(generation + 1)
        _refuse(cluster, pods, wrong, "DATABASE_PASSWORD")
        remember()
        unfit["GENERATION"] = str(generation + 2)
        _refuse(cluster, pods, wrong | unfit, "SECRET_KEY")
        remember()
        _crash(cluster, pods)
    finally:
        values = {key: value.reveal() for key, value in good.items()}
        cluster.change_secret("flask-app-secrets", {**values, "GENERATION": str(generation + 3)})
    cluster.wait_until_ready()
    answers = {
        f"{status} to {method} {path}": _until_answer(cluster, status, method, path, body)
        for status, method, path, body in REFUSALS
    }
    if RESOURCE:
        table = RESOURCE.table
        cluster.sql(f"ALTER TABLE {table} RENAME TO {table}_away")
        try:
            answers["500"] = _until_answer(cluster, 500)
        finally:
            cluster.sql(f"ALTER TABLE {table}_away RENAME TO {table}")
    # as when the node restarts: the init container runs again, and the kubelet removes its log
    send_signal(cluster, cluster.pods("database")[0], "sandbox", "KILL")
    if RESOURCE:
        answers["503"] = _until_answer(cluster, 503)
    cluster.wait_until_ready()
    return answers


def _refuse(cluster: Cluster, pods: list[str], values: dict[str, str], key: str) -> None:
    """Give the service values that it can't use, and wait until every pod has said so."""
    before = {pod: cluster.metric(pod, REFUSED) for pod in pods}
    cluster.change_secret("flask-app-secrets", values)

    def refused(pod: str) -> bool:
        # it looks at its Secret when it is asked
        more = cluster.metric(pod, REFUSED) > before[pod]
        return more and f"stay: {key} in" in cluster.kubectl("logs", pod, "--tail", "-1")

    poll(lambda: all(map(refused, pods)), f"every pod refuses the new {key}", LIMIT)


def _crash(cluster: Cluster, pods: list[str]) -> None:
    """Crash a worker, then a whole container, which can't start again with what it finds."""
    pod = pods[0]
    before, _ = _life(cluster, pod)
    send_signal(cluster, pod, "started", "SEGV")
    logged = ("logs", pod, "--tail", "-1")
    poll(lambda: "SIGSEGV" in cluster.kubectl(*logged), "the crash of a worker", LIMIT)
    send_signal(cluster, pod, "first", "KILL")

    def refused() -> bool:
        restarts, status = _life(cluster, pod)
        return restarts > before and status not in (0, KILLED)

    poll(refused, "a container that refuses to start", LIMIT)


def send_signal(cluster: Cluster, pod: str, processes: str, signal: str) -> None:
    """Send a signal to a pod's `sandbox`, its `first` processes, or those that they `started`."""
    cgroup = f"pod{_pod(cluster, pod)['metadata']['uid']}".replace("-", "[-_]")
    cluster.node("sh", "-s", "--", cgroup, processes, signal, stdin=SIGNAL)


def _life(cluster: Cluster, pod: str) -> tuple[int, int]:
    """Return how often a pod's container was started again, and how it ended last."""
    (status,) = _pod(cluster, pod)["status"]["containerStatuses"]
    ended = status["lastState"].get("terminated", {})
    return status["restartCount"], ended.get("exitCode", 0)


def _pod(cluster: Cluster, name: str) -> Any:
    (found,) = [one for one in cluster.objects("pods") if one["metadata"]["name"] == name]
    return found


def _until_answer(
    cluster: Cluster,
    status: int,
    method: str = "GET",
    path: str = READ,
    body: object = None,
) -> bytes:
    """Ask until the answer has this status, and return its headers and its body."""

    def answer() -> bytes:
        try:
            cluster.request(path, method, body)
        except urllib.error.HTTPError as error:
            if error.code == status:
                return str(error.headers).encode() + error.read()
        except OSError:
            pass
        return b""

    return poll(answer, f"an answer with {status}", LIMIT)
