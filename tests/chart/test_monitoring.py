"""How a Prometheus Operator finds the metrics of each pod."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chart.conftest import Object, Render, Rendered, is_selected, pod_of

TEMPLATE = "monitoring.yaml"
SETTINGS = {"interval": "30s", "scrapeTimeout": "10s", "labels": {"release": "prometheus"}}

KINDS = pytest.mark.parametrize(
    ("kind", "value", "endpoints"),
    [
        ("ServiceMonitor", "serviceMonitor", "endpoints"),
        ("PodMonitor", "podMonitor", "podMetricsEndpoints"),
    ],
)


def monitored(render: Render, value: str, **settings: Any) -> Rendered:
    return render(monitoring={value: {"enabled": True, **settings}})


def with_port(selected: list[Object], port: str) -> list[str]:
    return [
        one["metadata"]["name"]
        for one in selected
        if port in {each["name"] for each in one["spec"]["ports"]}
    ]


def test_nothing_is_rendered_by_default(render: Render) -> None:
    assert render().templates[TEMPLATE] == []


@KINDS
def test_it_is_one_object(render: Render, kind: str, value: str, endpoints: str) -> None:
    rendered = monitored(render, value)
    assert rendered.names(TEMPLATE) == [f"{kind}/flask-app"]
    assert rendered.one(kind)["spec"][endpoints] == [{"port": "metrics", "path": "/metrics"}]


def test_a_service_monitor_finds_the_metrics_of_each_pod_once(render: Render) -> None:
    """Both Services have its labels, but one of them alone has the port."""
    rendered = monitored(render, "serviceMonitor")
    spec = rendered.one("ServiceMonitor")["spec"]
    selected = [
        service
        for service in rendered.of_kind("Service")
        if is_selected(spec["selector"]["matchLabels"], service["metadata"]["labels"])
    ]
    assert with_port(selected, spec["endpoints"][0]["port"]) == ["flask-app-metrics"]


def test_a_pod_monitor_finds_the_services_pods(render: Render) -> None:
    rendered = monitored(render, "podMonitor")
    spec = rendered.one("PodMonitor")["spec"]
    selected = [
        owner
        for owner, template in rendered.pod_templates().items()
        if is_selected(spec["selector"]["matchLabels"], template["metadata"]["labels"])
    ]
    assert selected == ["Deployment/flask-app"]
    (container,) = pod_of(rendered.one("Deployment"))["containers"]
    assert spec["podMetricsEndpoints"][0]["port"] in {port["name"] for port in container["ports"]}
