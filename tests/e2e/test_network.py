"""The NetworkPolicies block, and let through, where the cluster's network enforces them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.e2e.connection import Here, Target
from tools.cluster.client import HARDENED, Cluster, namespace

DATABASE = ("flask-app-database.flask-app.svc", 5432)
HTTPS = ("flask-app.flask-app.svc", 8443)
METRICS = ("flask-app-metrics.flask-app.svc", 9090)
API_SERVER = ("kubernetes.default.svc", 443)


@contextmanager
def waiting_pod(cluster: Cluster, image: str, labels: dict[str, str]) -> Iterator[Here]:
    """Run a pod that does nothing."""
    container = {"name": "wait", "image": image, "command": ["sleep", "3600"]}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "wait" + "-labelled" * bool(labels), "labels": labels},
        "spec": {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "containers": [{**container, "securityContext": HARDENED}],
        },
    }
    name = pod["metadata"]["name"]  # type: ignore[index]
    try:
        cluster.kubectl("apply", "--filename", "-", stdin=json.dumps(pod))
        cluster.kubectl("wait", f"pod/{name}", "--for", "condition=Ready", "--timeout", "60s")
        yield Here(cluster, name)
    finally:
        cluster.kubectl("delete", "pod", name, "--wait", "--ignore-not-found")


@pytest.fixture(scope="module")
def places(cluster: Cluster) -> Iterator[dict[str, Here]]:
    """Return a pod of each kind: the release's own, one that looks like the keeper, strangers."""
    (service,) = cluster.objects("deployments", "app.kubernetes.io/component=service")
    image = service["spec"]["template"]["spec"]["containers"][0]["image"]
    labels = service["spec"]["selector"]["matchLabels"]
    keeper = {**labels, "app.kubernetes.io/component": "keeper"}
    with ExitStack() as stack:
        monitoring = stack.enter_context(namespace(cluster, "monitoring"))
        yield {
            "service": Here(cluster, cluster.pods("service")[0]),
            "database": Here(cluster, cluster.pods("database")[0]),
            "keeper": stack.enter_context(waiting_pod(cluster, image, keeper)),
            "stranger": stack.enter_context(waiting_pod(cluster, image, {})),
            "monitoring": stack.enter_context(waiting_pod(monitoring, image, {})),
        }


@pytest.fixture(scope="module")
def kubelet(cluster: Cluster) -> Target:
    """Return where the kubelet listens: an address outside of the cluster's network of pods."""
    (node,) = cluster.objects("nodes")
    return node["status"]["addresses"][0]["address"], 10250


@pytest.fixture(scope="module", autouse=True)
def enforced(cluster: Cluster, places: dict[str, Here]) -> None:
    """See that the cluster's network enforces policies at all, with one that is not the chart's."""
    deny_all = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "deny-all"},
        "spec": {"podSelector": {}, "policyTypes": ["Egress"]},
    }
    here = places["monitoring"]
    try:
        here.cluster.kubectl("apply", "--filename", "-", stdin=json.dumps(deny_all))
        if not here.settles(API_SERVER, is_open=False):
            pytest.skip("this cluster's network enforces no NetworkPolicy")
    finally:
        here.cluster.kubectl("delete", "networkpolicy", "deny-all")


@pytest.mark.parametrize(
    ("place", "target"),
    [
        ("service", DATABASE),
        ("keeper", DATABASE),
        ("keeper", HTTPS),
        ("keeper", METRICS),
        ("keeper", API_SERVER),
        ("stranger", HTTPS),
        ("stranger", API_SERVER),
        ("monitoring", HTTPS),
        ("monitoring", METRICS),
        ("monitoring", API_SERVER),
    ],
)
def test_what_is_let_through(places: dict[str, Here], place: str, target: Target) -> None:
    assert places[place].settles(target, is_open=True)


def blocked(kubelet: Target) -> list[tuple[str, Target]]:
    """Return who may not reach what."""
    return [
        ("service", API_SERVER),
        ("service", kubelet),
        ("database", API_SERVER),
        ("database", kubelet),
        ("database", HTTPS),
        ("keeper", kubelet),
        ("stranger", DATABASE),
        ("stranger", METRICS),
        ("monitoring", DATABASE),
    ]


def test_what_is_blocked(places: dict[str, Here], kubelet: Target) -> None:
    for place, target in blocked(kubelet):
        assert places[place].settles(target, is_open=False), f"{place} reaches {target}"


def test_without_the_policies_all_of_it_gets_through(
    cluster: Cluster, places: dict[str, Here], kubelet: Target
) -> None:
    """The same connections, so that a target that nobody reaches proves nothing above."""
    upgrade = ("helm", "upgrade", "flask-app", "chart", "--namespace", "flask-app")
    cluster.run(*upgrade, "--reuse-values", "--set", "networkPolicy.enabled=false")
    try:
        for place, target in blocked(kubelet):
            assert places[place].settles(target, is_open=True), f"{place} does not reach {target}"
    finally:
        cluster.run("helm", "rollback", "flask-app", "--namespace", "flask-app", "--wait")
