"""The deployed service answers over HTTPS, keeps what was written, and follows its Secret."""

from __future__ import annotations

import subprocess
import time
import urllib.error
import uuid

import pytest

from tools.cluster.client import ROOT, Cluster
from tools.poll import poll
from tools.resource import READ, RESOURCE

needs_resource = pytest.mark.skipif(not RESOURCE, reason="there is no tests/e2e/resource.py")


def write(cluster: Cluster, text: str) -> None:
    assert RESOURCE
    cluster.request(RESOURCE.path, "POST", RESOURCE.body(text))


def texts(cluster: Cluster) -> list[str]:
    assert RESOURCE
    return RESOURCE.listed(cluster.request(RESOURCE.listing))[0]


@pytest.mark.smoke
def test_https_verifies_against_the_releases_ca_and_no_other(cluster: Cluster) -> None:
    assert cluster.request("/readyz") == {"status": "ok"}
    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        cluster.request("/readyz", verify=False)


@needs_resource
@pytest.mark.parametrize("component", ["service", "database"])
def test_a_text_comes_back_after_its_pod_is_deleted(cluster: Cluster, component: str) -> None:
    text = f"kept over a deleted {component} pod, {uuid.uuid4()}"
    write(cluster, text)
    before = cluster.pods(component)
    cluster.kubectl("delete", "pod", *before, "--wait")
    cluster.wait_until_ready()
    if component == "service":  # a StatefulSet's pod has its name again
        assert not set(before) & set(cluster.pods(component))
    assert text in texts(cluster)


@needs_resource
def test_deploying_again_keeps_every_secret_every_text_and_every_pod(cluster: Cluster) -> None:
    text = f"kept over a second deploy, {uuid.uuid4()}"
    write(cluster, text)

    def state() -> dict[str, list[object]]:
        secrets = cluster.objects("secrets", "app.kubernetes.io/instance=flask-app")
        pods = cluster.objects("pods", "app.kubernetes.io/component in (service, database)")
        return {
            "secrets": [(one["metadata"]["name"], hash(str(one["data"]))) for one in secrets],
            "pods": [(one["metadata"]["name"], one["metadata"]["uid"]) for one in pods],
        }

    before = state()
    assert len(before["secrets"]) == 5
    assert "https://localhost:" in cluster.run("make", "deploy")
    assert state() == before
    assert text in texts(cluster)


def wait_for_generation(
    cluster: Cluster, pods: list[str], generation: float, seconds: float
) -> None:
    def have_it() -> bool:
        return {cluster.metric(pod, "secrets_generation") for pod in pods} == {generation}

    poll(have_it, f"the generation {generation:.0f} in every pod", seconds, 0.5)


def test_a_changed_secret_is_in_every_pod_without_a_restart(cluster: Cluster) -> None:
    pods = cluster.pods("service")
    assert len(pods) == 2
    before = {pod: cluster.metric(pod, "secrets_generation") for pod in pods}
    (generation,) = set(before.values())
    cluster.change_secret("flask-app-secrets", {"GENERATION": str(int(generation) + 1)})
    started = time.monotonic()
    # the kubelet's syncFrequency of 2 s, its jitter, and the check of the service
    wait_for_generation(cluster, pods, generation + 1, 20)
    print(f"in every pod after {time.monotonic() - started:.1f} s")
    for pod in cluster.objects("pods", "app.kubernetes.io/component=service"):
        assert pod["status"]["containerStatuses"][0]["restartCount"] == 0


def test_a_password_that_the_database_refuses_is_not_taken(cluster: Cluster) -> None:
    pods = cluster.pods("service")
    refused = 'secrets_reloads_total{result="rejected"}'
    before = {pod: cluster.metric(pod, "secrets_generation") for pod in pods}
    secret = cluster.secret("flask-app-secrets")
    password, generation = secret["DATABASE_PASSWORD"], int(secret["GENERATION"].reveal())
    cluster.change_secret(
        "flask-app-secrets",
        {
            "DATABASE_PASSWORD": "nobody-gave-this-to-the-database",
            "GENERATION": str(generation + 1),
        },
    )
    try:

        def looked_at_by_all() -> bool:
            cluster.request(READ)
            return all(cluster.metric(pod, refused) for pod in pods)

        poll(looked_at_by_all, "every pod looks at the new password", 40, 0.5)
        assert {pod: cluster.metric(pod, "secrets_generation") for pod in pods} == before
        for pod in pods:
            log = cluster.kubectl("logs", pod)
            assert log.count("secrets not adopted, the last good ones stay") == 1
            assert "nobody-gave-this" not in log
    finally:
        good = {"DATABASE_PASSWORD": password.reveal(), "GENERATION": str(generation + 2)}
        cluster.change_secret("flask-app-secrets", good)
    wait_for_generation(cluster, pods, generation + 2, 120)
    cluster.request(READ)


CONNECT = """
import psycopg, sys
from pathlib import Path
secrets = {path.name: path.read_text() for path in Path("/etc/secrets").iterdir() if path.is_file()}
login = {"user": secrets["DATABASE_USERNAME"], "password": secrets["DATABASE_PASSWORD"]}
host = "flask-app-database.flask-app.svc"
login.update(host=host, dbname="flask_app")
login.update(option.split("=") for option in sys.argv[1:])
try:
    psycopg.connect(**login).close()
    print("let in")
except psycopg.OperationalError as error:
    print("refused:", error)
"""


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("options", "answer"),
    [
        (["sslmode=verify-full", "sslrootcert=/etc/database-ca/ca.crt"], "let in"),
        (["sslmode=require", "require_auth=scram-sha-256"], "let in"),
        (["sslmode=require", "require_auth=md5,password,none"], "refused"),
        (["sslmode=disable"], "no pg_hba.conf entry"),
        (["sslmode=verify-full", "sslrootcert=system"], "certificate verify failed"),
        (["sslmode=require", "password=wrong-one"], "password authentication failed"),
    ],
)
def test_the_database_takes_a_password_over_tls_and_nothing_else(
    cluster: Cluster, options: list[str], answer: str
) -> None:
    command = ("exec", "--stdin", "deployment/flask-app", "--", "python", "-", *options)
    assert answer in cluster.kubectl(*command, stdin=CONNECT)


REACHED = """
from app import create_app
print("reached:", create_app().extensions["database"].reached())
"""


@pytest.mark.parametrize(
    ("authority", "reached"),
    [("/etc/database-ca/ca.crt", True), ("/etc/ssl/certs/ca-certificates.crt", False)],
)
def test_the_service_verifies_the_databases_certificate(
    cluster: Cluster, authority: str, reached: bool
) -> None:
    command = (
        "exec",
        "--stdin",
        "deployment/flask-app",
        "--",
        "env",
        f"DATABASE_CA_FILE={authority}",
    )
    assert f"reached: {reached}" in cluster.kubectl(*command, "python", "-", stdin=REACHED)


def test_helm_test_asks_the_service_once(cluster: Cluster) -> None:
    assert "Succeeded" in cluster.run("helm", "test", "flask-app", "--namespace", "flask-app")


def test_the_users_kubeconfig_was_not_touched(cluster: Cluster) -> None:
    command = ["kubectl", "config", "get-contexts", "--output", "name"]
    shown = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout
    assert f"kind-{cluster.name}" not in shown.splitlines()
