"""How the service is reached, and how each of its pods is found."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chart.conftest import Object, Render, is_selected, pod_of

TEMPLATE = "service.yaml"


def test_what_is_rendered(render: Render) -> None:
    assert render().names(TEMPLATE) == ["Service/flask-app", "Service/flask-app-metrics"]


def spec_of(render: Render, **service: Any) -> Object:
    spec = render(service=service).one("Service", "flask-app")["spec"]
    assert isinstance(spec, dict)
    return spec


def test_only_the_cluster_reaches_it(render: Render) -> None:
    spec = spec_of(render)
    assert set(spec) == {"type", "selector", "ports"}
    assert spec["type"] == "ClusterIP"
    assert spec["ports"] == [{"name": "https", "port": 8443, "targetPort": "https"}]


def test_services_find_their_pods(render: Render, variant: dict[str, Any]) -> None:
    rendered = render(**variant)
    templates = rendered.pod_templates()
    deployment = rendered.one("Deployment")
    names = {port["name"] for port in pod_of(deployment)["containers"][0]["ports"]}
    assert len(rendered.templates[TEMPLATE]) == 2
    for service in rendered.templates[TEMPLATE]:
        selected = [
            owner
            for owner, template in templates.items()
            if is_selected(service["spec"]["selector"], template["metadata"]["labels"])
        ]
        assert selected == [f"Deployment/{rendered.fullname}"]
        # by name: the container says which number that is
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= names


def test_every_pod_is_found_whether_it_is_ready_or_not(
    render: Render, variant: dict[str, Any]
) -> None:
    """The keeper and a scraper ask each of them, however the service is reached."""
    rendered = render(**variant)
    metrics = rendered.one("Service", f"{rendered.fullname}-metrics")
    assert metrics["spec"]["clusterIP"] == "None"
    assert metrics["spec"]["publishNotReadyAddresses"] is True
    assert "type" not in metrics["spec"]
    assert metrics["spec"]["ports"] == [{"name": "metrics", "port": 9090, "targetPort": "metrics"}]


@pytest.mark.parametrize("kind", ["ClusterIP", "NodePort", "LoadBalancer"])
def test_metrics_do_not_leave_the_cluster(render: Render, kind: str) -> None:
    rendered = render(service={"type": kind})
    for service in rendered.of_kind("Service"):
        is_exposed = service["metadata"]["name"] == "flask-app" and kind != "ClusterIP"
        assert (service["spec"].get("type", "ClusterIP") != "ClusterIP") is is_exposed
    assert [port["name"] for port in rendered.one("Service", "flask-app")["spec"]["ports"]] == [
        "https"
    ]


def test_labels_of_the_service_are_not_those_of_its_metrics(render: Render) -> None:
    """What finds a Service by such a label means the one with requests."""
    rendered = render(service={"labels": {"exposed": "true"}, "annotations": {"a": "b"}})
    metadata = rendered.one("Service", "flask-app")["metadata"]
    assert (metadata["labels"]["exposed"], metadata["annotations"]) == ("true", {"a": "b"})
    metrics = rendered.one("Service", "flask-app-metrics")["metadata"]
    assert "exposed" not in metrics["labels"]
    assert "annotations" not in metrics
