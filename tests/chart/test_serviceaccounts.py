"""Whom the pods are to the API server."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chart.conftest import Render

TEMPLATE = "serviceaccounts.yaml"
OTHERS = {"create": False, "name": "somebody"}
OTHER_KEEPER = {"create": False, "name": "somebody-else"}


def test_what_is_rendered(render: Render) -> None:
    assert render().names(TEMPLATE) == [
        "ServiceAccount/flask-app",
        "ServiceAccount/flask-app-keeper",
    ]


def test_no_account_gives_a_token_away(render: Render, variant: dict[str, Any]) -> None:
    """A pod gets one that asks for it, and the keeper's alone does."""
    for account in render(**variant).templates[TEMPLATE]:
        assert account["automountServiceAccountToken"] is False


def test_every_account_of_a_pod_is_rendered_or_somebody_elses(
    render: Render, variant: dict[str, Any]
) -> None:
    rendered = render(**variant)
    there = {account["metadata"]["name"] for account in rendered.templates[TEMPLATE]}
    theirs = {
        account["name"]
        for account in (
            variant.get("serviceAccount", {}),
            variant.get("keeper", {}).get("serviceAccount", {}),
        )
        if not account.get("create", True)
    }
    assert {pod["serviceAccountName"] for pod in rendered.pods().values()} == there | theirs


@pytest.mark.parametrize(
    ("values", "left"),
    [
        ({"serviceAccount": OTHERS}, ["ServiceAccount/flask-app-keeper"]),
        ({"keeper": {"serviceAccount": OTHERS}}, ["ServiceAccount/flask-app"]),
        ({"serviceAccount": OTHERS, "keeper": {"serviceAccount": OTHER_KEEPER}}, []),
    ],
    ids=["service", "keeper", "both"],
)
def test_an_account_can_be_somebody_elses(
    render: Render, values: dict[str, Any], left: list[str]
) -> None:
    assert render(**values).names(TEMPLATE) == left
