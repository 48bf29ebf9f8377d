"""Who may do what: the service's account nothing, the keeper's what it has to."""

from __future__ import annotations

import json

import pytest

from tests.e2e.cluster import Cluster

#: What Kubernetes grants to everybody: questions about oneself, and discovery.
#: https://kubernetes.io/docs/reference/access-authn-authz/rbac/#discovery-roles
EVERYBODY = {"selfsubjectaccessreviews", "selfsubjectrulesreviews", "selfsubjectreviews"}


def rules(cluster: Cluster, account: str) -> dict[tuple[str, ...], set[str]]:
    """Return what an account may do, by resource and names, beyond what everybody may."""
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": "flask-app"},
    }
    answer = json.loads(
        cluster.kubectl(
            *("create", "--filename", "-", "--output", "json", "--validate=false"),
            *("--as", f"system:serviceaccount:flask-app:{account}"),
            *("--as-group", "system:serviceaccounts", "--as-group", "system:authenticated"),
            stdin=json.dumps(review),
        )
    )
    given = answer["status"]["resourceRules"]
    assert given, "not even what everybody may do was found"
    return {
        (*rule["resources"], *sorted(rule.get("resourceNames", []))): set(rule["verbs"])
        for rule in given
        if not set(rule["resources"]) <= EVERYBODY
    }


def test_the_services_account_may_do_nothing(cluster: Cluster) -> None:
    assert rules(cluster, "flask-app") == {}


def test_the_keepers_account_may_get_and_patch_five_secrets(cluster: Cluster) -> None:
    names = ("ca", "database-admin", "database-tls", "secrets", "tls")
    key = ("secrets", *(f"flask-app-{name}" for name in names))
    assert rules(cluster, "flask-app-keeper") == {key: {"get", "patch"}}


@pytest.mark.parametrize("component", ["service", "database"])
def test_pods_have_no_token(cluster: Cluster, component: str) -> None:
    for pod in cluster.pods(component):
        listed = cluster.kubectl(
            "exec", pod, "--", "ls", "-a", "/var/run/secrets/kubernetes.io", check=False
        )
        assert "No such file or directory" in listed


def test_a_pod_that_asks_for_more_is_refused(cluster: Cluster) -> None:
    refused = cluster.kubectl(
        *("run", "intruder", "--image", "postgres:17", "--privileged", "--dry-run=server"),
        check=False,
    )
    assert 'violates PodSecurity "restricted' in refused
