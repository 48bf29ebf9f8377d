"""Secrets from elsewhere: whatever the source, a pod waits for them, follows them and keeps them.

One release goes from source to source by its values alone. What a source writes, stand-ins write
here, as it does: the Secret of somebody else is a real one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import helm_python.chart
import pytest
import yaml

from tests.e2e.release import Release
from tests.e2e.sources import vault
from tests.e2e.sources.csi import Driver
from tests.e2e.sources.definitions import CRD_DIR, defined
from tests.e2e.sources.existing import OwnSecret
from tests.e2e.sources.external_secrets import Operator
from tests.e2e.sources.manager import Manager
from tests.e2e.sources.outside import load
from tests.e2e.sources.source import Deployed, Source
from tests.e2e.sources.vault_agent import Agent
from tools.cluster.client import ROOT, Cluster, namespace
from tools.leakscan.objects import namespace as namespaced
from tools.leakscan.places import IN_CLUSTER
from tools.leakscan.report import table
from tools.leakscan.run import image_of, scanning

WaitFor = Callable[..., None]

SERVICE = "app.kubernetes.io/component=service"

SOURCES: dict[str, Callable[[Release, Manager], Source]] = {
    "existing": OwnSecret,
    "external-secrets": Operator,
    "vault-agent": Agent,
    "csi": Driver,
}
#: Until the node has heard that a pod takes no more requests; there is one node.
PAUSE = "preStopSeconds=2"

#: Of each source: one at its start, one after it was rotated, and one after it came back.
LOGINS = 1 + 3 * len(SOURCES)


@pytest.fixture(scope="module")
def definitions(cluster: Cluster) -> Iterator[list[str]]:
    """Define the custom resources, and return the names of the definitions."""
    with defined(cluster) as names:
        yield names


def examples() -> dict[str, list[dict[str, Any]]]:
    """Render every values file, and return its custom resources by the file's name."""
    chart = helm_python.chart.Chart.load(ROOT / "chart")
    files = [*(ROOT / "docs" / "external").glob("*.yaml"), *(ROOT / "chart" / "ci").glob("*.yaml")]
    found = {}
    for path in files:
        values = yaml.safe_load(path.read_text())
        rendered = chart.render(values, name="flask-app", namespace="flask-app", revision=1)
        objects = [
            one
            for name, text in rendered.items()
            if name.endswith(".yaml")
            for one in yaml.safe_load_all(text)
            if one
        ]
        found[path.stem] = [one for one in objects if "." in one["apiVersion"].partition("/")[0]]
    return found


@pytest.mark.skipif(not CRD_DIR, reason="CRD_DIR names no folder with CustomResourceDefinitions")
def test_the_api_server_takes_every_custom_resource(
    cluster: Cluster, definitions: list[str]
) -> None:
    """And it is no pushover: each is refused with a field that is misspelt."""
    groups = {name.removeprefix("crd/").partition(".")[2] for name in definitions}
    kinds = set()
    create = ("create", "--dry-run=server", "--validate=strict", "--filename=-")
    for name, objects in examples().items():
        for one in objects:
            if one["apiVersion"].partition("/")[0] not in groups:
                continue
            kinds.add(one["kind"])
            one["metadata"]["name"] += f"-{name}"[:20]
            assert "created" in cluster.kubectl(*create, stdin=json.dumps(one)), (name, one)
            misspelt = one | {"spec": one["spec"] | {"misspelt": 1}}
            said = cluster.kubectl(*create, stdin=json.dumps(misspelt), check=False)
            assert 'unknown field "spec.misspelt"' in said, (name, one["kind"])
    assert kinds >= {"ExternalSecret", "SecretStore", "SecretProviderClass", "Certificate"}


@pytest.fixture(scope="module")
def deployed(cluster: Cluster, definitions: list[str]) -> Iterator[Deployed]:
    """Install a release that the keeper fills, and make a manager its logins."""
    with namespace(cluster, "sources") as place:
        release = Release(place, image_of(cluster))
        release.upgrade(PAUSE)
        vault.start(place, release.image)
        manager = Manager(place)
        manager.prepare(LOGINS)
        yield Deployed(release, manager)


@pytest.fixture(scope="module", params=SOURCES)
def waiting(deployed: Deployed, request: pytest.FixtureRequest) -> Iterator[Source]:
    """Turn to the next source, which has everything but the password yet."""
    source = SOURCES[request.param](deployed.release, deployed.manager)
    deployed.release.upgrade(PAUSE, *source.values, wait=False)
    source.begin()
    yield source
    source.end()


def pods(deployed: Deployed) -> list[dict[str, Any]]:
    """Return the pods of the Deployment as it is now."""
    cluster = deployed.release.cluster
    revision = deployed.deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"]
    replica_sets = cluster.objects("replicasets", SERVICE)
    (current,) = [
        one["metadata"]["labels"]["pod-template-hash"]
        for one in replica_sets
        if one["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == revision
    ]
    return cluster.items("pods", f"{SERVICE},pod-template-hash={current}")


def said_of(deployed: Deployed, pod: dict[str, Any]) -> str:
    """Return the pod's events, and what its containers said at their end."""
    about = f"--field-selector=involvedObject.name={pod['metadata']['name']}"
    told = deployed.release.cluster.kubectl("get", "events", "--output=json", about)
    events = json.loads(told)["items"]
    states = [
        state
        for status in pod["status"].get("containerStatuses", [])
        for state in (*status["state"].values(), *status["lastState"].values())
    ]
    return "\n".join(str(one.get("message", "")) for one in (*events, *states))


def metric(deployed: Deployed, name: str) -> list[float]:
    """Return a metric of each pod."""
    cluster = deployed.release.cluster
    return [cluster.metric(pod["metadata"]["name"], name) for pod in pods(deployed)]


def status(deployed: Deployed) -> list[dict[str, Any]]:
    """Return what each pod says of its secrets."""
    cluster = deployed.release.cluster
    path = f"/api/v1/namespaces/{cluster.namespace}/pods/https:{{}}:8443/proxy/status"
    return [json.loads(cluster.get(path.format(pod["metadata"]["name"]))) for pod in pods(deployed)]


ADOPTED = 'secrets_reloads_total{result="adopted"}'


@pytest.fixture
def follow(deployed: Deployed, wait_for: WaitFor) -> Callable[[Source], None]:
    """Return a function that brings the current values, and waits until every pod has them."""

    def follow(source: Source) -> None:
        before = metric(deployed, ADOPTED)
        source.bring()
        wait_for(
            lambda: all(n > b for n, b in zip(metric(deployed, ADOPTED), before, strict=True)),
            "every pod on the new values",
            seconds=60,
        )

    return follow


def test_a_pod_waits_for_a_key_and_says_which(
    deployed: Deployed, waiting: Source, wait_for: WaitFor
) -> None:
    wait_for(lambda: bool(pods(deployed)), "a new pod", seconds=60)
    wait_for(
        lambda: any(waiting.waiting in said_of(deployed, pod) for pod in pods(deployed)),
        f"a pod that says {waiting.waiting}",
        seconds=90,
    )
    for pod in pods(deployed):
        ready = [one for one in pod["status"]["conditions"] if one["type"] == "Ready"]
        assert [one["status"] for one in ready] == ["False"]
        assert deployed.manager.values["SECRET_KEY"] not in said_of(deployed, pod)


def test_it_starts_when_it_is_there(deployed: Deployed, waiting: Source, wait_for: WaitFor) -> None:
    waiting.bring()
    cluster = deployed.release.cluster
    rollout = ("rollout", "status", f"deployment/{cluster.fullname}", "--timeout=180s")
    cluster.kubectl(*rollout)
    there = ("get", "pods", "--selector", SERVICE, "--output=name")
    wait_for(lambda: len(cluster.kubectl(*there).split()) == 2, "the end of the old pods", 60)
    found = status(deployed)
    assert len(found) == 2
    for one in found:
        assert one["database"]["role"] == deployed.manager.values["DATABASE_USERNAME"]
        assert one["secrets"]["refused"] is None


def test_a_rotation_is_followed_and_nobody_notices(
    deployed: Deployed,
    waiting: Source,
    follow: Callable[[Source], None],
    wait_for: WaitFor,
) -> None:
    cluster, manager = deployed.release.cluster, deployed.manager
    before = [pod["metadata"]["uid"] for pod in pods(deployed)]
    with load(cluster):
        old = manager.next_login()
        manager.announce()
        follow(waiting)
        assert {one["database"]["role"] for one in status(deployed)} == {
            manager.values["DATABASE_USERNAME"]
        }
        manager.promote()
        follow(waiting)
        wait_for(lambda: manager.sessions(old) == 0, "the old login is used no more")
        manager.lock(old)
        # and goes on without it
        for _ in pods(deployed):
            deployed.release.write("after the old login")
    assert [pod["metadata"]["uid"] for pod in pods(deployed)] == before


def test_what_goes_away_stays_in_use_until_it_is_back(
    deployed: Deployed,
    waiting: Source,
    follow: Callable[[Source], None],
    wait_for: WaitFor,
) -> None:
    role = deployed.manager.values["DATABASE_USERNAME"]
    waiting.forget()
    if waiting.refused:
        wait_for(
            lambda: metric(deployed, "secrets_refused") == [1, 1], "both pods say so", seconds=60
        )
    for one in status(deployed):
        assert one["database"] == {"role": role, "reached": True}
        refused = one["secrets"]["refused"] or {"reason": ""}
        assert refused["reason"] == waiting.refused
    text = f"without a password, {time.time_ns()}"
    deployed.release.write(text)
    assert text in deployed.release.notes()
    deployed.manager.next_login()
    follow(waiting)
    assert metric(deployed, "secrets_refused") == [0, 0]
    for one in status(deployed):
        assert one["database"]["role"] == deployed.manager.values["DATABASE_USERNAME"]
        assert one["secrets"]["refused"] is None


@contextmanager
def leak(deployed: Deployed) -> Iterator[None]:
    """Put the manager's password where none belongs, for a while."""
    cluster = deployed.release.cluster
    data = {"note": deployed.manager.values["DATABASE_PASSWORD"]}
    leaked = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "leak"}, "data": data}
    cluster.kubectl("create", "--filename=-", stdin=json.dumps(leaked))
    try:
        yield
    finally:
        cluster.kubectl("delete", "configmap", "leak")


def test_the_leak_scan_finds_nothing(deployed: Deployed, waiting: Source) -> None:
    """What the manager knows is found with the service alone, whoever brought it.

    And a leak of it would be.
    """
    with scanning(deployed.release.cluster) as scan:
        # all of it is what the scan looks for, though most of it is in no Secret of the release's
        looked_for = {value.reveal() for value in scan.values}
        assert {one.reveal() for one in deployed.manager.needles()} <= looked_for
        report = scan.report(places=[place for place in IN_CLUSTER if place.group != "access"])
        with leak(deployed):
            leaky = scan.report(places=[place for place in IN_CLUSTER if place.read is namespaced])
    print(table(report))
    assert report.found() == {}
    assert report.faults() == {}
    assert report.unread() == {}
    assert {name.rpartition("/")[2] for name in leaky.found()} == {waiting.password}


def test_the_keeper_is_the_source_again(deployed: Deployed) -> None:
    """The last one in this file: it ends where it began."""
    deployed.remove()  # with what a stand-in has changed in it
    deployed.release.upgrade(PAUSE)
    for one in status(deployed):
        assert one["database"]["role"] in {"flask_app_a", "flask_app_b"}
    assert "Succeeded" in deployed.release.test()
