"""The way in through an Ingress controller."""

from __future__ import annotations

from typing import Any

from tests.chart.conftest import VARIANTS, Object, Render

TEMPLATE = "ingress.yaml"


def spec_of(render: Render, **ingress: Any) -> Object:
    spec = render(ingress={"enabled": True, **ingress}).one("Ingress", "flask-app")["spec"]
    assert isinstance(spec, dict)
    return spec


def test_nothing_is_rendered_by_default(render: Render) -> None:
    assert render().templates[TEMPLATE] == []


def test_a_host_leads_to_the_service_with_all_its_paths(render: Render) -> None:
    assert spec_of(render, hosts=[{"host": "a.example.org"}]) == {
        "rules": [
            {
                "host": "a.example.org",
                "http": {
                    "paths": [
                        {
                            "path": "/",
                            "pathType": "Prefix",
                            "backend": {
                                "service": {"name": "flask-app", "port": {"name": "https"}}
                            },
                        }
                    ]
                },
            }
        ]
    }


def test_the_port_is_one_of_the_services(render: Render) -> None:
    rendered = render(**VARIANTS["everything"])
    for rule in rendered.one("Ingress")["spec"]["rules"]:
        for path in rule["http"]["paths"]:
            backend = path["backend"]["service"]
            service = rendered.one("Service", backend["name"])
            assert backend["port"]["name"] in {port["name"] for port in service["spec"]["ports"]}


def test_hosts_are_served_with_certificates_of_the_controllers(render: Render) -> None:
    ingress = render(**VARIANTS["everything"]).one("Ingress")
    served = {host for one in ingress["spec"]["tls"] for host in one["hosts"]}
    assert served == {rule["host"] for rule in ingress["spec"]["rules"]}
    assert ingress["spec"]["ingressClassName"] == "nginx"
    assert "tls" not in spec_of(render, hosts=[{"host": "a.example.org"}])
