"""An upgrade from an older release goes through, and loses nothing."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.chart.conftest import Object, Render

#: What releases rendered by default, as `flask-app` in the namespace `shop`.
RELEASES = sorted((Path(__file__).parent / "releases").glob("*.yaml"))

#: What an upgrade would throw away, or leave behind, under another name.
KEPT = {"Secret", "StatefulSet", "Deployment", "Service", "ServiceAccount"}

#: What the API server lets an upgrade change in a StatefulSet.
CHANGEABLE = {
    "minReadySeconds",
    "ordinals",
    "persistentVolumeClaimRetentionPolicy",
    "replicas",
    "revisionHistoryLimit",
    "template",
    "updateStrategy",
}

Objects = dict[tuple[str, str], Object]


def by_name(objects: list[Object]) -> Objects:
    return {(one["kind"], one["metadata"]["name"]): one for one in objects}


def fixed(one: Object) -> Object:
    """Return what may not change: the API server refuses it, or pods are lost from sight."""
    spec = one.get("spec", {})
    match one["kind"]:
        case "StatefulSet":
            return {name: value for name, value in spec.items() if name not in CHANGEABLE}
        case "Deployment":
            return {"selector": spec["selector"]}
        case "Service":
            return {name: spec.get(name) for name in ("clusterIP", "selector", "type")}
        case "Secret":
            return {name: one.get(name) for name in ("type", "immutable")}
        case "RoleBinding":
            return {"roleRef": one["roleRef"]}
        case "Job":
            return {name: spec.get(name) for name in ("template", "selector", "completions")}
    return {}


def refusals(old: Objects, new: Objects) -> list[str]:
    """Return why an upgrade from one to the other does not go through, or loses something."""
    lost = [f"{kind}/{name} is gone" for kind, name in set(old) - set(new) if kind in KEPT]
    changed = [
        f"{kind}/{name} has another {field}"
        for kind, name in set(old) & set(new)
        for field, value in fixed(old[kind, name]).items()
        if fixed(new[kind, name]).get(field) != value
    ]
    # Helm would put them over what the keeper filled in
    filled = [
        f"{kind}/{name} has data"
        for objects in (old, new)
        for (kind, name), one in objects.items()
        if kind == "Secret" and {"data", "stringData"} & set(one)
    ]
    return sorted(lost + changed + filled)


@pytest.fixture(params=RELEASES, ids=lambda path: path.stem)
def old(request: pytest.FixtureRequest) -> Objects:
    """Return what an older release rendered."""
    objects = [one for one in yaml.safe_load_all(request.param.read_text()) if one]
    assert len(objects) >= 10
    return by_name(objects)


@pytest.fixture
def new(render: Render) -> Objects:
    """Return what an upgrade of it renders now."""
    return by_name(render(revision=2).objects)


def test_there_is_an_older_release() -> None:
    assert RELEASES


def test_an_upgrade_goes_through(old: Objects, new: Objects) -> None:
    assert refusals(old, new) == []


def test_nothing_is_left_out_but_the_job(old: Objects, new: Objects) -> None:
    """A Job can't be changed: the upgrade has one of another name."""
    assert {kind for kind, _ in set(old) - set(new)} == {"Job"}
    assert not {name for kind, name in new if kind == "Job"} & {name for _, name in old}


def test_the_volume_is_found_again(old: Objects, new: Objects) -> None:
    """A claim is called after its template, its StatefulSet, and the pod's number."""

    def claims(objects: Objects) -> set[str]:
        return {
            f"{claim['metadata']['name']}-{name}"
            for (_, name), one in objects.items()
            for claim in one.get("spec", {}).get("volumeClaimTemplates", [])
        }

    assert claims(old) == claims(new) == {"data-flask-app-database"}


def test_pods_of_both_are_selected(old: Objects, new: Objects) -> None:
    """Until the last old pod is gone, they serve together."""
    for owner in (("Deployment", "flask-app"), ("StatefulSet", "flask-app-database")):
        selector = new[owner]["spec"]["selector"]["matchLabels"]
        for objects in (old, new):
            labels = objects[owner]["spec"]["template"]["metadata"]["labels"]
            assert selector.items() <= labels.items()


def selector_renamed(new: Objects) -> None:
    labels = new["Deployment", "flask-app"]["spec"]["selector"]["matchLabels"]
    labels["app.kubernetes.io/part"] = labels.pop("app.kubernetes.io/component")


def database_selector_renamed(new: Objects) -> None:
    new["StatefulSet", "flask-app-database"]["spec"]["selector"]["matchLabels"] = {"app": "db"}


def headless_service_renamed(new: Objects) -> None:
    new["StatefulSet", "flask-app-database"]["spec"]["serviceName"] = "database"


def started_in_order(new: Objects) -> None:
    del new["StatefulSet", "flask-app-database"]["spec"]["podManagementPolicy"]


def volume_enlarged(new: Objects) -> None:
    (claim,) = new["StatefulSet", "flask-app-database"]["spec"]["volumeClaimTemplates"]
    claim["spec"]["resources"]["requests"]["storage"] = "2Gi"


def service_with_an_address(new: Objects) -> None:
    del new["Service", "flask-app-metrics"]["spec"]["clusterIP"]


def service_of_others(new: Objects) -> None:
    new["Service", "flask-app"]["spec"]["selector"] = {"app": "other"}


def secret_left_out(new: Objects) -> None:
    del new["Secret", "flask-app-ca"]


def secret_of_another_type(new: Objects) -> None:
    new["Secret", "flask-app-tls"]["type"] = "kubernetes.io/tls"


def secret_with_data(new: Objects) -> None:
    new["Secret", "flask-app-secrets"]["stringData"] = {"GENERATION": "1"}


def account_left_out(new: Objects) -> None:
    del new["ServiceAccount", "flask-app-keeper"]


def role_renamed(new: Objects) -> None:
    new["RoleBinding", "flask-app-keeper"]["roleRef"]["name"] = "other"


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        (selector_renamed, "Deployment/flask-app has another selector"),
        (database_selector_renamed, "StatefulSet/flask-app-database has another selector"),
        (headless_service_renamed, "StatefulSet/flask-app-database has another serviceName"),
        (started_in_order, "StatefulSet/flask-app-database has another podManagementPolicy"),
        (volume_enlarged, "StatefulSet/flask-app-database has another volumeClaimTemplates"),
        (service_with_an_address, "Service/flask-app-metrics has another clusterIP"),
        (service_of_others, "Service/flask-app has another selector"),
        (secret_left_out, "Secret/flask-app-ca is gone"),
        (secret_of_another_type, "Secret/flask-app-tls has another type"),
        (secret_with_data, "Secret/flask-app-secrets has data"),
        (account_left_out, "ServiceAccount/flask-app-keeper is gone"),
        (role_renamed, "RoleBinding/flask-app-keeper has another roleRef"),
    ],
)
def test_such_a_change_would_be_seen(
    old: Objects, new: Objects, change: Callable[[Objects], None], refusal: str
) -> None:
    changed = copy.deepcopy(new)
    change(changed)
    assert refusals(old, changed) == [refusal]


def test_a_job_of_the_same_name_would_be_refused(old: Objects) -> None:
    changed = copy.deepcopy(old)
    ((owner, job),) = ((owner, one) for owner, one in changed.items() if owner[0] == "Job")
    job["spec"]["template"]["spec"]["containers"][0]["image"] = "other:1"
    assert refusals(old, changed) == [f"Job/{owner[1]} has another template"]
