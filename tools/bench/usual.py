"""The usual way to rotate: a new Secret, and then every pod is replaced.

A copy of the service that takes its secrets from the environment, as most do, with one
database role whose password changes: what Reloader does when a Secret changes, and what
`kubectl rollout restart` is written for. The old session key stays as a fallback.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from app.secret_keys import KEYS
from tools.cluster.client import Cluster

NAME = "flask-app-usual"
ROLE = "usual"


@contextmanager
def usual_service(cluster: Cluster) -> Iterator[None]:
    """Deploy the copy, and lead all requests to it."""
    cluster.sql(
        f"CREATE ROLE {ROLE} LOGIN PASSWORD '{secrets.token_urlsafe(32)}'",
        f"GRANT flask_app_service TO {ROLE}",
    )
    _apply(cluster, {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": NAME}})
    _apply(cluster, _way_to_the_database())
    _publish(cluster)
    (deployment,) = cluster.objects("deployments", "app.kubernetes.io/component=service")
    _apply(cluster, _copy(deployment))
    try:
        _roll(cluster)
        _select(cluster, "usual")
        yield
    finally:
        _select(cluster, "service")
        cluster.kubectl(
            "delete", "deployment,secret,networkpolicy", NAME, "--wait", "--ignore-not-found"
        )
        cluster.sql(f"DROP ROLE {ROLE}")


def rotate(cluster: Cluster) -> int:
    """Rotate as usual, and return the new generation; the pods are still being replaced."""
    generation = _publish(cluster)
    cluster.kubectl("rollout", "restart", f"deployment/{NAME}")
    return generation


def _roll(cluster: Cluster) -> None:
    cluster.kubectl("rollout", "status", f"deployment/{NAME}", "--timeout", "180s")


def _publish(cluster: Cluster) -> int:
    """Give the role a new password, and write it and a new key into the Secret."""
    before = cluster.secret(NAME) if _has_data(cluster) else {}
    password = secrets.token_urlsafe(32)
    generation = int(time.time())
    cluster.sql(f"ALTER ROLE {ROLE} PASSWORD '{password}'")
    values = {
        "SECRET_KEY": secrets.token_urlsafe(48),
        "SECRET_KEY_FALLBACKS": before["SECRET_KEY"].reveal() if before else "",
        "DATABASE_USERNAME": ROLE,
        "DATABASE_PASSWORD": password,
        "GENERATION": str(generation),
    }
    cluster.change_secret(NAME, values)
    return generation


def _has_data(cluster: Cluster) -> bool:
    found = json.loads(cluster.kubectl("get", "secret", NAME, "--output", "json"))
    return bool(found.get("data"))


def _copy(deployment: Mapping[str, object]) -> object:
    """Return the service's Deployment with its secrets in the environment."""
    copy = json.loads(json.dumps(deployment))
    copy["metadata"] = {"name": NAME}
    copy.pop("status")
    spec = copy["spec"]
    label = {"app.kubernetes.io/component": "usual"}
    spec["selector"]["matchLabels"].update(label)
    spec["template"]["metadata"]["labels"].update(label)
    (container,) = spec["template"]["spec"]["containers"]
    kept = [one for one in container["env"] if not one["name"].startswith("SECRETS_")]
    container["env"] = [
        *kept,
        {"name": "SECRETS_FROM", "value": "env"},
        *(
            {"name": key.name, "valueFrom": {"secretKeyRef": {"name": NAME, "key": key.name}}}
            for key in KEYS
        ),
    ]
    container["volumeMounts"] = [m for m in container["volumeMounts"] if m["name"] != "secrets"]
    pod = spec["template"]["spec"]
    pod["volumes"] = [volume for volume in pod["volumes"] if volume["name"] != "secrets"]
    return copy


def _way_to_the_database() -> object:
    """Return a NetworkPolicy that lets the copy through, beside those of the chart."""

    def pods(component: str) -> object:
        return {"matchLabels": {"app.kubernetes.io/component": component}}

    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": NAME},
        "spec": {
            "podSelector": pods("database"),
            "ingress": [{"ports": [{"port": 5432}], "from": [{"podSelector": pods("usual")}]}],
        },
    }


def _select(cluster: Cluster, component: str) -> None:
    patch = {"spec": {"selector": {"app.kubernetes.io/component": component}}}
    cluster.kubectl("patch", "service", "flask-app", "--patch", json.dumps(patch))


def _apply(cluster: Cluster, thing: object) -> None:
    cluster.kubectl("apply", "--filename", "-", stdin=json.dumps(thing))
