"""What holds for every object and every pod, whatever the values are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import kubernetes_validate
import pytest
import yaml

from app.secret_keys import KEYS
from tests.chart.conftest import (
    CUSTOM_KINDS,
    FOLDER,
    Render,
    Rendered,
    containers,
    environment,
    is_selected,
    secret_volumes,
    source_of,
)

#: The oldest one that Chart.yaml allows, one in the middle, and the newest.
VERSIONS = ("1.25", "1.31", "1.37")


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid(render: Render, variant: dict[str, Any], version: str) -> None:
    own = [one for one in render(**variant).objects if one["kind"] not in CUSTOM_KINDS]
    assert len(own) >= 10
    for rendered in own:
        if version == VERSIONS[0]:
            # which nobody sets there: see test_poddisruptionbudget.py
            rendered.get("spec", {}).pop("unhealthyPodEvictionPolicy", None)
        assert kubernetes_validate.validate(rendered, version, strict=True) == version


def test_an_invalid_object_would_be_seen(render: Render) -> None:
    deployment = render().one("Deployment")
    deployment["spec"]["template"]["spec"]["containers"][0]["ports"][0]["containerPort"] = "https"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, VERSIONS[0], strict=True)


def test_a_misspelt_field_would_be_seen(render: Render) -> None:
    service = render().one("Service", "flask-app")
    service["spec"]["clusterIp"] = "None"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(service, VERSIONS[0], strict=True)


def test_the_chart_asks_for_the_oldest_version() -> None:
    chart = yaml.safe_load((FOLDER / "Chart.yaml").read_text())
    assert chart["kubeVersion"] == f">={VERSIONS[0]}.0-0"


def test_helm_lint_is_clean(lint: Callable[[], dict[str, Any]]) -> None:
    report = lint()
    assert report["total_charts_linted"] == 1
    assert [message for message in report["messages"] if message["severity"] > 1] == []


def test_templates_make_up_nothing(render: Render, variant: dict[str, Any]) -> None:
    templates = [path.read_text() for path in FOLDER.rglob("templates/**/*") if path.is_file()]
    assert len(templates) >= 20
    for word in (
        "lookup",
        "rand",
        "genCA",
        "genPrivateKey",
        "genSelfSigned",
        "genSigned",
        "htpasswd",
        "bcrypt",
        "derivePassword",
        "uuidv4",
        "encryptAES",
        "now",
    ):
        calls = f"{{{{ {word}", f"{{{{- {word}", f"({word}", f"| {word}"
        assert not [text for text in templates for call in calls if call in text], word
    # nothing reads `global`: the chart is rendered again, and not what was kept of it returned
    assert render(**variant).objects == render(**variant, **{"global": {"again": True}}).objects


def test_nothing_is_mounted_that_the_kubelet_never_updates(
    render: Render, variant: dict[str, Any]
) -> None:
    for owner, pod in render(**variant).pods().items():
        for container in containers(pod):
            for mount in container["volumeMounts"]:
                assert not {"subPath", "subPathExpr"} & set(mount), owner


def test_every_object_says_whose_it_is(render: Render, variant: dict[str, Any]) -> None:
    rendered = render(**variant)
    component = "app.kubernetes.io/component"
    for one in rendered.objects:
        assert one["metadata"]["namespace"] == "shop"
        labels = one["metadata"]["labels"]
        assert labels["app.kubernetes.io/instance"] == "flask-app"
        assert labels["app.kubernetes.io/managed-by"] == "Helm"
        assert labels[component] in {"service", "keeper", "database", "test"}
    for owner, template in rendered.pod_templates().items():
        kind, name = owner.split("/")
        labels = rendered.one(kind, name)["metadata"]["labels"]
        assert template["metadata"]["labels"][component] == labels[component]


def test_no_object_is_rendered_twice(render: Render, variant: dict[str, Any]) -> None:
    names = [(one["kind"], one["metadata"]["name"]) for one in render(**variant).objects]
    assert sorted(names) == sorted(set(names))


def test_every_pod_is_hardened(render: Render, variant: dict[str, Any]) -> None:
    for owner, pod in render(**variant).pods().items():
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True, owner
        assert security.get("runAsUser", 1) > 0, owner
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, owner
        assert pod["enableServiceLinks"] is False, owner
        assert not {"hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"} & set(pod), owner
        assert pod.get("hostUsers") is not True, owner
        assert not [volume for volume in pod["volumes"] if "hostPath" in volume], owner
        for container in containers(pod):
            # nothing in a container may weaken what its pod says
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, owner
            assert container["resources"]["limits"]["memory"], owner
            assert "hostPort" not in str(container.get("ports")), owner


def test_every_image_has_a_tag_or_a_digest(render: Render, variant: dict[str, Any]) -> None:
    for owner, pod in render(**variant).pods().items():
        for container in containers(pod):
            # after the last slash: a registry may have a port
            _, colon, tag = container["image"].rpartition("/")[2].partition(":")
            assert colon, owner
            assert tag, owner
            assert tag.partition("@")[0] != "latest", owner


def test_only_the_keeper_has_a_token(render: Render, variant: dict[str, Any]) -> None:
    """And Vault's agent, whose containers the injector adds, one that is for Vault alone."""
    rendered = render(**variant)
    for owner, pod in rendered.pods().items():
        assert pod["automountServiceAccountToken"] is (owner.startswith(("Job/", "CronJob/")))
        tokens = [one["name"] for one in pod["volumes"] if "serviceAccountToken" in str(one)]
        of_agent = owner.startswith("Deployment/") and source_of(variant) == "vault-agent"
        assert tokens == (["vault-token"] if of_agent else []), owner
        for container in containers(pod):
            assert "vault-token" not in str(container["volumeMounts"]), owner


def test_no_pod_runs_as_the_default_account(render: Render, variant: dict[str, Any]) -> None:
    keepers: set[str] = set()
    others: set[str] = set()
    for owner, pod in render(**variant).pods().items():
        accounts = keepers if owner.startswith(("Job/", "CronJob/")) else others
        accounts.add(pod["serviceAccountName"])
    assert "default" not in keepers | others
    assert len(keepers) == len(others) == 1
    assert not keepers & others


def test_no_secret_goes_through_the_environment(render: Render, variant: dict[str, Any]) -> None:
    """Except for the service's own, where it is asked for: see test_deployment.py."""
    is_asked_for = variant.get("secrets", {}).get("inject") == "env"
    for owner, pod in render(**variant).pods().items():
        for container in containers(pod):
            assert "envFrom" not in container, owner
            if is_asked_for and owner.startswith("Deployment/"):
                continue
            assert "secretKeyRef" not in str(container.get("env")), owner
            assert not {key.name for key in KEYS} & set(environment({"env": [], **container}))


def test_pods_name_the_keys_that_they_wait_for(render: Render, variant: dict[str, Any]) -> None:
    for owner, pod in render(**variant).pods().items():
        volumes = secret_volumes(pod)
        for name, volume in volumes.items():
            assert volume["items"], owner
            assert volume["defaultMode"] == 0o400, owner
            # somebody else's certificate may come without its authority: the test does without
            is_optional = owner.startswith("Pod/") and name == "ca"
            # a key that goes away is seen there, and waited for in the other one
            is_optional |= name == "secrets" and "secrets-required" in volumes
            assert is_optional or "optional" not in volume, owner


def test_nobody_mounts_the_authority(render: Render, variant: dict[str, Any]) -> None:
    for owner, pod in render(**variant).pods().items():
        for volume in secret_volumes(pod).values():
            assert not volume["secretName"].endswith(("-ca", "-ca-issued")) or (
                volume["secretName"] == variant["database"]["caSecret"]
            ), owner


def test_what_is_mounted_is_there(render: Render, variant: dict[str, Any]) -> None:
    rendered = render(**variant)
    claims = {
        f"StatefulSet/{owner['metadata']['name']}": claim["metadata"]["name"]
        for owner in rendered.objects
        for claim in owner.get("spec", {}).get("volumeClaimTemplates", [])
    }
    for owner, pod in rendered.pods().items():
        # the injector mounts the token, for its own containers
        volumes = [one["name"] for one in pod["volumes"] if one["name"] != "vault-token"]
        volumes += [claims[owner]] if owner in claims else []
        assert len(volumes) == len(set(volumes)), owner
        mounted = set()
        for container in containers(pod):
            paths = [mount["mountPath"] for mount in container["volumeMounts"]]
            assert len(paths) == len(set(paths)), owner
            mounted |= {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == set(volumes), owner


def test_no_variable_stands_twice(render: Render, variant: dict[str, Any]) -> None:
    for owner, pod in render(**variant).pods().items():
        for container in containers(pod):
            names = [variable["name"] for variable in container.get("env", [])]
            assert len(names) == len(set(names)), owner


def selectors(rendered: Rendered) -> dict[str, dict[str, str]]:
    """Return how each object selects pods of the release, by its kind and name."""
    found = {}
    for one in rendered.objects:
        spec = one.get("spec", {})
        selector = spec.get("selector", spec.get("podSelector"))
        if selector:
            # a Service's has no matchLabels; a ServiceMonitor selects Services, which have
            # the same labels
            name = f"{one['kind']}/{one['metadata']['name']}"
            found[name] = selector.get("matchLabels", selector)
    assert len(found) >= 4
    return found


def test_what_selects_pods_selects_those_of_one_component(
    render: Render, variant: dict[str, Any]
) -> None:
    rendered = render(**variant)
    labels = [template["metadata"]["labels"] for template in rendered.pod_templates().values()]
    for owner, selector in selectors(rendered).items():
        components = {
            one["app.kubernetes.io/component"] for one in labels if is_selected(selector, one)
        }
        assert len(components) == 1, owner


def test_a_deployments_selector_is_in_its_pods(render: Render, variant: dict[str, Any]) -> None:
    rendered = render(**variant)
    templates = rendered.pod_templates()
    for owner, selector in selectors(rendered).items():
        if owner in templates:
            assert is_selected(selector, templates[owner]["metadata"]["labels"]), owner
