"""How many pods a drained node may take at once."""

from __future__ import annotations

from typing import Any

import kubernetes_validate
import pytest

from tests.chart.conftest import Object, Render

TEMPLATE = "poddisruptionbudget.yaml"


def budget_of(render: Render, **budget: Any) -> Object:
    return render(podDisruptionBudget=budget).one("PodDisruptionBudget", "flask-app")


def budget(render: Render, **values: Any) -> dict[str, Any]:
    """Return what the budget says besides whose it is."""
    spec = dict(budget_of(render, **values)["spec"])
    del spec["selector"]
    return spec


def test_one_pod_may_be_away(render: Render) -> None:
    assert render().names(TEMPLATE) == ["PodDisruptionBudget/flask-app"]
    assert budget(render) == {"maxUnavailable": 1}


def test_it_is_for_the_services_pods(render: Render, variant: dict[str, Any]) -> None:
    rendered = render(**variant)
    for one in rendered.templates[TEMPLATE]:
        assert one["spec"]["selector"] == rendered.one("Deployment")["spec"]["selector"]


def test_eviction_of_pods_that_are_not_ready_came_with_kubernetes_1_27(render: Render) -> None:
    found = budget_of(render, unhealthyPodEvictionPolicy="AlwaysAllow")
    assert found["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
    for version in ("1.27", "1.31", "1.37"):
        assert kubernetes_validate.validate(found, version, strict=True) == version
    with pytest.raises(kubernetes_validate.ValidationError, match="unhealthyPodEvictionPolicy"):
        kubernetes_validate.validate(found, "1.25", strict=True)
