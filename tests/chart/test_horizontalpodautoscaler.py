"""How many pods there are, where an autoscaler decides."""

from __future__ import annotations

from tests.chart.conftest import VARIANTS, Object, Render, pod_of

TEMPLATE = "horizontalpodautoscaler.yaml"


def utilization(resource: str, percent: int) -> Object:
    return {
        "type": "Resource",
        "resource": {
            "name": resource,
            "target": {"type": "Utilization", "averageUtilization": percent},
        },
    }


def test_nothing_is_rendered_by_default(render: Render) -> None:
    assert render().templates[TEMPLATE] == []


def test_it_scales_the_deployment_by_its_processor_use(render: Render) -> None:
    rendered = render(autoscaling={"enabled": True})
    spec = rendered.one("HorizontalPodAutoscaler")["spec"]
    assert spec == {
        "scaleTargetRef": {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "name": rendered.one("Deployment")["metadata"]["name"],
        },
        "minReplicas": 2,
        "maxReplicas": 10,
        "metrics": [utilization("cpu", 80)],
    }


def test_metrics_are_added_to_those_two(render: Render) -> None:
    rendered = render(**VARIANTS["everything"])
    spec = rendered.one("HorizontalPodAutoscaler")["spec"]
    assert spec["metrics"][:2] == [utilization("cpu", 60), utilization("memory", 75)]
    assert [metric["type"] for metric in spec["metrics"][2:]] == ["ContainerResource"]
    assert spec["behavior"] == {"scaleDown": {"stabilizationWindowSeconds": 60}}
    # the container that one of them means is there
    (container,) = pod_of(rendered.one("Deployment"))["containers"]
    assert spec["metrics"][2]["containerResource"]["container"] == container["name"]
