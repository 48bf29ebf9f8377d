"""The definitions of the custom resources that the chart can render."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tools.cluster.client import Cluster

#: These kinds take anything, unless their published definitions are in the folder CRD_DIR.
KINDS = {
    "externalsecrets": ("ExternalSecret", "external-secrets.io", "v1"),
    "secretstores": ("SecretStore", "external-secrets.io", "v1"),
    "secretproviderclasses": ("SecretProviderClass", "secrets-store.csi.x-k8s.io", "v1"),
    "secretproviderclasspodstatuses": (
        "SecretProviderClassPodStatus",
        "secrets-store.csi.x-k8s.io",
        "v1",
    ),
}
CRD_DIR = os.environ.get("CRD_DIR", "")


def anything(plural: str) -> dict[str, Any]:
    """Return a definition of a kind that takes anything."""
    kind, group, version = KINDS[plural]
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    versions = {"name": version, "served": True, "storage": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
            "scope": "Namespaced",
            "versions": [versions | {"schema": {"openAPIV3Schema": schema}}],
        },
    }


def published() -> list[dict[str, Any]]:
    """Return the published definitions, if there is a folder with them."""
    if not CRD_DIR:
        return []
    paths = sorted(Path(CRD_DIR).glob("*.yaml"))
    documents = [one for path in paths for one in yaml.safe_load_all(path.read_text("utf-8"))]
    found = [one for one in documents if one and one["kind"] == "CustomResourceDefinition"]
    assert found
    return found


@contextmanager
def defined(cluster: Cluster) -> Iterator[list[str]]:
    """Define the custom resources, and return the names of the definitions."""
    items = {one["metadata"]["name"]: one for one in published()}
    for plural in KINDS:
        one = anything(plural)
        items.setdefault(one["metadata"]["name"], one)
    listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": [*items.values()]})
    names = [f"crd/{name}" for name in items]
    try:
        # on the server: they are too long for the annotation that a client's `apply` makes
        cluster.kubectl("apply", "--server-side", "--filename=-", stdin=listed)
        cluster.kubectl("wait", *names, "--for=condition=Established", "--timeout=60s")
        yield names
    finally:
        cluster.kubectl("delete", *names, "--ignore-not-found")
