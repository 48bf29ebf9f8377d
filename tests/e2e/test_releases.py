"""A release through its life: installed, upgraded, rolled back, removed, and installed again."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from app.secret_keys import KEYS
from tests.e2e.connection import Here
from tests.e2e.release import Release, State
from tools.cluster.client import ROOT, Cluster, namespace
from tools.cluster.job import start
from tools.leakscan.places import IN_CLUSTER
from tools.leakscan.report import table
from tools.leakscan.run import scanning
from tools.poll import poll

#: The last one that users may have.
PREVIOUS = "0.1.0"

#: How long a pod that ends may take, and its Job, in seconds.
GONE = 120

#: What two releases may have in common: no older keys, their users' names, when they were made.
SAME_KEYS = ("SECRET_KEY_FALLBACKS", "DATABASE_USERNAME", "GENERATION", "username")


def previous_chart(folder: Path, version: str, namespace: str, image: str) -> Path:
    """Make a chart of what an earlier release rendered."""
    rendered = (ROOT / "tests" / "template" / "releases" / f"{version}.yaml").read_text()
    assert f"image: flask-app:{version}" in rendered
    rendered = rendered.replace(f"image: flask-app:{version}", f"image: {image}")
    # the present image stands in for the old one: its keeper had another name, and the tables
    keeper = "[env, TABLES_DIR=/srv/app/tables, python, -m, keeper]"
    assert "[python, -m, app.keeper]" in rendered
    rendered = rendered.replace("[python, -m, app.keeper]", keeper)
    rendered = re.sub(r"\bshop\b", namespace, rendered)
    (folder / "templates").mkdir(parents=True)
    (folder / "templates" / "all.yaml").write_text(rendered)
    chart = {"apiVersion": "v2", "name": "flask-app", "version": version}
    (folder / "Chart.yaml").write_text(json.dumps(chart))
    return folder


def rollback(release: Release, revision: int) -> None:
    """Go back to an earlier revision."""
    name = release.cluster.fullname
    release.helm("rollback", name, str(revision), "--wait", "--wait-for-jobs")


def uninstall(release: Release) -> None:
    """Remove a release, and wait until its pods are gone."""
    release.helm("uninstall", release.cluster.fullname, "--wait")

    def have_gone() -> bool:
        return not json.loads(release.objects("pods"))["items"]

    poll(have_gone, "the end of the release's pods", GONE, 0.5)


def restart(release: Release) -> None:
    """Replace every pod of the service, and wait until the old ones are gone."""
    deployment = f"deployment/{release.cluster.fullname}"
    release.cluster.kubectl("rollout", "restart", deployment)
    release.cluster.kubectl("rollout", "status", deployment, "--timeout", "120s")


@pytest.fixture(scope="module")
def image(cluster: Cluster) -> str:
    """Return the image that `make deploy` has built."""
    (service,) = cluster.objects("deployments", "app.kubernetes.io/component=service")
    return str(service["spec"]["template"]["spec"]["containers"][0]["image"])


@dataclass
class Life:
    """One release, with its state after each step."""

    release: Release
    states: dict[str, State]
    notes: dict[str, list[str]]

    def remember(self, step: str) -> None:
        self.states[step] = self.release.state()
        self.notes[step] = self.release.notes()
        self.release.write(f"after {step}")


@pytest.fixture(scope="module")
def life(cluster: Cluster, image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """Lead a release through all the steps."""
    with namespace(cluster, "life") as place:
        release = Release(place, image)
        life = Life(release, {}, {})
        folder = tmp_path_factory.mktemp("previous") / "chart"
        release.upgrade(chart=previous_chart(folder, PREVIOUS, place.namespace, image))
        life.remember("install")
        release.upgrade()
        life.remember("upgrade")
        rollback(release, 1)
        life.remember("rollback")
        uninstall(release)
        life.states["uninstall"] = release.state()
        release.upgrade()
        life.remember("reinstall")
        yield life


@pytest.mark.parametrize(("step", "before"), [("upgrade", "install"), ("rollback", "upgrade")])
def test_secrets_volumes_selectors_and_notes_stay(life: Life, step: str, before: str) -> None:
    old, new = life.states[before], life.states[step]
    assert len(old.secrets) >= 14, "not every Secret was filled"
    assert new.secrets == old.secrets
    assert list(new.volumes) == ["data-flask-app-database-0"]
    assert new.volumes == old.volumes
    # those of the older release; a later one may have more
    assert len(life.states["install"].selectors) == 5
    for name, selector in life.states["install"].selectors.items():
        assert new.selectors[name] == selector
    assert f"after {before}" in life.notes[step]


def test_uninstalling_leaves_the_volume_and_no_secret(life: Life) -> None:
    left = life.states["uninstall"]
    assert left.secrets == {}
    assert left.selectors == {}
    assert left.volumes == life.states["install"].volumes


def test_installed_again_it_has_its_notes_and_new_secrets(life: Life) -> None:
    assert life.states["reinstall"].volumes == life.states["install"].volumes
    assert "after rollback" in life.notes["reinstall"]
    old, new = life.states["rollback"].secrets, life.states["reinstall"].secrets
    assert set(old) == set(new)
    for name in ("flask-app-secrets/SECRET_KEY", "flask-app-secrets/DATABASE_PASSWORD"):
        assert old[name] != new[name]
    assert old["flask-app-database-admin/password"] != new["flask-app-database-admin/password"]


def test_helm_test_succeeds_on_it(life: Life) -> None:
    assert "Succeeded" in life.release.test()


@pytest.fixture(scope="module")
def pair(cluster: Cluster, image: str) -> Iterator[tuple[Release, Release]]:
    """Install two releases into one namespace, the second with its secrets in the environment."""
    with namespace(cluster, "pair") as place:
        first = Release(replace(place, fullname="first-flask-app"), image)
        second = Release(replace(place, fullname="second-flask-app"), image)
        first.upgrade()
        second.upgrade("secrets.inject=env", "replicas=1")
        yield first, second


def test_two_releases_live_side_by_side(pair: tuple[Release, Release]) -> None:
    first, second = pair
    for release in pair:
        release.write(f"of {release.cluster.fullname}")
        assert "Succeeded" in release.test()
    assert first.notes() == ["of first-flask-app"]
    assert second.notes() == ["of second-flask-app"]
    values = [
        {digest for key, digest in release.state().secrets.items() if not key.endswith(SAME_KEYS)}
        for release in pair
    ]
    assert len(values[0]) == len(values[1]) >= 9
    assert not values[0] & values[1]


def test_neither_reaches_the_others_database(pair: tuple[Release, Release]) -> None:
    names = [release.cluster.fullname for release in pair]
    for name, other in (names, reversed(names)):
        here = Here(pair[0].cluster, f"deployment/{name}")
        assert here.settles((f"{name}-database", 5432), is_open=True)
        assert here.settles((f"{other}-database", 5432), is_open=False)


def test_secrets_from_the_environment(pair: tuple[Release, Release]) -> None:
    _, second = pair
    status = second.ask("status")
    assert "environment" in str(status), status
    (deployment,) = json.loads(
        second.cluster.kubectl("get", "deployment", second.cluster.fullname, "--output", "json")
    )["spec"]["template"]["spec"]["containers"]
    given = {one["name"] for one in deployment["env"] if "valueFrom" in one}
    assert given == {key.name for key in KEYS}


#: Where the values of such a release stand: with its processes, and on the node's disk.
SHOWN = {"processes: environ", "processes: started as", "node: disks"}


def test_the_leak_scan_finds_the_secrets_of_the_environment(
    pair: tuple[Release, Release],
) -> None:
    """A real leak, which its user has chosen: the same scan finds it, in these places alone."""
    _, second = pair
    with scanning(second.cluster) as scan:
        # in one namespace with another release, whose accounts are none of its own
        report = scan.report(places=[place for place in IN_CLUSTER if place.group != "access"])
    print(table(report))
    found = report.found()
    for key in ("SECRET_KEY", "DATABASE_PASSWORD"):
        assert found.pop(f"second-flask-app-secrets/{key}") == SHOWN
    assert found == {}
    assert set(report.faults()) == {"kubernetes objects: pod specs"}
    assert report.unread() == {}


def test_with_the_environment_a_rotation_waits_for_two_restarts(
    pair: tuple[Release, Release],
) -> None:
    """What NOTES.txt says that is given up, and how it is done all the same."""
    _, second = pair
    before, text = second.state().secrets, "before the rotation"
    second.write(text)
    stuck = start(second.cluster, "rotate", "session", "database", WAIT_SECONDS="5")
    assert not stuck.succeeds()
    assert "not every pod has" in stuck.log()
    assert text in second.notes()
    job = start(second.cluster, "run")
    restart(second)
    job.wait_for("promoted")
    restart(second)
    assert job.succeeds(), job.log()
    assert text in second.notes()
    after = second.state().secrets
    for key in ("SECRET_KEY", "DATABASE_USERNAME", "DATABASE_PASSWORD"):
        assert after[f"second-flask-app-secrets/{key}"] != before[f"second-flask-app-secrets/{key}"]


def test_the_other_one_stays_when_one_is_removed(pair: tuple[Release, Release]) -> None:
    """The last one in this file: it takes one of the two away."""
    first, second = pair
    before = first.state()
    uninstall(second)
    assert first.state() == before
    assert "of first-flask-app" in first.notes()
    assert "Succeeded" in first.test()
