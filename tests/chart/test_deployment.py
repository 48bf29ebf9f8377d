"""The service's pods."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.core.tls import FILES
from app.settings import Settings
from tests.chart.conftest import (
    BASE_KEYS,
    EXISTING,
    FOLDER,
    ISSUED,
    OWN_DATABASE,
    Object,
    Render,
    environment,
    pod_of,
    secret_volumes,
    source_of,
)

TEMPLATE = "deployment.yaml"
BY_ENVIRONMENT = {"secrets": {"inject": "env"}}
PUBLIC = {
    "postgresql": {"enabled": False},
    "database": {"host": "db.example.org", "adminSecret": "db-admin", "publicCA": True},
}
UNVERIFIED = {
    "postgresql": {"enabled": False},
    "database": {
        "host": "db.example.org",
        "adminSecret": "db-admin",
        "sslmode": "require",
        "allowSslmode": "require",
    },
}


def container(render: Render, **values: Any) -> Object:
    """Return the service's container."""
    (found,) = pod_of(render(**values).one("Deployment"))["containers"]
    assert isinstance(found, dict)
    return found


def mounts(container: Object) -> dict[str, str]:
    return {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}


def test_it_is_one_deployment(render: Render, variant: dict[str, Any]) -> None:
    (deployment,) = render(**variant).templates[TEMPLATE]
    assert deployment["kind"] == "Deployment"
    assert render().names(TEMPLATE) == ["Deployment/flask-app"]


def test_there_are_two_pods_unless_somebody_says(render: Render) -> None:
    assert render().one("Deployment")["spec"]["replicas"] == 2
    assert render(replicas=0).one("Deployment")["spec"]["replicas"] == 0


def test_no_pod_goes_before_a_new_one_is_ready(render: Render) -> None:
    strategy = render().one("Deployment")["spec"]["strategy"]
    assert strategy == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
    }


def test_pods_are_spread_over_nodes(render: Render) -> None:
    deployment = render().one("Deployment")
    (constraint,) = pod_of(deployment)["topologySpreadConstraints"]
    assert constraint["topologyKey"] == "kubernetes.io/hostname"
    assert constraint["labelSelector"] == deployment["spec"]["selector"]


def test_probes_ask_the_management_port(render: Render) -> None:
    """Which needs no request thread, and speaks HTTP, whatever the certificate is."""
    found = container(render)
    ports = {port["name"]: port["containerPort"] for port in found["ports"]}
    variables = environment(found)
    assert ports == {
        "https": int(variables["PORT"]),
        "metrics": int(variables["METRICS_PORT"]),
    }
    for probe, path in (("startup", "/livez"), ("liveness", "/livez"), ("readiness", "/readyz")):
        asked = found[f"{probe}Probe"]["httpGet"]
        assert asked == {"path": path, "port": "metrics", "scheme": "HTTP"}


def test_the_readiness_probe_waits_longer_than_the_service_takes_to_answer(render: Render) -> None:
    assert container(render)["readinessProbe"]["timeoutSeconds"] > 5


@pytest.mark.parametrize("seconds", [0, 5, 600])
def test_a_pod_has_time_to_end(render: Render, seconds: int) -> None:
    """It still serves for a while, and then finishes what is under way."""
    deployment = render(preStopSeconds=seconds).one("Deployment")
    (found,) = pod_of(deployment)["containers"]
    assert found["lifecycle"]["preStop"]["exec"]["command"] == ["sleep", str(seconds)]
    settings = (FOLDER.parent / "app" / "gunicorn.conf.py").read_text()
    under_way = re.search(r"^graceful_timeout = (\d+)$", settings, re.MULTILINE)
    assert under_way, "app/gunicorn.conf.py: set graceful_timeout to a number of seconds"
    grace = pod_of(deployment)["terminationGracePeriodSeconds"]
    assert grace >= seconds + int(under_way[1]) + 5, (
        f"graceful_timeout is {under_way[1]} in app/gunicorn.conf.py: it can't be more than 25"
    )


def test_the_service_knows_every_variable(render: Render, variant: dict[str, Any]) -> None:
    known = {field.name.upper() for field in fields(Settings)} | set(BASE_KEYS)
    own = {variable["name"] for variable in variant.get("env", [])}
    names = {variable["name"] for variable in container(render, **variant)["env"]}
    assert own <= names
    assert names - own <= known, "app/settings.py lacks what every pod is given"


#: The names of the Service, which are always trusted.
IN_CLUSTER = (
    "flask-app",
    "flask-app.shop",
    "flask-app.shop.svc",
    "flask-app.shop.svc.cluster.local",
    "localhost",
    "127.0.0.1",
)
EXTRA = {"tls": {"extraNames": ["shop.example.org", "*.example.net", "192.0.2.7"]}}
NAMED = ("shop.example.org", ".example.net", "192.0.2.7")
INGRESSED = {"ingress": {"enabled": True, "hosts": [{"host": "a.org"}, {"host": "*.b.org"}]}}
ROUTE = {"enabled": True, "parentRefs": [{"name": "public"}]}
ROUTED = {"httpRoute": {**ROUTE, "hostnames": ["c.org", "*.d.org"]}}
OFF = {
    "ingress": INGRESSED["ingress"] | {"enabled": False},
    "httpRoute": ROUTED["httpRoute"] | {"enabled": False},
}
FOR_ANY_NAME = {"httpRoute": ROUTE}
NODE_PORT = {"service": {"type": "NodePort"}}
BALANCED = {"service": {"type": "LoadBalancer"}}


@pytest.mark.parametrize(
    ("values", "hosts"),
    [
        ({}, IN_CLUSTER),
        (EXTRA, (*IN_CLUSTER, *NAMED)),
        (INGRESSED, (*IN_CLUSTER, "a.org", ".b.org")),
        (ROUTED, (*IN_CLUSTER, "c.org", ".d.org")),
        (
            EXTRA | INGRESSED | ROUTED,
            (*IN_CLUSTER, *NAMED, "a.org", ".b.org", "c.org", ".d.org"),
        ),
        # one that stands twice
        ({"tls": {"extraNames": ["a.org"]}} | INGRESSED, (*IN_CLUSTER, "a.org", ".b.org")),
        (OFF, IN_CLUSTER),
        # the chart can't know them
        (EXTRA | FOR_ANY_NAME, ()),
        (EXTRA | NODE_PORT, ()),
        (INGRESSED | BALANCED, ()),
        *(
            (values | {"trustedHosts": given}, (*IN_CLUSTER, *given) if given else ())
            for values in ({}, EXTRA | INGRESSED, FOR_ANY_NAME, NODE_PORT, BALANCED)
            for given in ([], ["x.org", ".y.org"])
        ),
    ],
)
def test_hosts_are_trusted_that_the_chart_knows_or_is_given(
    render: Render, values: dict[str, Any], hosts: tuple[str, ...]
) -> None:
    variables = environment(container(render, **values))
    assert Settings.from_mapping(variables).trusted_hosts == hosts
    assert ("TRUSTED_HOSTS" in variables) is bool(hosts)


def test_the_release_on_kind_trusts_the_names_of_this_machine(render: Render) -> None:
    """As which the port of its node is reached."""
    values = yaml.safe_load((FOLDER.parent / "tools" / "cluster" / "values.yaml").read_text())
    assert values["service"]["type"] == "NodePort"
    hosts = Settings.from_mapping(environment(container(render, **values))).trusted_hosts
    assert hosts == IN_CLUSTER


@pytest.mark.parametrize(
    ("database", "binding"),
    [
        ({}, "require"),
        ({"sslmode": "require", "allowSslmode": "require"}, "require"),
        ({"sslmode": "prefer", "allowSslmode": "prefer"}, "prefer"),
        ({"pooler": "transaction", "directHost": "db-1"}, "prefer"),
        ({"channelBinding": "disable"}, "disable"),
    ],
)
def test_channel_binding_is_required_where_the_service_has_the_database_at_the_other_end(
    render: Render, database: dict[str, str], binding: str
) -> None:
    values = OWN_DATABASE | {"database": OWN_DATABASE["database"] | database}
    settings = Settings.from_mapping(environment(container(render, **values)))
    assert settings.database_channel_binding == binding


def test_the_service_takes_its_settings(render: Render, variant: dict[str, Any]) -> None:
    found = container(render, **variant)
    settings = Settings.from_mapping(environment(found))
    mounted = mounts(found)
    assert (settings.host, settings.port, settings.metrics_port) == ("0.0.0.0", 8443, 9090)
    assert settings.tls_dir == Path(mounted["tls"])
    if source_of(variant) == "vault-agent":
        # the injector mounts it
        template = render(**variant).one("Deployment")["spec"]["template"]
        path = template["metadata"]["annotations"]["vault.hashicorp.com/secret-volume-path"]
        mounted["secrets"] = path
    if settings.secrets_from == "files":
        assert settings.secrets_dir == Path(mounted["secrets"])
    assert settings.database_ca_file
    if "database-ca" in mounted:
        assert settings.database_ca_file == Path(mounted["database-ca"], "ca.crt")


def test_what_is_mounted_is_read_only_but_for_tmp(render: Render) -> None:
    writable = [
        mount["mountPath"]
        for mount in container(render)["volumeMounts"]
        if not mount.get("readOnly")
    ]
    assert writable == ["/tmp"]


def test_secrets_are_files(render: Render) -> None:
    pod = pod_of(render().one("Deployment"))
    secrets = secret_volumes(pod)["secrets"]
    assert secrets["secretName"] == "flask-app-secrets"
    assert [item["key"] for item in secrets["items"]] == BASE_KEYS
    assert all(item["key"] == item["path"] for item in secrets["items"])
    assert environment(pod["containers"][0])["SECRETS_FROM"] == "files"


def test_secrets_are_variables_if_that_is_asked_for(render: Render) -> None:
    rendered = render(**BY_ENVIRONMENT)
    pod = pod_of(rendered.one("Deployment"))
    (found,) = pod["containers"]
    references = [variable for variable in found["env"] if "valueFrom" in variable]
    assert references == [
        {
            "name": key,
            "valueFrom": {"secretKeyRef": {"name": "flask-app-secrets", "key": key}},
        }
        for key in BASE_KEYS
    ]
    assert environment(found)["SECRETS_FROM"] == "env"
    assert "SECRETS_DIR" not in environment(found)


def test_secrets_do_not_come_in_both_ways(render: Render) -> None:
    """The certificates stay files, which are followed without a restart."""
    pod = pod_of(render(**BY_ENVIRONMENT).one("Deployment"))
    assert "secrets" not in mounts(pod["containers"][0])
    volumes = secret_volumes(pod)
    assert {name: volume["secretName"] for name, volume in volumes.items()} == {
        "tls": "flask-app-tls",
        "database-ca": "flask-app-database-tls",
    }


@pytest.mark.parametrize(
    ("values", "secret"),
    [({}, "flask-app-tls"), (ISSUED, "flask-app-tls-issued"), (EXISTING, "shop-tls")],
    ids=["keeper", "cert-manager", "existing"],
)
def test_the_certificate_comes_without_its_authority(
    render: Render, values: dict[str, Any], secret: str
) -> None:
    volume = secret_volumes(pod_of(render(**values).one("Deployment")))["tls"]
    assert volume["secretName"] == secret
    assert [item["key"] for item in volume["items"]] == list(FILES)


def test_the_service_gets_of_the_databases_secret_the_ca_alone(render: Render) -> None:
    volumes = secret_volumes(pod_of(render().one("Deployment")))
    assert volumes["database-ca"]["secretName"] == "flask-app-database-tls"
    assert [item["key"] for item in volumes["database-ca"]["items"]] == ["ca.crt"]
    mounted = {volume["secretName"] for volume in volumes.values()}
    assert "flask-app-database-admin" not in mounted


def test_the_service_never_sees_the_administrator(render: Render, variant: dict[str, Any]) -> None:
    assert "admin" not in str(pod_of(render(**variant).one("Deployment")))


def test_the_service_verifies_the_database(render: Render, variant: dict[str, Any]) -> None:
    variables = environment(container(render, **variant))
    expected = variant.get("database", {}).get("sslmode", "verify-full")
    assert variables["DATABASE_SSLMODE"] == expected
    assert expected.startswith("verify-")
    assert variables["DATABASE_CA_FILE"]


def test_a_public_authority_is_in_the_image(render: Render) -> None:
    found = container(render, **PUBLIC)
    assert environment(found)["DATABASE_CA_FILE"] == "/etc/ssl/certs/ca-certificates.crt"
    assert "database-ca" not in mounts(found)


def test_nothing_is_mounted_to_verify_with_where_nothing_is_verified(render: Render) -> None:
    found = container(render, **UNVERIFIED)
    assert "DATABASE_CA_FILE" not in environment(found)
    assert "database-ca" not in mounts(found)


def test_a_failed_start_stands_in_the_pods_status(render: Render) -> None:
    assert container(render)["terminationMessagePolicy"] == "FallbackToLogsOnError"
