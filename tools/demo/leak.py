"""A leak as it happens: somebody who debugs gives a pod a token as a variable, and prints it.

The token is a canary: a random value, good for nothing, that stands in a Secret of the release,
so that the scan looks for it as for every other value, without being told.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from tools.cluster.client import HARDENED, WAIT, Cluster, Object, created, made
from tools.leakscan.run import image_of
from tools.poll import poll

SECRET = "flask-app-canary"
KEY = "API_TOKEN"
POD = "demo-debug"

#: What the scan calls the canary.
CANARY = f"{SECRET}/{KEY}"

#: Where it surfaces, and is gone from when the pod is.
SURFACES = {
    "kubernetes objects: namespace",
    "kubernetes objects: pod specs",
    "processes: environ",
    "processes: started as",
    "output: logs",
    "output: node's files",
}

#: How long the node may keep what was a pod's, in seconds: the kubelet sweeps once a minute.
SWEPT = 150

#: What is left of a pod on the node: folders of logs, and containers.
LEFT = """
ls /var/log/pods | grep "^$1_$2_" || true
ctr --namespace k8s.io containers list --quiet "labels.\\"io.kubernetes.pod.name\\"==$2"
"""


@contextmanager
def canary(cluster: Cluster) -> Iterator[str]:
    """Put a canary into a Secret of the release, give its value, and remove it."""
    value = secrets.token_hex(20)
    secret = made("v1", "Secret", SECRET, stringData={KEY: value})
    secret["metadata"]["labels"] = {"app.kubernetes.io/instance": cluster.fullname}
    _remove(cluster, f"secret/{SECRET}")
    with created(cluster, secret):
        yield value


@contextmanager
def leaked(cluster: Cluster, value: str) -> Iterator[None]:
    """Start the pod that has it in its environment and in its log, and remove it."""
    pod = made("v1", "Pod", POD, spec=_spec(cluster, value))
    _remove(cluster, f"pod/{POD}")
    with created(cluster, pod):
        cluster.kubectl("wait", f"pod/{POD}", "--for", "condition=Ready", "--timeout", "60s")
        yield


def wait_until_swept(cluster: Cluster) -> None:
    """Wait until the node has removed the log and the containers of the pod that was deleted."""
    look = ("sh", "-c", LEFT, "sh", cluster.namespace, POD)
    poll(lambda: not cluster.node(*look), f"the node without a trace of {POD}", SWEPT, 1)


def _spec(cluster: Cluster, value: str) -> Object:
    container = {
        "name": POD,
        "image": image_of(cluster),
        "command": ["sh", "-c", f"env; {WAIT}"],
        "env": [{"name": KEY, "value": value}],
        "securityContext": HARDENED,
    }
    return {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 0,
        "containers": [container],
    }


def _remove(cluster: Cluster, name: str) -> None:
    """Remove what a demo that was killed has left."""
    cluster.kubectl("delete", name, "--ignore-not-found")
