"""No secret stands where it should not, and each of these checks finds a planted one.

What is planted is a canary: a random value that is looked for like a secret.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable, Iterator

import pytest

from app.secret_files import Secret
from tests.e2e.cluster import HARDENED, Cluster
from tests.e2e.conftest import Needles

Found = Callable[[Needles, str], list[str]]
Place = Callable[[Cluster], str]


def pod_specs(cluster: Cluster) -> str:
    return json.dumps(cluster.objects("pods"))


#: Every process but this shell; one that is there and can't be read is told.
READ_ENVIRONMENTS = r"""
for process in /proc/[0-9]*; do
  [ $process = /proc/$$ ] && continue
  if text=$(tr '\0' '\n' < $process/environ); then echo "read $process: $text"
  elif [ -d $process ]; then echo "unreadable $process"; fi
done 2>/dev/null
"""


def process_environments(cluster: Cluster) -> str:
    """Return the environment of every process in every pod that runs."""
    texts = []
    for pod in cluster.objects("pods"):
        if pod["status"]["phase"] == "Running":
            name = pod["metadata"]["name"]
            text = cluster.kubectl("exec", name, "--", "sh", "-c", READ_ENVIRONMENTS + "true")
            whole = "read /proc/1: " in text and "unreadable" not in text
            assert whole, f"not every environment of {name} could be read"
            texts.append(text)
    assert len(texts) >= 3
    return "\n".join(texts)


def logs(cluster: Cluster) -> str:
    cluster.request("/api/notes")
    texts = []
    for pod in cluster.objects("pods"):
        arguments = ("logs", pod["metadata"]["name"], "--all-containers", "--tail", "-1")
        texts.append(cluster.kubectl(*arguments))
    assert any("GET /api/notes" in text for text in texts)
    assert any("database prepared" in text for text in texts)
    return "\n".join(texts)


def helm_release(cluster: Cluster) -> str:
    return cluster.run("helm", "get", "all", "flask-app", "--namespace", "flask-app")


PLACES: list[Place] = [pod_specs, process_environments, logs, helm_release]


@pytest.mark.parametrize("place", PLACES)
def test_no_value_stands_there(
    cluster: Cluster, needles: Needles, found: Found, place: Place
) -> None:
    assert found(needles, place(cluster)) == []


@pytest.fixture(scope="module")
def planted(cluster: Cluster) -> Iterator[Needles]:
    """Plant a canary in every one of the places, and take it out again."""
    canary = f"canary-{secrets.token_hex(16)}"
    chart = ("chart", "--namespace", "flask-app", "--reuse-values", "--wait", "--wait-for-jobs")
    cluster.run("helm", "upgrade", "flask-app", *chart, "--set", f"podAnnotations.canary={canary}")
    image = cluster.objects("deployments")[0]["spec"]["template"]["spec"]["containers"][0]["image"]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "canary"},
        "spec": {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "containers": [
                {
                    "name": "canary",
                    "image": image,
                    # in the process alone: kubectl exec would bring a pod's own env along
                    "command": ["sh", "-c", f"echo {canary}; exec env CANARY={canary} sleep 600"],
                    "securityContext": HARDENED,
                }
            ],
        },
    }
    try:
        cluster.kubectl("apply", "--filename", "-", stdin=json.dumps(pod))
        cluster.kubectl("wait", "pod/canary", "--for", "condition=Ready", "--timeout", "60s")
        yield {"canary": [Secret("canary", canary)]}
    finally:
        cluster.kubectl("delete", "pod", "canary", "--wait", "--ignore-not-found")
        cluster.run("helm", "rollback", "flask-app", "--namespace", "flask-app", "--wait")


@pytest.mark.parametrize("place", PLACES)
def test_a_planted_value_is_found_there(
    cluster: Cluster, planted: Needles, found: Found, place: Place
) -> None:
    assert found(planted, place(cluster)) == ["canary"]


def in_etcd(cluster: Cluster, key: str) -> str:
    (node,) = (node["metadata"]["name"] for node in cluster.objects("nodes"))
    certificates = "/etc/kubernetes/pki/etcd"
    return cluster.run(
        *("kubectl", "--context", f"kind-{cluster.name}", "--namespace", "kube-system"),
        *("exec", f"etcd-{node}", "--", "etcdctl", "get", key, "--write-out", "json"),
        *("--endpoints", "https://127.0.0.1:2379"),
        *("--cacert", f"{certificates}/ca.crt", "--cert", f"{certificates}/server.crt"),
        *("--key", f"{certificates}/server.key"),
    )


PREFIX = b"k8s:enc:secretbox:v1:key1:"


def stored_prefix(cluster: Cluster, key: str) -> bytes:
    """Return the first bytes of a stored value, too few to hold any of it."""
    (entry,) = json.loads(in_etcd(cluster, key))["kvs"]
    return base64.b64decode(entry["value"])[: len(PREFIX)]


def test_secrets_are_encrypted_at_rest(cluster: Cluster) -> None:
    for stored in cluster.objects("secrets"):
        key = f"/registry/secrets/flask-app/{stored['metadata']['name']}"
        assert stored_prefix(cluster, key) == PREFIX


def test_what_is_not_encrypted_looks_otherwise(cluster: Cluster) -> None:
    key = "/registry/configmaps/flask-app/flask-app-database"
    assert stored_prefix(cluster, key).startswith(b"k8s\0")


def test_the_encryption_key_is_its_owners_alone(cluster: Cluster) -> None:
    assert (cluster.state / "encryption.yaml").stat().st_mode & 0o777 == 0o600
    assert cluster.run("git", "check-ignore", str(cluster.state / "encryption.yaml"))


def audit_events(cluster: Cluster) -> list[dict[str, object]]:
    node = f"{cluster.name}-control-plane"
    log = cluster.run("docker", "exec", node, "cat", "/var/log/kubernetes/audit.log")
    return [json.loads(line) for line in log.splitlines()]


def test_the_audit_log_tells_who_touched_a_secret_and_no_value(
    cluster: Cluster, needles: Needles, found: Found
) -> None:
    events = audit_events(cluster)
    patches = [
        event
        for event in events
        if event["verb"] == "patch"
        and event["user"]["username"] == "system:serviceaccount:flask-app:flask-app-keeper"  # type: ignore[index]
    ]
    patched = {event["objectRef"]["name"] for event in patches}  # type: ignore[index]
    assert patched == {
        "flask-app-ca",
        "flask-app-tls",
        "flask-app-database-tls",
        "flask-app-database-admin",
        "flask-app-secrets",
    }
    assert {event["level"] for event in events} == {"Metadata"}
    assert found(needles, json.dumps(events)) == []
