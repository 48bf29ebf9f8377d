"""What the keeper may do, and nobody else."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chart.conftest import EXISTING, ISSUED, OWN_DATABASE, Render, Rendered

TEMPLATE = "rbac.yaml"
NOT_MADE = {"keeper": {"rbac": {"create": False}}}


def verbs(rendered: Rendered) -> dict[str, list[str]]:
    """Return what may be done with each Secret."""
    rules = rendered.one("Role")["rules"]
    return {name: rule["verbs"] for rule in rules for name in rule["resourceNames"]}


def test_what_is_rendered(render: Render) -> None:
    assert render().names(TEMPLATE) == ["Role/flask-app-keeper", "RoleBinding/flask-app-keeper"]
    assert render(**NOT_MADE).templates[TEMPLATE] == []


def test_the_keeper_may_get_and_patch_five_secrets_by_name(render: Render) -> None:
    (rule,) = render().one("Role")["rules"]
    assert rule == {
        "apiGroups": [""],
        "resources": ["secrets"],
        "verbs": ["get", "patch"],
        "resourceNames": [
            "flask-app-secrets",
            "flask-app-tls",
            "flask-app-ca",
            "flask-app-database-admin",
            "flask-app-database-tls",
        ],
    }


@pytest.mark.parametrize("database", [{}, OWN_DATABASE], ids=["demo", "own database"])
@pytest.mark.parametrize("tls", [{}, ISSUED, EXISTING], ids=["keeper", "cert-manager", "existing"])
def test_they_are_those_that_are_rendered(
    render: Render, tls: dict[str, Any], database: dict[str, Any]
) -> None:
    rendered = render(**tls, **database)
    there = {secret["metadata"]["name"]: ["get", "patch"] for secret in rendered.of_kind("Secret")}
    # somebody else's administrator is only read
    theirs = {"db-admin": ["get"]} if database else {}
    assert verbs(rendered) == {**there, **theirs}


def test_every_rule_is_about_some_secrets_by_name(render: Render, variant: dict[str, Any]) -> None:
    """An empty list of names would mean all of them."""
    roles = [one for one in render(**variant).objects if one["kind"] == "Role"]
    for role in roles:
        for rule in role["rules"]:
            assert set(rule) == {"apiGroups", "resources", "verbs", "resourceNames"}
            assert (rule["apiGroups"], rule["resources"]) == ([""], ["secrets"])
            assert set(rule["verbs"]) <= {"get", "patch"}
            assert rule["resourceNames"]
            assert all(rule["resourceNames"])
            assert "*" not in str(rule)


def test_the_role_is_the_keepers_alone(render: Render, variant: dict[str, Any]) -> None:
    rendered = render(**variant)
    kinds = {one["kind"] for one in rendered.objects}
    assert not {"ClusterRole", "ClusterRoleBinding"} & kinds
    for owner, pod in rendered.pods().items():
        bound = {
            subject["name"]
            for one in rendered.templates[TEMPLATE]
            for subject in one.get("subjects", [])
        }
        is_keeper = owner.startswith(("Job/", "CronJob/"))
        assert is_keeper or pod["serviceAccountName"] not in bound, owner


def test_the_binding_is_of_this_role_to_the_keepers_account(render: Render) -> None:
    rendered = render()
    binding = rendered.one("RoleBinding")
    assert binding["roleRef"] == {
        "apiGroup": "rbac.authorization.k8s.io",
        "kind": "Role",
        "name": rendered.one("Role")["metadata"]["name"],
    }
    assert binding["subjects"] == [
        {
            "kind": "ServiceAccount",
            "name": rendered.pods()["CronJob/flask-app-keeper"]["serviceAccountName"],
            "namespace": "shop",
        }
    ]
