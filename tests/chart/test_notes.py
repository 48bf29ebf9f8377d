"""What Helm says when it is done."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.chart.conftest import (
    EXAMPLES,
    EXISTING,
    ISSUED,
    OWN_DATABASE,
    Object,
    Render,
    pod_of,
)


def notes(render: Render, release: str = "flask-app", **values: Any) -> str:
    """Return the notes with each paragraph's lines joined."""
    return " ".join(render(release, **values).notes.split())


def test_they_say_where_to_look(render: Render) -> None:
    found = notes(render)
    assert "https://flask-app.shop.svc:8443" in found
    assert "logs --selector app.kubernetes.io/component=keeper," in found
    assert "helm test flask-app --namespace shop" in found


def test_they_name_the_objects_that_are_there(render: Render) -> None:
    rendered = render("shop")
    text = rendered.notes
    assert "https://shop-flask-app.shop.svc:8443" in text
    assert "The CronJob shop-flask-app-keeper looks" in text
    assert "helm test shop --namespace shop" in text
    assert rendered.one("CronJob", "shop-flask-app-keeper")


def test_the_port_is_the_services(render: Render) -> None:
    assert "https://flask-app.shop.svc:443." in notes(render, service={"port": 443})


def test_they_are_tidy(render: Render, variant: dict[str, Any]) -> None:
    text = render(**variant).notes
    assert "\n\n\n" not in text
    assert not [line for line in text.splitlines() if line != line.rstrip()]
    assert "<no value>" not in text
    assert "%!" not in text


def test_the_keepers_authority_is_no_secret(render: Render) -> None:
    found = notes(render)
    assert "get secret flask-app-tls --output go-template" in found
    assert '{{ index .data "ca.crt" | base64decode }}' in found


@pytest.mark.parametrize(
    ("values", "secret"),
    [(ISSUED, "flask-app-tls-issued"), (EXISTING, "shop-tls")],
    ids=["cert-manager", "existing"],
)
def test_somebody_elses_certificate_is_in_its_secret(
    render: Render, values: dict[str, Any], secret: str
) -> None:
    found = notes(render, **values)
    assert f"certificate is in the Secret {secret}." in found
    assert "ca.crt" not in found


def test_the_command_that_rotates_fits_the_keepers_job(render: Render) -> None:
    rendered = render()
    assert "create job flask-app-rotate --from cronjob/flask-app-keeper " in rendered.notes
    (line,) = (line for line in rendered.notes.splitlines() if '"op"' in line)
    (patch,) = json.loads(line.strip().strip("\\ ").strip("'"))
    job: Object = rendered.one("CronJob")["spec"]["jobTemplate"]
    assert patch["path"] == "/spec/template/spec/containers/0/args"
    assert pod_of(job)["containers"][0]["args"] == ["run"]
    assert (patch["op"], patch["value"]) == ("replace", ["rotate"])


def test_they_say_when_the_keeper_looks(render: Render) -> None:
    assert "looks for what is due (17 * * * *)" in notes(render)
    suspended = notes(render, keeper={"rotation": {"suspend": True}})
    assert "CronJob flask-app-keeper is suspended: nothing rotates on its own" in suspended
    assert "looks for what is due" not in suspended


def test_they_say_which_hosts_lead_to_the_service(render: Render) -> None:
    hosts = ["shop.example.org", "api.example.org"]
    ingress = {"enabled": True, "hosts": [{"host": host} for host in hosts]}
    route = {"enabled": True, "parentRefs": [{"name": "public"}], "hostnames": hosts}
    by_ingress, by_route = notes(render, ingress=ingress), notes(render, httpRoute=route)
    for host in hosts:
        assert f"https://{host} leads to it, by the Ingress flask-app." in by_ingress
        assert f"https://{host} leads to it, by the HTTPRoute flask-app." in by_route
    assert "leads to it" not in notes(render)


def test_they_say_what_secrets_in_the_environment_give_up(render: Render) -> None:
    found = notes(render, secrets={"inject": "env"})
    assert "rotation without a restart" in found
    assert "kubectl --namespace shop rollout restart deployment/flask-app" in found
    assert "/proc" in found
    assert "secrets.inject" not in notes(render)


@pytest.mark.parametrize("sslmode", ["disable", "allow", "prefer", "require", "verify-ca"])
def test_they_say_what_less_than_verification_gives_up(render: Render, sslmode: str) -> None:
    database = {**OWN_DATABASE["database"], "sslmode": sslmode, "allowSslmode": sslmode}
    found = notes(render, postgresql={"enabled": False}, database=database)
    assert f"database.sslmode={sslmode}:" in found
    assert "can pretend to be the database" in found
    assert ("read what is said" in found) is (sslmode != "verify-ca")
    assert "database.sslmode" not in notes(render)


def test_they_say_that_no_policy_keeps_anybody_out(render: Render) -> None:
    found = notes(render, networkPolicy={"enabled": False})
    assert "networkPolicy.enabled=false" in found
    assert "networkPolicy" not in notes(render)


def test_they_say_what_an_uninstall_leaves(render: Render) -> None:
    rendered = render()
    stateful_set = rendered.one("StatefulSet")
    (claim,) = stateful_set["spec"]["volumeClaimTemplates"]
    volume = f"{claim['metadata']['name']}-{stateful_set['metadata']['name']}-0"
    assert f"delete persistentvolumeclaim {volume}\n" in f"{rendered.notes}\n"
    assert "persistentvolumeclaim" not in notes(render, **OWN_DATABASE)
    assert "demo" not in notes(render, **OWN_DATABASE)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("existing", "those of the Secret shop-credentials"),
        ("external-secrets-vault", "brought from HashiCorp Vault by External Secrets"),
        ("external-secrets-aws", "brought from AWS Secrets Manager by External Secrets"),
        ("vault-agent", "brought from HashiCorp Vault by its agent"),
        ("csi-vault", "brought from HashiCorp Vault by the Secrets Store CSI driver"),
        ("csi-aws", "brought from AWS Secrets Manager by the Secrets Store CSI driver"),
    ],
)
def test_they_say_where_the_secrets_are_from(render: Render, name: str, words: str) -> None:
    found = notes(render, **EXAMPLES[name])
    assert f"Its secrets are {words}, and are rotated there." in found
    assert "Nobody gave it a secret" not in found
    # the keeper still has the certificates
    assert "To rotate the certificates now" in found
    assert "Nobody makes the tables" in found


def test_without_a_keeper_they_do_not_speak_of_it(render: Render) -> None:
    found = notes(render, **EXAMPLES["existing"], **EXISTING)
    assert "keeper-" not in found
    assert "-keeper" not in found
    assert "component=keeper" not in found


def test_an_environment_from_elsewhere_needs_a_restart(render: Render) -> None:
    values = {**EXAMPLES["existing"]}
    values["secrets"] = {**values["secrets"], "inject": "env"}
    found = notes(render, **values)
    assert "What changes in the Secret is in a pod when that was restarted" in found
    assert "a second time after that" not in found
