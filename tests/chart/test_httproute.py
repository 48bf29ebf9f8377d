"""The way in through a Gateway, which speaks HTTPS with the service, too."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chart.conftest import EXISTING, ISSUED, Object, Render, Rendered, environment

TEMPLATE = "httproute.yaml"
GATEWAY = [{"name": "public", "namespace": "gateways"}]


def routed(render: Render, route: dict[str, Any] | None = None, **values: Any) -> Rendered:
    route = {"enabled": True, "parentRefs": GATEWAY, **(route or {})}
    return render(httpRoute=route, **values)


def validation(render: Render, backend: dict[str, Any] | None = None, **values: Any) -> Object:
    """Return how the Gateway verifies the service."""
    rendered = routed(render, {"backendTLS": backend or {}}, **values)
    found = rendered.one("BackendTLSPolicy", "flask-app")["spec"]["validation"]
    assert isinstance(found, dict)
    return found


def test_nothing_is_rendered_by_default(render: Render) -> None:
    assert render().templates[TEMPLATE] == []


def test_every_request_of_the_gateway_leads_to_the_service(render: Render) -> None:
    rendered = routed(render)
    assert rendered.names(TEMPLATE) == ["BackendTLSPolicy/flask-app", "HTTPRoute/flask-app"]
    assert rendered.one("HTTPRoute")["spec"] == {
        "parentRefs": GATEWAY,
        "rules": [{"backendRefs": [{"name": "flask-app", "port": 8443}]}],
    }


def test_the_gateway_verifies_the_service(render: Render) -> None:
    policy = routed(render).one("BackendTLSPolicy")["spec"]
    assert policy["targetRefs"] == [{"group": "", "kind": "Service", "name": "flask-app"}]
    assert policy["validation"] == {
        "hostname": "flask-app.shop.svc",
        "caCertificateRefs": [{"group": "", "kind": "Secret", "name": "flask-app-tls"}],
    }


@pytest.mark.parametrize(
    ("values", "secret"),
    [({}, "flask-app-tls"), (ISSUED, "flask-app-tls-issued"), (EXISTING, "shop-tls")],
    ids=["keeper", "cert-manager", "existing"],
)
def test_it_verifies_with_the_secret_of_the_certificate(
    render: Render, values: dict[str, Any], secret: str
) -> None:
    (reference,) = validation(render, **values)["caCertificateRefs"]
    assert reference == {"group": "", "kind": "Secret", "name": secret}


def test_the_name_that_it_asks_for_is_in_the_certificate(render: Render) -> None:
    hostname = validation(render)["hostname"]
    (container,) = render().pods()["CronJob/flask-app-keeper"]["containers"]
    assert hostname in environment(container)["TLS_NAMES"].split(",")
    issued = render(**ISSUED).one("Certificate", "flask-app")["spec"]
    assert validation(render, **ISSUED)["hostname"] in issued["dnsNames"]
