"""Lines of an audit log, as the API server of Kubernetes 1.36 writes them."""

from __future__ import annotations

import json
from typing import Any

ADMIN = "kubernetes-admin"
KEEPER = "system:serviceaccount:flask-app:flask-app-keeper"
NODE = "system:node:flask-app-control-plane"
CONTROLLER = "system:kube-controller-manager"

#: The release's Secrets.
NAMES = frozenset({"flask-app-secrets", "flask-app-tls"})

NUMBERS = iter(range(1, 1_000_000))


def event(user: str = KEEPER, verb: str = "get", **changes: Any) -> dict[str, Any]:
    """Return an event: the keeper gets the service's Secret at 05:00:00, but for the changes.

    :param changes: `name`, `namespace`, `code`, `decision`, `at` (a time), and an event's own.
    """
    name = changes.pop("name", "flask-app-secrets")
    namespace = changes.pop("namespace", "flask-app")
    path = "/".join(("namespaces", namespace, "secrets") if namespace else ("secrets",))
    uri = f"/api/v1/{path}/{name}".rstrip("/")
    code, decision = changes.pop("code", 200), changes.pop("decision", "allow")
    at = changes.pop("at", "05:00:00")
    return {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "Metadata",
        "auditID": f"262a696c-ec40-445d-ae71-{next(NUMBERS):012}",
        "stage": "ResponseComplete",
        "requestURI": uri,
        "verb": verb,
        "user": {"username": user, "groups": ["system:authenticated"]} if user else {},
        "sourceIPs": ["10.244.0.5"],
        "userAgent": "OpenAPI-Generator/35.0.0/python",
        "objectRef": {
            "resource": "secrets",
            **({"namespace": namespace} if namespace else {}),
            **({"name": name} if name else {}),
            "apiVersion": "v1",
        },
        "responseStatus": {"metadata": {}, "code": code},
        "requestReceivedTimestamp": f"2026-11-26T{at}.459498Z",
        "stageTimestamp": f"2026-11-26T{at}.460294Z",
        "annotations": {
            "authorization.k8s.io/decision": decision,
            "authorization.k8s.io/reason": "RBAC: allowed by RoleBinding",
        },
        **changes,
    }


def line(user: str = KEEPER, verb: str = "get", **changes: Any) -> str:
    """Return the same as a line."""
    return json.dumps(event(user, verb, **changes))
