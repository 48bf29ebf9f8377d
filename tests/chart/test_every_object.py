"""Rules for every object and every pod, a team's own among them, whatever the values are.

Each runs with the values files that turn everything, and with chart/values.yaml as it is. What it
says when it fails names the object, and what to change.
"""

from __future__ import annotations

from typing import Any

import helm_python.chart
import kubernetes_validate
import pytest
import yaml

from app.secret_keys import KEYS
from tests.chart.conftest import (
    BASE_KEYS,
    FOLDER,
    Chart,
    Object,
    Render,
    Rendered,
    containers,
    environment,
    is_selected,
    secret_volumes,
    source_of,
)

CHART = yaml.safe_load((FOLDER / "Chart.yaml").read_text("utf-8"))

#: The oldest one that Chart.yaml allows, one in the middle, and the newest.
VERSIONS = (CHART["kubeVersion"].removeprefix(">=").removesuffix(".0-0"), "1.31", "1.37")

COMPONENT = "app.kubernetes.io/component"

#: What takes the rights of a container away.
HARDENED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}

#: Functions of templates whose result changes with every rendering.
RANDOM = """
    lookup rand genCA genPrivateKey genSelfSigned genSigned htpasswd bcrypt derivePassword uuidv4
    encryptAES now
""".split()


def name_of(one: Object) -> str:
    return f"{one['kind']}/{one['metadata']['name']}"


def is_kubernetes(one: Object) -> bool:
    """Tell whether an object is of a kind that Kubernetes has without further definitions."""
    group = one["apiVersion"].rpartition("/")[0]
    return "." not in group or (group.endswith(".k8s.io") and "gateway" not in group)


def components(rendered: Rendered) -> dict[str, str]:
    """Return the component of each pod, by its owner's kind and name."""
    return {
        owner: template["metadata"]["labels"].get(COMPONENT, "")
        for owner, template in rendered.pod_templates().items()
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid(whole: Rendered, version: str) -> None:
    own = [one for one in whole.objects if is_kubernetes(one)]
    assert len(own) >= 8
    for rendered in own:
        if version == VERSIONS[0]:
            # which nobody sets there: see test_poddisruptionbudget.py
            rendered.get("spec", {}).pop("unhealthyPodEvictionPolicy", None)
        assert kubernetes_validate.validate(rendered, version, strict=True) == version


@pytest.mark.parametrize("value", [{"containerPort": "https"}, {"containerPrt": 1}])
def test_an_invalid_object_would_be_seen(render: Render, value: Object) -> None:
    deployment = render().one("Deployment")
    deployment["spec"]["template"]["spec"]["containers"][0]["ports"][0] |= value
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, VERSIONS[0], strict=True)


def test_helm_lint_is_clean() -> None:
    report = helm_python.chart.lint(FOLDER, strict=True)
    assert report["total_charts_linted"] == 1
    assert [message for message in report["messages"] if message["severity"] > 1] == []


def test_templates_make_up_nothing(render: Render, variant: dict[str, Any]) -> None:
    for path in FOLDER.rglob("templates/**/*"):
        text = path.read_text("utf-8") if path.is_file() else ""
        for word in RANDOM:
            calls = f"{{{{ {word}", f"{{{{- {word}", f"({word}", f"| {word}"
            assert not [call for call in calls if call in text], (
                f"{path.name} calls {word}: remove it, since every upgrade would have another value"
            )
    # nothing reads `global`: the chart is rendered again, and not what was kept of it returned
    assert render(**variant).objects == render(**variant, **{"global": {"again": True}}).objects


def test_nothing_is_mounted_that_the_kubelet_never_updates(whole: Rendered) -> None:
    for owner, pod in whole.pods().items():
        for container in containers(pod):
            for mount in container.get("volumeMounts", []):
                assert not {"subPath", "subPathExpr"} & set(mount), (
                    f"{owner}: mount the whole volume, not a subPath, which is never updated"
                )


def test_every_object_says_whose_it_is(whole: Rendered) -> None:
    advice = 'give it `include "flask-app.metadata"`, with a component of its own'
    for one in whole.objects:
        name, metadata = name_of(one), one["metadata"]
        assert metadata.get("namespace") == "shop", f"{name} has no namespace: {advice}"
        labels = metadata.get("labels", {})
        for label, value in (("instance", "flask-app"), ("managed-by", "Helm")):
            full = f"app.kubernetes.io/{label}"
            assert labels.get(full) == value, f"{name} has no label {full}: {advice}"
        assert labels.get(COMPONENT), f"{name} has no label {COMPONENT}: {advice}"
    labels_of = {name_of(one): one["metadata"]["labels"] for one in whole.objects}
    for owner, component in components(whole).items():
        assert component == labels_of[owner][COMPONENT], (
            f"{owner}: give its pods the same label {COMPONENT}"
        )
    # the keeper's Job and CronJob have the same pods
    owners = [one for owner, one in components(whole).items() if not owner.startswith("Job/")]
    assert len(owners) == len(set(owners)), f"give each pod a component of its own: {owners}"


def test_no_object_is_rendered_twice(whole: Rendered) -> None:
    names = [name_of(one) for one in whole.objects]
    assert sorted(names) == sorted(set(names))


def test_every_pod_is_hardened(whole: Rendered) -> None:
    for owner, pod in whole.pods().items():
        advice = f'{owner}: give its pods `include "flask-app.pod"`'
        security = pod.get("securityContext", {})
        assert security.get("runAsNonRoot") is True, advice
        assert security.get("runAsUser", 1) > 0, advice
        assert security.get("seccompProfile") == {"type": "RuntimeDefault"}, advice
        assert pod.get("enableServiceLinks") is False, advice
        shared = {"hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"} & set(pod)
        assert not shared, f"{owner}: remove {shared}"
        assert pod.get("hostUsers") is not True, f"{owner}: remove hostUsers"
        volumes = pod.get("volumes", [])
        assert not [one for one in volumes if "hostPath" in one], f"{owner}: mount no hostPath"
        for container in containers(pod):
            name = f"{owner}, container {container['name']}"
            # nothing in a container may weaken what its pod says
            assert container.get("securityContext") == HARDENED, (
                f'{name}: give it `include "flask-app.containerSecurity"`'
            )
            limits = container.get("resources", {}).get("limits", {})
            assert limits.get("memory"), f"{name}: set resources.limits.memory"
            assert "hostPort" not in str(container.get("ports")), f"{name}: remove hostPort"


def test_every_image_has_a_tag_or_a_digest(whole: Rendered) -> None:
    for owner, pod in whole.pods().items():
        for container in containers(pod):
            # after the last slash: a registry may have a port
            _, _, tag = container["image"].rpartition("/")[2].partition(":")
            assert tag.partition("@")[0] not in ("", "latest"), (
                f"{owner}: name a tag of the image {container['image']}, and not latest"
            )


def test_only_the_keeper_has_a_token(whole: Rendered) -> None:
    """And Vault's agent, whose containers the injector adds, one that is for Vault alone."""
    found = components(whole)
    for owner, pod in whole.pods().items():
        assert pod.get("automountServiceAccountToken") is (found[owner] == "keeper"), (
            f"{owner}: set automountServiceAccountToken to false"
        )
        tokens = [
            one["name"] for one in pod.get("volumes", []) if "serviceAccountToken" in str(one)
        ]
        of_agent = found[owner] == "service" and source_of(whole.values) == "vault-agent"
        assert tokens == (["vault-token"] if of_agent else []), f"{owner}: mount no token"
        for container in containers(pod):
            assert "vault-token" not in str(container.get("volumeMounts")), owner


def test_no_pod_runs_as_the_default_account(whole: Rendered) -> None:
    accounts: dict[bool, set[str]] = {True: set(), False: set()}
    for owner, component in components(whole).items():
        account = whole.pods()[owner].get("serviceAccountName", "default")
        assert account != "default", f"{owner}: name a serviceAccountName of the release"
        accounts[component == "keeper"].add(account)
    assert not accounts[True] & accounts[False], "only the keeper may use the keeper's account"


def test_no_secret_goes_through_the_environment(whole: Rendered) -> None:
    """Except for the service's own, where it is asked for: see test_deployment.py."""
    is_asked_for = whole.values["secrets"]["inject"] == "env"
    for owner, pod in whole.pods().items():
        for container in containers(pod):
            assert "envFrom" not in container, f"{owner}: name each variable under env"
            if is_asked_for and owner.startswith("Deployment/"):
                continue
            assert "secretKeyRef" not in str(container.get("env")), (
                f"{owner}: mount the Secret in place of a secretKeyRef"
            )
            assert not {key.name for key in KEYS} & set(environment({"env": [], **container}))


def test_pods_name_the_keys_that_they_wait_for(whole: Rendered) -> None:
    for owner, pod in whole.pods().items():
        volumes = secret_volumes(pod)
        for name, volume in volumes.items():
            advice = f"{owner}: give the volume {name} `items`, and `defaultMode: 0400`"
            assert volume.get("items"), advice
            assert volume.get("defaultMode") == 0o400, advice
            # somebody else's certificate may come without its authority: the test does without
            is_optional = owner.startswith("Pod/") and name == "ca"
            # a key that goes away is seen there, and waited for in the other one
            is_optional |= name == "secrets" and "secrets-required" in volumes
            assert is_optional or "optional" not in volume, f"{owner}: {name} can't be optional"


def test_nobody_mounts_the_authority(whole: Rendered) -> None:
    for owner, pod in whole.pods().items():
        for volume in secret_volumes(pod).values():
            assert not volume["secretName"].endswith(("-ca", "-ca-issued")) or (
                volume["secretName"] == whole.values["database"]["caSecret"]
            ), f"{owner}: don't mount {volume['secretName']}, which has the authority's key"


def test_what_is_mounted_is_there(whole: Rendered) -> None:
    claims = {
        name_of(owner): claim["metadata"]["name"]
        for owner in whole.objects
        for claim in owner.get("spec", {}).get("volumeClaimTemplates", [])
    }
    for owner, pod in whole.pods().items():
        # the injector mounts the token, for its own containers
        volumes = [one["name"] for one in pod.get("volumes", []) if one["name"] != "vault-token"]
        volumes += [claims[owner]] if owner in claims else []
        assert len(volumes) == len(set(volumes)), f"{owner} has two volumes of one name"
        mounted = set()
        for container in containers(pod):
            mounts = container.get("volumeMounts", [])
            paths = [mount["mountPath"] for mount in mounts]
            assert len(paths) == len(set(paths)), f"{owner} mounts two volumes at one path"
            mounted |= {mount["name"] for mount in mounts}
        assert mounted == set(volumes), f"{owner}: mount each volume, and no other"


def test_no_variable_stands_twice(whole: Rendered) -> None:
    for owner, pod in whole.pods().items():
        for container in containers(pod):
            names = [variable["name"] for variable in container.get("env", [])]
            assert len(names) == len(set(names)), f"{owner} sets a variable twice"


def selectors(rendered: Rendered) -> dict[str, dict[str, str]]:
    """Return how each object selects pods of the release, by its kind and name."""
    found = {}
    for one in rendered.objects:
        spec = one.get("spec", {})
        selector = spec.get("selector", spec.get("podSelector"))
        if selector:
            # a Service's has no matchLabels; a ServiceMonitor selects Services, which have
            # the same labels
            found[name_of(one)] = selector.get("matchLabels", selector)
    assert len(found) >= 4
    return found


def test_what_selects_pods_selects_those_of_one_component(whole: Rendered) -> None:
    templates = whole.pod_templates()
    labels = [template["metadata"]["labels"] for template in templates.values()]
    for owner, selector in selectors(whole).items():
        found = {one[COMPONENT] for one in labels if is_selected(selector, one)}
        assert len(found) == 1, f"{owner}: give its selector, and its pods, one label {COMPONENT}"
        if owner in templates:
            assert is_selected(selector, templates[owner]["metadata"]["labels"]), owner


def test_the_chart_and_the_service_have_the_same_keys(chart: Chart) -> None:
    own = chart.whole().values["secrets"]["own"]
    names = {*own["made"], *own["given"]}
    known = {key.name for key in KEYS} - set(BASE_KEYS)
    assert names == known, (
        f"name {', '.join(names ^ known)} both in the service's KEYS and, "
        "under secrets.own.made or secrets.own.given, in chart/values.yaml"
    )
