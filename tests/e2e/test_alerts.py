"""Each alert on a real cluster: the fault is made, and the rule is run on what the pods then tell.

The pods are scraped through the API server, and Prometheus' own engine gets what they said. It is
told that a scrape was the same for several minutes: nobody waits for hours here. What Prometheus
knows of Jobs is kube-state-metrics' word, which is not part of the cluster: `of_job` stands in for
it, and says the same of a Job that is really there.
"""

from __future__ import annotations

import json
import time
import urllib.error
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from prometheus_client.parser import text_string_to_metric_families

from app.keeper.certificates import expires_at
from tests.e2e.cluster import Cluster
from tests.e2e.keeper import Job, start
from tests.e2e.leakscan.needles import Needles
from tests.e2e.test_rotation import served, unreadable_secret, wait_until
from tests.promtool import Rule, complaints, needs_promtool

pytestmark = needs_promtool

TARGET = {"namespace": "flask-app", "job": "flask-app-metrics"}

#: How long all is well before a fault, in minutes: longer than any rule looks back.
WELL = 125
#: And after it, in minutes: SecretRedacted looks back an hour.
OVER = 65

DAY = 86_400

SERVICE = "app.kubernetes.io/component=service"

Labels = Mapping[str, str]


@pytest.fixture(scope="module")
def rules(cluster: Cluster) -> list[Rule]:
    return rendered(cluster)


def rendered(cluster: Cluster, *values: str) -> list[Rule]:
    """Return the rules of the release, with some values of `monitoring` turned."""
    turned = ("serviceMonitor.enabled=true", "prometheusRule.enabled=true", *values)
    text = cluster.run(
        *("helm", "template", "flask-app", "chart", "--namespace", cluster.namespace),
        *(f"--set=monitoring.{value}" for value in turned),
    )
    (rule,) = (one for one in yaml.safe_load_all(text) if one["kind"] == "PrometheusRule")
    return list(rule["spec"]["groups"][0]["rules"])


@pytest.fixture(autouse=True)
def ready(cluster: Cluster) -> None:
    cluster.wait_until_ready()


class History:
    """What was scraped, minute by minute, and which alerts have to fire when."""

    def __init__(self, cluster: Cluster, rules: list[Rule], past: float = DAY / 12) -> None:
        self._cluster = cluster
        self._rules = {rule["alert"]: rule for rule in rules}
        self._text = json.dumps(rules)
        #: Where it begins, so that times of the past can be told: in minutes.
        self._minutes = int(past / 60)
        self._series: dict[str, list[float | None]] = {}
        self._firing: dict[tuple[int, str], list[dict[str, str]]] = {}
        self._asked: list[int] = []

    def scrape(self, minutes: int) -> None:
        """Scrape all pods, and look at all Jobs; it was so for as many minutes."""
        now = time.time()
        told = of_pods(self._cluster) | of_jobs(self._cluster)
        found = {
            name: value for name, value in told.items() if name.partition("{")[0] in self._text
        }
        # times keep their distance from now, which is another number here
        shift = now - self._minutes * 60
        for name in self._series.keys() | found.keys():
            samples = self._series.setdefault(name, [None] * self._minutes)
            value = found.get(name)
            samples += [value - shift if value and is_time(name) else value] * minutes
        self._minutes += minutes

    def expect(self, **alerts: list[Labels]) -> None:
        """See later that these alerts fire in the last minute, with these labels, and no others."""
        minute = self._minutes - 1
        self._asked.append(minute)
        for alert, found in alerts.items():
            release = {"namespace": TARGET["namespace"]} if alert == "KeeperJobFailed" else TARGET
            own = self._rules[alert]["labels"]
            self._firing[minute, alert] = [{**release, **labels, **own} for labels in found]

    def well(self, minutes: int) -> None:
        """See later that no alert fires after these minutes."""
        self.scrape(minutes)
        self.expect()

    def check(self, folder: Path) -> None:
        """Run the rules.

        :raises AssertionError: one fired, or was quiet, as it should not.
        """
        rules, series = self._rules.values(), self._series
        assert complaints(folder, rules, series, self._asked, self._firing) == ""


@pytest.fixture
def history(cluster: Cluster, rules: list[Rule], tmp_path: Path) -> Iterator[History]:
    """Return a history in which all is well so far, and check it at the end."""
    history = History(cluster, rules)
    history.well(WELL)
    yield history
    history.check(tmp_path)


def is_time(series: str) -> bool:
    name = series.partition("{")[0]
    return name == "secrets_generation" or name.endswith(("_timestamp_seconds", "_time"))


def of_pods(cluster: Cluster) -> dict[str, float]:
    """Scrape every pod of the service, with the labels that Prometheus gives."""
    found = {}
    for pod in (one["metadata"]["name"] for one in cluster.items("pods", SERVICE)):
        path = f"/api/v1/namespaces/{cluster.namespace}/pods/{pod}:9090/proxy/metrics"
        # one that starts, or ends, does not answer, and kubectl would ask it for a minute
        text = cluster.kubectl("get", "--raw", path, "--request-timeout", "2s", check=False)
        if not text.startswith("# HELP"):
            continue
        target = TARGET | {"pod": pod, "service": TARGET["job"], "container": "service"}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                own = {
                    f"exported_{name}" if name in target else name: value
                    for name, value in sample.labels.items()
                }
                found[series(sample.name, target | own)] = sample.value
    return found


def series(name: str, labels: Labels) -> str:
    inside = ",".join(f"{name}={json.dumps(value)}" for name, value in sorted(labels.items()))
    return f"{name}{{{inside}}}"


def of_jobs(cluster: Cluster) -> dict[str, float]:
    found: dict[str, float] = {}
    for job in cluster.items("jobs"):
        found |= of_job(job)
    return found


def of_job(job: dict[str, Any]) -> dict[str, float]:
    """Return what kube-state-metrics would tell of a Job, as far as the rules ask for it."""
    labels = {"namespace": job["metadata"]["namespace"], "job_name": job["metadata"]["name"]}
    found = {}
    for field, name in (("startTime", "start_time"), ("completionTime", "completion_time")):
        if field in job["status"]:
            when = datetime.fromisoformat(job["status"][field]).timestamp()
            found[series(f"kube_job_status_{name}", labels)] = when
    for condition in job["status"].get("conditions", []):
        if condition["type"] in ("Complete", "Failed"):
            for status in ("true", "false", "unknown"):
                name = series(
                    f"kube_job_{condition['type'].lower()}", {**labels, "condition": status}
                )
                found[name] = float(condition["status"].lower() == status)
    return found


@contextmanager
def changed(cluster: Cluster, name: str, **values: str) -> Iterator[None]:
    """Write something into a Secret, and put back what was there."""
    before = cluster.secret(name)
    cluster.change_secret(name, values)
    try:
        yield
    finally:
        cluster.change_secret(name, {key: before[key].reveal() for key in values})


def all_tell(cluster: Cluster, metric: str, value: float) -> bool:
    return {cluster.metric(pod, metric) for pod in cluster.pods("service")} == {value}


def pods(cluster: Cluster) -> list[Labels]:
    return [{"pod": pod} for pod in cluster.pods("service")]


def generation(cluster: Cluster) -> int:
    return int(cluster.secret("flask-app-secrets")["GENERATION"].reveal())


def test_nobody_rotated(cluster: Cluster, tmp_path: Path) -> None:
    # a month would take the engine a minute
    rules = rendered(cluster, f"prometheusRule.secretsMaxAge={3 * DAY}")
    history = History(cluster, rules, past=4 * DAY)
    history.well(WELL)
    good, old = generation(cluster), int(time.time() - 3.5 * DAY)
    with changed(cluster, "flask-app-secrets", GENERATION=str(old)):
        wait_until(lambda: all_tell(cluster, "secrets_generation", old), "a pod is behind")
        history.scrape(10)
        history.expect(SecretsTooOld=[{}])
    wait_until(lambda: all_tell(cluster, "secrets_generation", good), "a pod is behind")
    history.well(OVER)
    history.check(tmp_path)


def test_a_wrong_password_is_written_into_the_secret(cluster: Cluster, history: History) -> None:
    wrong = {"DATABASE_PASSWORD": "nobody-gave-this-to-the-database"}
    with changed(cluster, "flask-app-secrets", **wrong, GENERATION=str(generation(cluster) + 1)):
        wait_until(lambda: all_tell(cluster, "secrets_refused", 1), "a pod takes it")
        history.scrape(5)
        history.expect(SecretsRefused=pods(cluster))
    wait_until(lambda: all_tell(cluster, "secrets_refused", 0), "a pod still refuses")
    history.well(OVER)


def test_a_pod_can_not_read_what_another_has(cluster: Cluster, history: History) -> None:
    pod, other = cluster.pods("service")
    good = generation(cluster)
    with (
        unreadable_secret(cluster, pod),
        changed(cluster, "flask-app-secrets", GENERATION=str(good + 1)),
    ):
        wait_until(
            lambda: cluster.metric(other, "secrets_generation") == good + 1, "it did not arrive"
        )
        assert cluster.metric(pod, "secrets_generation") == good
        history.scrape(15)
        history.expect(PodBehind=[{"pod": pod}], SecretsRefused=[{"pod": pod}])
    wait_until(lambda: all_tell(cluster, "secrets_generation", good), "a pod is behind")
    wait_until(lambda: all_tell(cluster, "secrets_refused", 0), "a pod still refuses")
    history.well(OVER)


def fail_everywhere(cluster: Cluster) -> None:
    """Ask for notes until every pod failed to open a connection."""
    metric = "database_login_failures_total"
    before = {pod: cluster.metric(pod, metric) for pod in cluster.pods("service")}

    def have_failed() -> bool:
        with suppress(urllib.error.HTTPError):
            cluster.request("/api/notes")
        return all(cluster.metric(pod, metric) > count for pod, count in before.items())

    wait_until(have_failed, "a pod has a connection")


def test_the_database_is_away(cluster: Cluster, history: History) -> None:
    scale = ("scale", "statefulset/flask-app-database", "--replicas")
    cluster.kubectl(*scale, "0")
    try:
        for _ in range(3):
            fail_everywhere(cluster)
            history.scrape(5)
        history.expect(DatabaseLoginsFail=[{}])
    finally:
        cluster.kubectl(*scale, "1")
        cluster.wait_until_ready()
    history.well(OVER)


def test_a_secret_is_logged(cluster: Cluster, history: History) -> None:
    """Somebody pastes it into a URL, and the access log has the path."""
    password = cluster.secret("flask-app-secrets")["DATABASE_PASSWORD"]
    before = {pod: cluster.metric(pod, "log_redactions_total") for pod in cluster.pods("service")}
    with pytest.raises(urllib.error.HTTPError, match="404"):
        cluster.request(f"/{password.reveal()}")
    (pod,) = (pod for pod in before if cluster.metric(pod, "log_redactions_total") > before[pod])
    log = cluster.kubectl("logs", pod, "--since", "60s")
    assert "GET /[redacted] 404" in log
    assert Needles([password]).find(log.encode()) == set()
    history.scrape(5)
    history.expect(SecretRedacted=[{"pod": pod}])
    history.well(OVER)


def shortened(certificate: str, authority_key: str) -> str:
    """Return the same certificate, but that it ends in 20 days."""
    key = load_pem_private_key(authority_key.encode(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    found = x509.load_pem_x509_certificate(certificate.encode())
    made = x509.CertificateBuilder(
        found.issuer,
        found.subject,
        found.public_key(),
        x509.random_serial_number(),
        found.not_valid_before_utc.replace(tzinfo=None),
        (datetime.now(UTC) + timedelta(days=20)).replace(tzinfo=None, microsecond=0),
        list(found.extensions),
    ).sign(key, hashes.SHA256())
    return made.public_bytes(Encoding.PEM).decode()


def test_certificates_near_their_end(cluster: Cluster, history: History) -> None:
    authority = cluster.secret("flask-app-ca")
    key = authority["tls.key"].reveal()
    parts = {
        "tls_certificate_expiry_timestamp_seconds": ("flask-app-tls", "tls.crt"),
        "database_ca_expiry_timestamp_seconds": ("flask-app-database-tls", "ca.crt"),
    }
    good = {name: cluster.secret(secret)[file].reveal() for name, (secret, file) in parts.items()}
    short = {name: shortened(certificate, key) for name, certificate in good.items()}
    first, second = parts

    def wait_for(certificates: Mapping[str, str]) -> None:
        for name, certificate in certificates.items():
            end = expires_at(certificate)
            wait_until(partial(all_tell, cluster, name, end), f"{name} stays")

    before = served(cluster)
    with (
        changed(cluster, parts[first][0], **{parts[first][1]: short[first]}),
        changed(cluster, parts[second][0], **{parts[second][1]: short[second]}),
    ):
        wait_for(short)
        assert not served(cluster) & before, "the certificate is not the one that is served"
        history.scrape(15)
        history.expect(CertificateEnds=[{}], DatabaseAuthorityEnds=[{}])
    wait_for(good)
    history.well(OVER)


@contextmanager
def keeper(cluster: Cluster, number: int, **turned: str) -> Iterator[Job]:
    """Run the keeper as the CronJob's controller does, with other settings, and clean up."""
    name = f"flask-app-keeper-{number}"
    made = cluster.kubectl(
        *("create", "job", name, "--from", "cronjob/flask-app-keeper"),
        *("--dry-run=client", "--output", "json"),
    )
    job = json.loads(made)
    job["spec"]["backoffLimit"] = 0
    (container,) = job["spec"]["template"]["spec"]["containers"]
    for one in container["env"]:
        one["value"] = turned.get(one["name"], one["value"])
    cluster.kubectl("create", "--filename", "-", stdin=json.dumps(job))
    try:
        yield Job(cluster, name)
    finally:
        cluster.kubectl("delete", "job", name)


def test_the_keeper_fails(cluster: Cluster, history: History) -> None:
    minute = int(time.time() / 60)
    # no role lets it read that Secret
    with keeper(cluster, minute, WAIT_SECONDS="0", SERVICE_SECRET="flask-app-nowhere") as failed:
        assert not failed.succeeds(), "nobody noticed"
        history.scrape(5)
        history.expect(KeeperJobFailed=[{"job_name": failed.name}])
        with keeper(cluster, minute + 1) as done:
            assert done.succeeds(), done.log()
            # the one that failed is still there
            history.well(OVER)


def test_no_pod_is_there(cluster: Cluster, history: History) -> None:
    scale = ("scale", "deployment/flask-app", "--replicas")
    cluster.kubectl(*scale, "0")
    try:
        wait_until(lambda: not cluster.items("pods", SERVICE), "a pod stays")
        history.scrape(15)
        history.expect(MetricsAbsent=[TARGET])
    finally:
        cluster.kubectl(*scale, "2")
        cluster.wait_until_ready()
    history.well(OVER)


def test_a_rotation_and_a_rolling_update_raise_nothing(cluster: Cluster, history: History) -> None:
    job = start(cluster, "rotate")
    deadline = time.monotonic() + 120
    while "completionTime" not in cluster.kubectl("get", "job", job.name, "--output", "json"):
        assert time.monotonic() < deadline, job.log()
        # a second or two, and a minute for the rules: as slow as at the kubelet's default pace
        history.well(1)
    old = set(cluster.pods("service"))
    cluster.kubectl("rollout", "restart", "deployment/flask-app")
    while old & set(cluster.pods("service")):
        assert time.monotonic() < deadline, "an old pod stays"
        history.well(1)
    history.well(OVER)
