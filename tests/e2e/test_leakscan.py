"""No secret is found anywhere, whatever has happened; and every leak that is planted is found."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from secret_files import Secret
from tests.e2e import errors
from tests.e2e.planted import Plant, canary_of
from tests.e2e.planted.everything import EVERYTHING
from tests.e2e.planted.http import leaky_service
from tests.e2e.planted.image import leaky_image
from tests.e2e.planted.repository import leaky_repository
from tests.e2e.release import Release
from tools.cluster.client import ROOT, Cluster, created, made, namespace
from tools.leakscan import etcd
from tools.leakscan.engine import CLEAN, FOUND, Place, Reading, Report, Sample, scan
from tools.leakscan.places import IN_CLUSTER, PLACES
from tools.leakscan.report import table
from tools.leakscan.run import image_of, scanning
from tools.leakscan.target import Target

#: What a scan may take, in seconds, beside another one on two cores, and in bytes of memory.
SECONDS = 240
MEMORY = 300_000_000

#: Images of the service that was changed, and with other leaks, of which no container is made. They
#: are this run's: another one may be at work on this machine.
LEAKY = f"flask-app:leaky-{os.getpid()}"
LAYERS = f"{LEAKY}-layers"


#: Of this run alone: nobody can tell a canary before it is planted.
SEED = secrets.token_hex(16)


@pytest.fixture(scope="module")
def leaky(cluster: Cluster) -> Iterator[Future[Cluster]]:
    """Deploy a release in which leaks are planted, while others are looked at."""
    with ExitStack() as stack, ThreadPoolExecutor(1) as pool:

        def deploy() -> Cluster:
            leaky_service(image_of(cluster), LEAKY, SEED)
            stack.callback(cluster.run, "docker", "image", "rm", LEAKY)
            cluster.run("kind", "load", "docker-image", LEAKY, "--name", cluster.name)
            place = stack.enter_context(namespace(cluster, "leaky"))
            Release(place, LEAKY).upgrade("replicas=1")
            return place

        yield pool.submit(deploy)


@pytest.mark.smoke
def test_make_leak_scan_finds_nothing_old_or_new_after_a_rotation(
    cluster: Cluster, tmp_path: Path
) -> None:
    written = tmp_path / "report.json"
    printed = cluster.run("make", "leak-scan", f"SCAN_ARGS=--rotate --json {written}", check=False)
    print(printed)
    report = json.loads(written.read_text())
    assert report["status"] == CLEAN
    assert {one["verdict"] for one in report["places"]} == {"clean"}
    assert [f"{one['group']}: {one['place']}" for one in report["places"]] == [*map(str, PLACES)]
    assert all(f"  {place.name} " in printed for place in PLACES)
    looked_for = set(report["looked_for"])
    assert "flask-app-secrets/DATABASE_PASSWORD" in looked_for
    assert "flask-app-secrets/DATABASE_PASSWORD (previous)" in looked_for
    assert report["seconds"] < SECONDS
    assert report["memory_bytes"] <= MEMORY


def test_nothing_is_found_after_every_error(cluster: Cluster, leaky: Future[Cluster]) -> None:
    def answers(target: Target) -> Reading:
        """Headers and bodies of the answers to what failed."""
        for what, answer in answered.items():
            yield Sample(what, answer)

    with scanning(cluster) as begun:
        answered = errors.every_one(cluster, begun.remember)
        begun.rotate()
        places = [*IN_CLUSTER, Place("http", "answers to errors", answers)]
        report = begun.report(places=places)
    print(table(report))
    assert report.found() == {}
    assert report.faults() == {}
    assert report.unread() == {}


@pytest.fixture(scope="module")
def planted(
    leaky: Future[Cluster], cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Report:
    """Plant every leak at once, and scan once."""
    place = leaky.result()
    canaries = {plant.name: canary_of(SEED, plant.name) for plant in EVERYTHING}
    with ExitStack() as stack:
        leaky_image(image_of(cluster), LAYERS, canaries)
        stack.callback(cluster.run, "docker", "image", "rm", LAYERS)
        begun = stack.enter_context(scanning(place))
        begun.image = LAYERS
        begun.root = leaky_repository(ROOT, tmp_path_factory.mktemp("repository"), canaries)
        target = begun.target([Secret(name, canary) for name, canary in canaries.items()])
        for plant in EVERYTHING:
            stack.enter_context(plant.make(target, canaries[plant.name]))
        return begun.report(target)


@pytest.mark.parametrize("plant", EVERYTHING, ids=lambda plant: plant.name)
def test_a_planted_leak_is_found_where_it_was_planted_and_nowhere_else(
    planted: Report, plant: Plant
) -> None:
    if plant.fault:
        assert any(map(plant.is_seen_in, planted.faults().get(plant.place, [])))
    else:
        assert planted.found().get(plant.name) == {plant.place, *plant.also}


def test_nothing_else_is_found_there(planted: Report) -> None:
    assert planted.status == FOUND
    assert set(planted.found()) == {plant.name for plant in EVERYTHING if not plant.fault}
    assert [
        (place, fault)
        for place, faults in planted.faults().items()
        for fault in faults
        if not any(plant.place == place and plant.is_seen_in(fault) for plant in EVERYTHING)
    ] == []
    assert planted.unread() == {}


def test_what_is_not_encrypted_at_rest_is_a_fault(cluster: Cluster) -> None:
    """A Secret that is not would keep the API server from listing any: ConfigMaps are not."""

    def configmaps(target: Target) -> Reading:
        """Give the bytes that stand for each ConfigMap."""
        yield from etcd.stored_values(target, "configmaps")

    canary = secrets.token_hex(20)
    stands = made("v1", "ConfigMap", "leak-stored", data={"key": canary})
    with scanning(cluster) as begun, created(cluster, stands):
        target = begun.target([Secret("canary", canary)])
        (row,) = scan(target, [Place("etcd", "configmaps", configmaps)]).rows
    assert {one.where for one in row.findings if one.needle == "canary"} == {
        f"configmaps/{cluster.namespace}/leak-stored"
    }
    assert len([one for one in row.findings if not one.needle]) == row.objects, "not each is one"
    assert row.error == ""


def test_the_encryption_key_is_its_owners_alone(cluster: Cluster) -> None:
    assert (cluster.state / "encryption.yaml").stat().st_mode & 0o777 == 0o600
    assert cluster.run("git", "check-ignore", str(cluster.state / "encryption.yaml"))
