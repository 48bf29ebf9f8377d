"""What the API server tells of the objects, beside the values of the release's own Secrets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from tools.cluster.client import Cluster

from .engine import Fault, Reading, Sample, Unreadable, place
from .helm import STORED
from .target import Target

Object = dict[str, Any]

GROUP: Final = "kubernetes objects"

#: Read in another way, or in the place for the whole cluster.
ELSEWHERE: Final = {"secrets", "events", "events.events.k8s.io"}

#: The kinds whose objects run containers.
RUNNING: Final = "pods,deployments,replicasets,statefulsets,daemonsets,jobs,cronjobs"

CONTAINERS: Final = ("initContainers", "containers", "ephemeralContainers")


@place(GROUP, "namespace")
def namespace(target: Target) -> Reading:
    """Every object of every kind in the namespace, with its managed fields, and other Secrets."""
    cluster = target.cluster
    listed = ("api-resources", "--namespaced", "--verbs=list", "--output", "name")
    kinds = sorted(set(cluster.kubectl(*listed).split()) - ELSEWHERE)
    objects = list(_get(cluster, ",".join(kinds)))
    objects += _get(cluster, "namespaces", "--field-selector", f"metadata.name={cluster.namespace}")
    _whole(objects, ("Namespace", "", cluster.namespace), _deployment(cluster))
    for item in objects:
        yield Sample(_name(item), json.dumps(item).encode())
    secrets = target.reader.metadata()
    if f"{cluster.fullname}-database-admin" not in secrets:
        raise Unreadable("the release's Secrets are not among those that were listed")
    for name, metadata in secrets.items():
        yield Sample(f"secret/{name}: metadata", metadata)
    for name, value in target.reader.others().items():
        # Helm's are packed, and have a place of their own
        if not name.startswith(STORED):
            yield Sample(f"secret/{name}", value)


@place(GROUP, "cluster")
def cluster_wide(target: Target) -> Reading:
    """The ConfigMaps and events of all namespaces."""
    objects = list(_get(target.cluster, "configmaps,events", "--all-namespaces"))
    _whole(
        objects,
        ("ConfigMap", "kube-system", "coredns"),
        ("ConfigMap", target.cluster.namespace, f"{target.cluster.fullname}-database"),
    )
    for item in objects:
        yield Sample(f"{item['metadata']['namespace']}: {_name(item)}", json.dumps(item).encode())


@place(GROUP, "pod specs")
def pod_specs(target: Target) -> Reading:
    """Every pod and pod template of the namespace: no variable comes from a Secret."""
    objects = list(_get(target.cluster, RUNNING))
    _whole(objects, _deployment(target.cluster))
    if not any(item["kind"] == "Pod" for item in objects):
        raise Unreadable("there is no pod")
    for item in objects:
        spec = _pod_spec(item)
        yield Sample(_name(item), json.dumps(spec).encode())
        for container in (one for kind in CONTAINERS for one in spec.get(kind) or ()):
            for what in _from_secrets(container):
                yield Fault(f"{_name(item)}: container {container['name']}", what)


def _get(cluster: Cluster, kinds: str, *arguments: str) -> Iterator[Object]:
    output = ("--output", "json", "--show-managed-fields")
    yield from json.loads(cluster.kubectl("get", kinds, *output, *arguments))["items"]


def _name(item: Object) -> str:
    return f"{item['kind'].lower()}/{item['metadata']['name']}"


def _deployment(cluster: Cluster) -> tuple[str, str, str]:
    return "Deployment", cluster.namespace, cluster.fullname


def _whole(objects: list[Object], *expected: tuple[str, str, str]) -> None:
    """See that these are among the objects, and that their managed fields are told."""
    found = {
        (item["kind"], item["metadata"].get("namespace", ""), item["metadata"]["name"])
        for item in objects
        if "managedFields" in item["metadata"]
    }
    for kind, namespace, name in set(expected) - found:
        raise Unreadable(f"{kind} {namespace}/{name} was not told, or not its managedFields")


def _pod_spec(item: Object) -> Object:
    spec: Object = item["spec"]
    if item["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    if item["kind"] != "Pod":
        spec = spec["template"]["spec"]
    return spec


def _from_secrets(container: Object) -> Iterator[str]:
    for variable in container.get("env") or ():
        if "secretKeyRef" in (variable.get("valueFrom") or {}):
            yield f"the variable {variable['name']} comes from a Secret, by secretKeyRef"
    for source in container.get("envFrom") or ():
        if reference := source.get("secretRef"):
            yield f"all of the Secret {reference['name']} are variables, by envFrom"
