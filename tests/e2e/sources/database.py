"""A database of the user's own, beside the release: PostgreSQL in a pod, which talks TLS alone."""

from __future__ import annotations

import base64
import json
from typing import Any

from keeper.certificates import KeyPair, new_certificate
from secret_files import Secret
from tools.cluster.client import Cluster

NAME = "database"
PORT = 5432
IMAGE = "postgres:17"

#: The certificate's files are of its group, which is postgres' in the image.
USER = 999

#: For the server's own start alone, there are connections without TLS.
RULES = "local all all trust\nhostssl all all all scram-sha-256\n"


def pod(superuser: Secret) -> dict[str, Any]:
    """Return the pod."""
    settings = {
        "ssl": "on",
        "ssl_cert_file": "/tls/tls.crt",
        "ssl_key_file": "/tls/tls.key",
        "hba_file": "/tls/pg_hba.conf",
        "log_statement": "all",
    }
    arguments = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    ready = {"exec": {"command": ["pg_isready", "--quiet", "--host=127.0.0.1"]}, "periodSeconds": 1}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": NAME, "labels": {"app": NAME}},
        "spec": {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "securityContext": {"runAsUser": USER, "runAsGroup": USER, "fsGroup": USER},
            "containers": [
                {
                    "name": NAME,
                    "image": IMAGE,
                    "args": arguments,
                    "env": [
                        {"name": "POSTGRES_PASSWORD", "value": superuser.reveal()},
                        {"name": "PGDATA", "value": "/data/pgdata"},
                    ],
                    "readinessProbe": ready,
                    "volumeMounts": [
                        {"name": "data", "mountPath": "/data"},
                        {"name": "tls", "mountPath": "/tls"},
                    ],
                }
            ],
            "volumes": [
                {"name": "data", "emptyDir": {"medium": "Memory"}},
                {"name": "tls", "secret": {"secretName": f"{NAME}-tls", "defaultMode": 0o400}},
            ],
        },
    }


def start(cluster: Cluster, authority: KeyPair, superuser: Secret) -> None:
    """Start it in the namespace, and wait for it."""
    pair = new_certificate(authority, (f"{NAME}.{cluster.namespace}.svc",))
    files = {"tls.crt": pair.certificate, "tls.key": pair.key, "pg_hba.conf": RULES}
    data = {name: base64.b64encode(text.encode()).decode() for name, text in files.items()}
    metadata = {"name": f"{NAME}-tls"}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": NAME},
        "spec": {"selector": {"app": NAME}, "ports": [{"port": PORT}]},
    }
    listed = {"apiVersion": "v1", "kind": "List", "items": [secret, pod(superuser), service]}
    cluster.kubectl("create", "--filename=-", stdin=json.dumps(listed))
    cluster.kubectl("wait", f"pod/{NAME}", "--for=condition=Ready", "--timeout=120s")
