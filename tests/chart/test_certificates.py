"""The service's certificate where cert-manager issues it."""

from __future__ import annotations

from typing import Any

from tests.chart.conftest import EXISTING, ISSUED, Object, Render

TEMPLATE = "certificates.yaml"


def issued(render: Render, cert_manager: dict[str, Any] | None = None, **tls: Any) -> Object:
    """Return what the service's Certificate says."""
    values = {"source": "cert-manager", "certManager": cert_manager or {}, **tls}
    # an IPv6 address among the names could not be compared
    spec = render(tls=values, trustedHosts=[]).one("Certificate", "flask-app")["spec"]
    assert isinstance(spec, dict)
    return spec


def test_nothing_is_rendered_by_default(render: Render) -> None:
    assert render().templates[TEMPLATE] == []
    assert render(**EXISTING).templates[TEMPLATE] == []


def test_a_release_has_an_authority_of_its_own(render: Render) -> None:
    rendered = render(**ISSUED)
    assert rendered.names(TEMPLATE) == [
        "Certificate/flask-app",
        "Certificate/flask-app-ca",
        "Issuer/flask-app-ca",
        "Issuer/flask-app-selfsigned",
    ]
    # from the service's certificate up to the one that signs itself
    certificate = rendered.one("Certificate", "flask-app")["spec"]
    issuer = rendered.one("Issuer", certificate["issuerRef"]["name"])["spec"]
    authority = rendered.one("Certificate", "flask-app-ca")["spec"]
    assert issuer == {"ca": {"secretName": authority["secretName"]}}
    first = rendered.one("Issuer", authority["issuerRef"]["name"])["spec"]
    assert first == {"selfSigned": {}}
    for one in (certificate, authority):
        assert (one["issuerRef"]["kind"], one["issuerRef"]["group"]) == (
            "Issuer",
            "cert-manager.io",
        )
    assert authority["isCA"] is True
    assert "isCA" not in certificate


def test_the_authority_outlives_what_it_signs(render: Render) -> None:
    rendered = render(**ISSUED)
    hours = [
        int(rendered.one("Certificate", name)["spec"]["duration"].removesuffix("h"))
        for name in ("flask-app-ca", "flask-app")
    ]
    assert hours == [87600, 2160]


def test_names_and_addresses_are_told_apart(render: Render) -> None:
    names = ["shop.example.org", "*.shop.example.org", "192.0.2.7", "2001:db8::7", "1.example.org"]
    found = issued(render, {"inClusterNames": False}, extraNames=names)
    assert found["dnsNames"] == ["shop.example.org", "*.shop.example.org", "1.example.org"]
    assert found["ipAddresses"] == ["192.0.2.7", "2001:db8::7"]


def test_a_public_issuer_is_asked_for_public_names_alone(render: Render) -> None:
    found = issued(render, {"inClusterNames": False}, extraNames=["shop.example.org"])
    assert found["dnsNames"] == ["shop.example.org"]
    assert "ipAddresses" not in found
    address = issued(render, {"inClusterNames": False}, extraNames=["192.0.2.7"])
    assert "dnsNames" not in address


def test_it_is_a_servers_certificate_with_a_new_key_each_time(render: Render) -> None:
    found = issued(render)
    assert found["usages"] == ["digital signature", "server auth"]
    assert found["privateKey"]["rotationPolicy"] == "Always"


def test_its_secrets_are_none_of_helms(render: Render) -> None:
    """Helm could neither take over nor leave behind one that somebody else made."""
    rendered = render(**ISSUED)
    theirs = {one["spec"]["secretName"] for one in rendered.of_kind("Certificate")}
    keepers = {one["metadata"]["name"] for one in render().of_kind("Secret")}
    assert theirs == {"flask-app-tls-issued", "flask-app-ca-issued"}
    assert not theirs & keepers
    assert not theirs & {one["metadata"]["name"] for one in rendered.of_kind("Secret")}
