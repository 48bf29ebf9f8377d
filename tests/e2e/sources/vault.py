"""The stand-in for Vault in a pod: vault_server.py says what it does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tools.cluster.client import HARDENED, Cluster

NAME = "vault"
PORT = 8200

SERVER = Path(__file__).with_name("vault_server.py").read_text("utf-8")

#: Its input is the program, with what is written in it: that stands on no command line.
WRITE = """
import json, ssl, urllib.request
context = ssl._create_unverified_context()
for path, body in {requests!r}.items():
    url = "https://127.0.0.1:8200/v1/" + path
    request = urllib.request.Request(url, data=json.dumps(body).encode(), method="PUT")
    urllib.request.urlopen(request, timeout=10, context=context).read()
"""


def pod(image: str, names: tuple[str, ...]) -> dict[str, Any]:
    """Return the pod; in /vault/tls is a database's authority, if there is a ConfigMap with it."""
    memory = {"emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}}
    items = [{"key": "ca.crt", "path": "db-ca.crt"}]
    authority = {"configMap": {"name": "db-ca", "items": items, "optional": True}}
    mounts = {"tmp": "/tmp", "db-ca": "/vault/tls"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": NAME, "labels": {"app": NAME}},
        "spec": {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "securityContext": {"runAsUser": 10001},
            "containers": [
                {
                    "name": NAME,
                    "image": image,
                    "command": ["python", "-c", SERVER, str(PORT), *names],
                    "ports": [{"containerPort": PORT}],
                    "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
                    "securityContext": HARDENED | {"readOnlyRootFilesystem": True},
                    "volumeMounts": [
                        {"name": name, "mountPath": path} for name, path in mounts.items()
                    ],
                }
            ],
            "volumes": [{"name": "tmp"} | memory, {"name": "db-ca"} | authority],
        },
    }


def start(cluster: Cluster, image: str) -> None:
    """Start it in the namespace, and wait for it."""
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": NAME},
        "spec": {"selector": {"app": NAME}, "ports": [{"port": PORT}]},
    }
    names = (NAME, f"{NAME}.{cluster.namespace}.svc", "localhost")
    listed = {"apiVersion": "v1", "kind": "List", "items": [pod(image, names), service]}
    cluster.kubectl("apply", "--filename=-", stdin=json.dumps(listed))
    cluster.kubectl("wait", f"pod/{NAME}", "--for=condition=Ready", "--timeout=60s")


def let_in(cluster: Cluster, role: str, paths: list[str]) -> None:
    """Let the release's account read some paths with a role of this name."""
    rules = [f'path "{path}" {{\n  capabilities = ["read"]\n}}' for path in paths]
    bound = "bound_service_account"
    _write(
        cluster,
        {
            "sys/auth/kubernetes": {"type": "kubernetes"},
            "auth/kubernetes/config": {"kubernetes_host": "https://kubernetes.default.svc"},
            f"sys/policies/acl/{role}": {"policy": "\n".join(rules)},
            f"auth/kubernetes/role/{role}": {
                f"{bound}_names": cluster.fullname,
                f"{bound}_namespaces": cluster.namespace,
                "audience": "vault",
                "token_policies": role,
                "token_ttl": "20m",
            },
        },
    )


def write(cluster: Cluster, objects: Mapping[str, Mapping[str, str]]) -> None:
    """Keep these objects in the KV engine, by their paths."""
    _write(cluster, {path: {"data": dict(one)} for path, one in objects.items()})


def _write(cluster: Cluster, requests: Mapping[str, Mapping[str, Any]]) -> None:
    script = WRITE.format(requests=dict(requests))
    cluster.kubectl("exec", "--stdin", NAME, "--", "python", "-", stdin=script)
