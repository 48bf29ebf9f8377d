"""Leaks into the objects of Kubernetes."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from tools.cluster.client import HARDENED, Object, created, made
from tools.leakscan.target import Target

from . import plants

IN_ETCD = "etcd: database files"


@plants("kubernetes objects: namespace", also=(IN_ETCD,))
def annotation(target: Target, canary: str) -> Iterator[None]:
    """Annotate an object."""
    text = base64.b64encode(f"password={canary}".encode()).decode()
    lease = made("coordination.k8s.io/v1", "Lease", "leak-annotation", spec={})
    lease["metadata"]["annotations"] = {"note": text}
    with created(target.cluster, lease):
        yield


@plants("kubernetes objects: namespace", also=(IN_ETCD,))
def managed_fields(target: Target, canary: str) -> Iterator[None]:
    """Name who manages a field so."""
    lease = made("coordination.k8s.io/v1", "Lease", "leak-managed-fields", spec={})
    lease["metadata"]["managedFields"] = [
        {
            "manager": canary,
            "operation": "Update",
            "apiVersion": "coordination.k8s.io/v1",
            "fieldsType": "FieldsV1",
            "fieldsV1": {"f:spec": {}},
        }
    ]
    with created(target.cluster, lease):
        yield


@plants("kubernetes objects: namespace", also=(IN_ETCD,))
def status(target: Target, canary: str) -> Iterator[None]:
    """Write it into the status of an object."""
    backend = {"service": {"name": target.cluster.fullname, "port": {"number": 8443}}}
    ingress = made(
        "networking.k8s.io/v1",
        "Ingress",
        "leak-status",
        # a class that nobody serves
        spec={"ingressClassName": "leak-status", "defaultBackend": backend},
    )
    digest = hashlib.md5(canary.encode(), usedforsecurity=False).hexdigest()
    patch = {"status": {"loadBalancer": {"ingress": [{"hostname": digest}]}}}
    with created(target.cluster, ingress):
        arguments = ("--subresource", "status", "--type", "merge", "--patch-file", "/dev/stdin")
        target.cluster.kubectl("patch", "ingress/leak-status", *arguments, stdin=json.dumps(patch))
        yield


@plants("kubernetes objects: namespace")
def copy(target: Target, canary: str) -> Iterator[None]:
    """Copy it into another Secret."""
    with created(target.cluster, made("v1", "Secret", "leak-copy", stringData={"key": canary})):
        yield


@plants("kubernetes objects: cluster", also=(IN_ETCD,))
def configmap(target: Target, canary: str) -> Iterator[None]:
    """Put it into a ConfigMap of another namespace."""
    packed = base64.b64encode(gzip.compress(canary.encode())).decode()
    elsewhere = replace(target.cluster, namespace="default")
    with created(elsewhere, made("v1", "ConfigMap", "leak-configmap", binaryData={"a": packed})):
        yield


@plants("kubernetes objects: cluster", also=(IN_ETCD,))
def event(target: Target, canary: str) -> Iterator[None]:
    """Tell it in an event's message."""
    twice = base64.b64encode(base64.b64encode(canary.encode())).decode()
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "name": target.cluster.fullname,
        "namespace": target.cluster.namespace,
    }
    told = made("v1", "Event", "leak-event", involvedObject=service, message=twice, reason="Leak")
    with created(target.cluster, told):
        yield


@plants("kubernetes objects: pod specs", also=("kubernetes objects: namespace", IN_ETCD))
def variable(target: Target, canary: str) -> Iterator[None]:
    """Set a variable in a pod template."""
    url = {"name": "URL", "value": f"postgresql://flask_app:{canary}@database/flask_app"}
    with created(target.cluster, cron_job("leak-variable", env=[url])):
        yield


@plants("kubernetes objects: pod specs", fault="cronjob/leak-secret-key: .* comes from a Secret")
def secret_key(target: Target, canary: str) -> Iterator[None]:
    """Take a variable from a Secret."""
    reference = {"name": f"{target.cluster.fullname}-secrets", "key": "DATABASE_PASSWORD"}
    password = {"name": "PASSWORD", "valueFrom": {"secretKeyRef": reference}}
    with created(target.cluster, cron_job("leak-secret-key", env=[password])):
        yield


@plants("kubernetes objects: pod specs", fault="cronjob/leak-whole-secret: .* by envFrom")
def whole_secret(target: Target, canary: str) -> Iterator[None]:
    """Take all of a Secret as variables."""
    source = {"secretRef": {"name": f"{target.cluster.fullname}-secrets"}}
    with created(target.cluster, cron_job("leak-whole-secret", envFrom=[source])):
        yield


def cron_job(name: str, **container: Any) -> Object:
    """Return one that never runs, with this in its container."""
    leaky = {"name": "leak", "image": "none", "securityContext": HARDENED, **container}
    pod = {"containers": [leaky], "restartPolicy": "Never", "automountServiceAccountToken": False}
    job = {"spec": {"template": {"spec": pod}}}
    spec = {"schedule": "0 0 1 1 *", "suspend": True, "jobTemplate": job}
    return made("batch/v1", "CronJob", name, spec=spec)
