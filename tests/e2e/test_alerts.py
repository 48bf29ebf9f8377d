"""Each alert on a real cluster: the fault is made, the rule is run, and its runbook is followed.

The rule is run on what the pods then tell. The commands of the alert's section in the runbook have
to show the fault, to end it, and to show that it is over.
"""

from __future__ import annotations

import json
import re
import time
import urllib.error
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
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

from keeper.certificates import expires_at, new_authority
from tests.e2e.history import DAY, SERVICE, TARGET, History, Labels
from tests.e2e.runbook import Runbook, Section, told
from tests.e2e.test_rotation import served, unreadable_secret, wait_until
from tests.promtool import Rule, needs_promtool
from tools.cluster.client import Cluster
from tools.cluster.job import Job, start
from tools.leakscan.needles import Needles
from tools.resource import READ

pytestmark = needs_promtool

#: How long all is well before a fault, in minutes: longer than any rule looks back.
WELL = 125
#: And after it, in minutes: SecretRedacted looks back an hour.
OVER = 65

LOGIN_FAILURES = "database_login_failures_total"


@pytest.fixture(scope="module")
def runbook() -> Runbook:
    return Runbook("docs/runbook.md")


Follow = Callable[[str], AbstractContextManager[Section]]


@pytest.fixture
def follow(cluster: Cluster, runbook: Runbook) -> Follow:
    """Return a function that begins with a section of the runbook."""
    return partial(runbook.section, cluster)


@pytest.fixture(scope="module")
def rules(cluster: Cluster) -> list[Rule]:
    return rules_of(cluster)


def rules_of(cluster: Cluster, *values: str) -> list[Rule]:
    """Return the rules of the release, with some values of `monitoring.prometheusRule` turned."""
    turned = (f"prometheusRule.{value}" for value in ("enabled=true", *values))
    monitored = (f"monitoring.{value}" for value in ("serviceMonitor.enabled=true", *turned))
    (rule,) = rendered(cluster, "PrometheusRule", *monitored)
    return list(rule["spec"]["groups"][0]["rules"])


def rendered(cluster: Cluster, kind: str, *values: str) -> list[dict[str, Any]]:
    """Return the release's objects of a kind, with some values turned."""
    text = cluster.run(
        *("helm", "template", "flask-app", "chart", "--namespace", cluster.namespace),
        *(f"--set={value}" for value in values),
    )
    return [one for one in yaml.safe_load_all(text) if one["kind"] == kind]


@pytest.fixture(autouse=True)
def ready(cluster: Cluster) -> None:
    cluster.wait_until_ready()


@pytest.fixture
def history(cluster: Cluster, rules: list[Rule], tmp_path: Path) -> Iterator[History]:
    """Return a history in which all is well so far, and check it at the end."""
    history = History(cluster, rules)
    history.well(WELL)
    yield history
    history.check(tmp_path)


@contextmanager
def changed(cluster: Cluster, name: str, **values: str) -> Iterator[None]:
    """Write something into a Secret, and put back what was there, if it stands there still."""
    before = cluster.secret(name)
    cluster.change_secret(name, values)
    try:
        yield
    finally:
        now = cluster.secret(name)
        stay = [key for key, value in values.items() if now[key].reveal() == value]
        cluster.change_secret(name, {key: before[key].reveal() for key in stay})


def all_tell(cluster: Cluster, metric: str, value: float) -> bool:
    return {cluster.metric(pod, metric) for pod in cluster.pods("service")} == {value}


def pods(cluster: Cluster) -> list[Labels]:
    return [{"pod": pod} for pod in cluster.pods("service")]


def generation(cluster: Cluster) -> int:
    return int(cluster.secret("flask-app-secrets")["GENERATION"].reveal())


def are_of_today(shown: str) -> bool:
    """Tell whether it shows new secrets of two pods, beside the time of now."""
    found = told(shown, "secrets_generation").values()
    now = int(shown.splitlines()[-1])
    assert abs(time.time() - now) < 10
    return len(found) == 2 and all(0 <= now - made < DAY for made in found)


def test_nobody_rotated(cluster: Cluster, tmp_path: Path, follow: Follow) -> None:
    # a month would take the engine a minute
    rules = rules_of(cluster, f"secretsMaxAge={3 * DAY}")
    history = History(cluster, rules, past=4 * DAY)
    history.well(WELL)
    old = int(time.time() - 3.5 * DAY)
    with (
        changed(cluster, "flask-app-secrets", GENERATION=str(old)),
        follow("SecretsTooOld") as section,
    ):
        wait_until(lambda: all_tell(cluster, "secrets_generation", old), "the old generation")
        history.scrape(10)
        history.expect(SecretsTooOld=[{}])
        shown = section.see()
        assert told(shown, "secrets_generation") == dict.fromkeys(cluster.pods("service"), old)
        # the tests suspend it
        assert re.search(r"SUSPEND .* LAST SCHEDULE .*\n\S*flask-app-keeper .* True ", shown)
        assert '"message": "' in shown
        assert "secrets_reloads_total{" in section.inline("metrics")
        done = section.do()
        assert all(step in done for step in ("prepared", "revoked", "rotated"))
        section.over(are_of_today)
    history.well(OVER)
    history.check(tmp_path)


def test_a_clock_was_ahead_when_secrets_were_made(
    cluster: Cluster, history: History, follow: Follow
) -> None:
    ahead = int(time.time()) + 2 * 3600
    with (
        changed(cluster, "flask-app-secrets", GENERATION=str(ahead)),
        follow("SecretsFromTheFuture") as section,
    ):
        wait_until(lambda: all_tell(cluster, "secrets_generation", ahead), "the generation")
        history.scrape(10)
        history.expect(SecretsFromTheFuture=[{}])
        shown = section.see()
        assert told(shown, "secrets_generation") == dict.fromkeys(cluster.pods("service"), ahead)
        assert re.search(r"^NAME .* NODE ", shown, re.MULTILINE)
        assert "rotated" in section.do()
        section.over(are_of_today)
    history.well(OVER)


def says_of_all(metric: str, value: float | None = None) -> Callable[[str], bool]:
    """Return what tells whether two pods are shown with the same value, or with this one."""

    def says(shown: str) -> bool:
        found = [*told(shown, metric).values()]
        return len(found) == 2 and set(found) == {found[0] if value is None else value}

    return says


def test_a_wrong_password_is_written_into_the_secret(
    cluster: Cluster, history: History, follow: Follow
) -> None:
    wrong = {"DATABASE_PASSWORD": "nobody-gave-this-to-the-database"}
    with (
        changed(cluster, "flask-app-secrets", **wrong, GENERATION=str(generation(cluster) + 1)),
        follow("SecretsRefused") as section,
    ):
        wait_until(lambda: all_tell(cluster, "secrets_refused", 1), "a refusal in every pod")
        history.scrape(5)
        history.expect(SecretsRefused=pods(cluster))
        shown = [json.loads(line) for line in section.see().splitlines() if line.startswith("{")]
        refused = [one["secrets"]["refused"] for one in shown if "secrets" in one]
        assert [one["key"] for one in refused] == ["DATABASE_PASSWORD"] * 2
        assert all(one["reason"] and one["since"] for one in refused)
        assert "password authentication failed" in str(shown)
        assert "a new one is made" in section.do()
        section.over(says_of_all("secrets_refused", 0))
    history.well(OVER)


def complain_of_the_node(cluster: Cluster, pod: str) -> None:
    """Say what the kubelet says if it can't write into a pod's volume: here it can."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{pod}.volumes"},
        "involvedObject": {"kind": "Pod", "name": pod, "namespace": cluster.namespace},
        "type": "Warning",
        "reason": "FailedMount",
        "message": 'MountVolume.SetUp failed for volume "secrets"',
        "firstTimestamp": now,
        "lastTimestamp": now,
    }
    cluster.kubectl("create", "--filename", "-", stdin=json.dumps(event))


def test_a_pod_can_not_read_what_another_has(
    cluster: Cluster, history: History, follow: Follow
) -> None:
    pod, other = cluster.pods("service")
    good = generation(cluster)
    with (
        unreadable_secret(cluster, pod),
        changed(cluster, "flask-app-secrets", GENERATION=str(good + 1)),
        follow("PodBehind") as section,
    ):
        wait_until(
            lambda: cluster.metric(other, "secrets_generation") == good + 1,
            "the new generation in the other pod",
        )
        # each pod looks at its own pace
        wait_until(lambda: cluster.metric(pod, "secrets_refused") == 1, "the refusal in this pod")
        assert cluster.metric(pod, "secrets_generation") == good
        history.scrape(15)
        history.expect(PodBehind=[{"pod": pod}], SecretsRefused=[{"pod": pod}])
        complain_of_the_node(cluster, pod)
        shown = section.see()
        assert told(shown, "secrets_generation") == {pod: good, other: good + 1}
        assert told(shown, "secrets_refused") == {pod: 1, other: 0}
        assert re.search(rf"^\[pod/{pod}/service\] .*secrets not adopted.*SECRET_KEY", shown, re.M)
        assert re.search(rf"FailedMount +pod/{pod} +MountVolume", shown)
        assert f'"{pod}" deleted' in section.do()
        assert cluster.pods("service") != [pod, other]
        section.over(says_of_all("secrets_generation"))
        assert "rotated" in section.inline("make rotate")
    history.well(OVER)


def fail_everywhere(cluster: Cluster) -> None:
    """Read until every pod failed to open a connection."""
    metric = LOGIN_FAILURES
    before = {pod: cluster.metric(pod, metric) for pod in cluster.pods("service")}

    def have_failed() -> bool:
        with suppress(urllib.error.HTTPError):
            cluster.request(READ)
        return all(cluster.metric(pod, metric) > count for pod, count in before.items())

    wait_until(have_failed, "every pod without a connection")


#: The blocks that end it, in the order of the page.
AUTHORITY_IS_ANOTHER, DATABASE_IS_AWAY = 0, 1


def is_served(shown: str) -> bool:
    """Tell whether the page is served, and whether two pods show how often they have failed."""
    return "200" in shown.splitlines() and len(told(shown, LOGIN_FAILURES)) == 2


def test_the_database_is_away(cluster: Cluster, history: History, follow: Follow) -> None:
    scale = ("scale", "statefulset/flask-app-database", "--replicas")
    cluster.kubectl(*scale, "0")
    try:
        with follow("DatabaseLoginsFail") as section:
            for _ in range(3):
                fail_everywhere(cluster)
                history.scrape(5)
            history.expect(DatabaseLoginsFail=[{}])
            shown = section.see()
            assert min(told(shown, LOGIN_FAILURES).values()) > 0
            assert re.search("failed to resolve host|Connection refused|timeout expired", shown)
            assert "statefulset.apps/flask-app-database   0/0" in shown
            assert "0 desired | 0 total" in section.inline("kubectl describe statefulset")
            assert "scaled" in section.do(DATABASE_IS_AWAY)
            counted = told(section.over(is_served), LOGIN_FAILURES)
            assert told(section.over(is_served), LOGIN_FAILURES) == counted
    finally:
        cluster.kubectl(*scale, "1")
        cluster.wait_until_ready()
    history.well(OVER)


#: In the database's pod: it needs no password, and no certificate that the pods trust.
END_SESSIONS = """
for process in /proc/[0-9]*; do
  ! grep -q 'postgres[:] flask_app_' "$process/cmdline" ||
    kill "${process#/proc/}"
done
"""


def end_sessions(cluster: Cluster) -> None:
    """End the service's sessions, or its pods need no new ones."""
    cluster.kubectl("exec", "flask-app-database-0", "--", "sh", "-c", END_SESSIONS)


def test_the_database_has_a_stranger_s_authority(
    cluster: Cluster, history: History, follow: Follow
) -> None:
    """The pods are given it, too, and trust nothing that the database has."""
    stranger = new_authority("nobody").certificate
    with (
        changed(cluster, "flask-app-database-tls", **{"ca.crt": stranger}),
        follow("DatabaseLoginsFail") as section,
    ):
        end = expires_at(stranger)
        wait_until(
            lambda: all_tell(cluster, "database_ca_expiry_timestamp_seconds", end),
            "the other authority in every pod",
        )
        end_sessions(cluster)
        fail_everywhere(cluster)
        assert "certificate verify failed" in section.see()
        assert "patched" in section.do(AUTHORITY_IS_ANOTHER)
        section.over(is_served)
    history.well(OVER)


def test_somebody_locked_the_role(cluster: Cluster, follow: Follow) -> None:
    user = cluster.secret("flask-app-secrets")["DATABASE_USERNAME"].reveal()
    cluster.sql(f"ALTER ROLE {user} NOLOGIN")
    try:
        end_sessions(cluster)
        fail_everywhere(cluster)
        with follow("DatabaseLoginsFail") as section:
            assert "not permitted to log in" in section.see()
            with follow("SecretsRefused") as keeper_looks:
                assert "database prepared" in keeper_looks.do()
            section.over(is_served)
    finally:
        cluster.sql(f"ALTER ROLE {user} LOGIN")


BROKEN = 'database_connections_lost_total{reason="broken"}'


def lose_everywhere(cluster: Cluster) -> None:
    """End the service's sessions until every pod has met one that was gone."""
    before = {pod: cluster.metric(pod, BROKEN) for pod in cluster.pods("service")}

    def have_lost() -> bool:
        end_sessions(cluster)
        with suppress(urllib.error.HTTPError):
            cluster.request(READ)
        return all(cluster.metric(pod, BROKEN) > count for pod, count in before.items())

    wait_until(have_lost, "the loss of every connection")


def test_the_database_ends_sessions_again_and_again(
    cluster: Cluster, history: History, follow: Follow
) -> None:
    with follow("DatabaseConnectionsLost") as section:
        for _ in range(4):
            lose_everywhere(cluster)
            history.scrape(4)
        history.expect(DatabaseConnectionsLost=[{"reason": "broken"}])
        assert min(told(section.see(), re.escape(BROKEN)).values()) > 0
        assert "terminating connection due to administrator command" in section.do()
        section.over(lambda shown: len(told(shown, re.escape(BROKEN))) == 2)
    history.well(OVER)


def test_a_secret_is_logged(cluster: Cluster, history: History, follow: Follow) -> None:
    """Somebody pastes it into a URL, and the access log has the path."""
    password = cluster.secret("flask-app-secrets")["DATABASE_PASSWORD"]
    before = {pod: cluster.metric(pod, "log_redactions_total") for pod in cluster.pods("service")}
    with pytest.raises(urllib.error.HTTPError, match="404"):
        cluster.request(f"/{password.reveal()}")
    (pod,) = (pod for pod in before if cluster.metric(pod, "log_redactions_total") > before[pod])
    history.scrape(5)
    history.expect(SecretRedacted=[{"pod": pod}])
    with follow("SecretRedacted") as section:
        shown = section.see()
        assert told(shown, "log_redactions_total")[pod] > before[pod]
        (line,) = {line for line in shown.splitlines() if "GET /[redacted] 404" in line}
        assert {"time", "logger"} <= json.loads(line).keys()
        assert Needles([password]).find(shown.encode()) == set()
        done = section.do()
        assert "rotated" in done
        assert " clean, 0 with findings, 0 unreadable" in done
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


def ended(shown: str) -> float:
    """Return the end that openssl prints, as the metric has it."""
    (end,) = re.findall("^notAfter=(.*) GMT$", shown, re.MULTILINE)
    return datetime.strptime(end, "%b %d %H:%M:%S %Y").replace(tzinfo=UTC).timestamp()


def test_certificates_near_their_end(cluster: Cluster, history: History, follow: Follow) -> None:
    authority = cluster.secret("flask-app-ca")
    key = authority["tls.key"].reveal()
    parts = {
        "tls_certificate_expiry_timestamp_seconds": ("flask-app-tls", "tls.crt"),
        "database_ca_expiry_timestamp_seconds": ("flask-app-database-tls", "ca.crt"),
    }
    good = {name: cluster.secret(secret)[file].reveal() for name, (secret, file) in parts.items()}
    short = {name: shortened(certificate, key) for name, certificate in good.items()}
    first, second = parts

    def wait_for(name: str) -> None:
        end = expires_at(short[name])
        wait_until(partial(all_tell, cluster, name, end), f"{name} with the value {end}")

    before = served(cluster)
    with (
        changed(cluster, parts[first][0], **{parts[first][1]: short[first]}),
        follow("CertificateEnds") as section,
    ):
        wait_for(first)
        assert not served(cluster) & before, "the certificate is not the one that is served"
        history.scrape(15)
        history.expect(CertificateEnds=[{}])
        shown = section.see()
        assert set(told(shown, first).values()) == {expires_at(short[first])}
        assert ended(shown) == expires_at(short[first])
        assert re.search(r"SUSPEND .*\n\S*flask-app-keeper ", shown)
        assert '"message": "' in shown
        assert "flask-app-tls renewed" in section.do()
        section.over(lambda shown: min(told(shown, first).values()) > expires_at(short[first]))
    history.well(OVER)
    with (
        changed(cluster, parts[second][0], **{parts[second][1]: short[second]}),
        follow("DatabaseAuthorityEnds") as section,
    ):
        wait_for(second)
        history.scrape(15)
        history.expect(DatabaseAuthorityEnds=[{}])
        shown = section.see()
        assert set(told(shown, second).values()) == {expires_at(short[second])}
        assert ended(shown) == expires_at(short[second])
        assert "authority seen" in section.do()
        section.over(lambda shown: min(told(shown, second).values()) > expires_at(good[second]))
    cluster.request(READ)  # which trusts the page's copy alone
    history.well(OVER)
    later = start(cluster, "run", SESSION_LIFETIME_SECONDS="1")
    assert later.succeeds(), later.log()


#: cert-manager's own is not needed to show one.
DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "certificates.cert-manager.io"},
    "spec": {
        "group": "cert-manager.io",
        "names": {"kind": "Certificate", "plural": "certificates", "singular": "certificate"},
        "scope": "Namespaced",
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "x-kubernetes-preserve-unknown-fields": True,
                    }
                },
            }
        ],
    },
}


def test_cert_manager_says_why_it_does_not_renew(cluster: Cluster, follow: Follow) -> None:
    """In the status of the chart's Certificate, which a stand-in writes here."""
    (certificate,) = (
        one
        for one in rendered(cluster, "Certificate", "tls.source=cert-manager")
        if one["spec"]["secretName"] == "flask-app-tls-issued"
    )
    why = "the issuer does not answer"
    certificate["status"] = {"conditions": [{"type": "Ready", "status": "False", "message": why}]}
    cluster.kubectl("create", "--filename", "-", stdin=json.dumps(DEFINITION))
    try:
        established = ("--for=condition=Established", "--timeout=60s", "--filename", "-")
        cluster.kubectl("wait", *established, stdin=json.dumps(DEFINITION))
        cluster.kubectl("create", "--filename", "-", stdin=json.dumps(certificate))
        with follow("CertificateEnds") as section:
            assert why in section.inline("kubectl describe certificate")
    finally:
        cluster.kubectl("delete", "--filename", "-", stdin=json.dumps(DEFINITION))


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


def test_the_keeper_fails(cluster: Cluster, history: History, follow: Follow) -> None:
    # no role lets it read that Secret
    nowhere = {"SERVICE_SECRET": "flask-app-nowhere"}
    with (
        keeper(cluster, int(time.time() / 60) - 1, **nowhere) as failed,
        follow("KeeperJobFailed") as section,
    ):
        assert not failed.succeeds(), "nobody noticed"
        history.scrape(5)
        history.expect(KeeperJobFailed=[{"job_name": failed.name}])
        shown = section.see()
        assert re.search(rf"^{failed.name} +Failed ", shown, re.MULTILINE)
        assert re.search(rf"{failed.name}-.*can't get the Secret.*flask-app-nowhere", shown)
        assert "403 Forbidden" in shown
        allowed = section.inline("kubectl describe role")
        assert "flask-app-secrets" in allowed
        assert "nowhere" not in allowed
        assert "condition met" in section.do()
        # the one that failed is still there
        history.well(OVER)


def test_no_pod_is_there(cluster: Cluster, history: History, follow: Follow) -> None:
    scale = ("scale", "deployment/flask-app", "--replicas")
    cluster.kubectl(*scale, "0")
    try:
        # one that ends still answers
        cluster.kubectl("wait", "pods", "--selector", SERVICE, "--for=delete", "--timeout=60s")
        history.scrape(15)
        history.expect(MetricsAbsent=[TARGET])
        with follow("MetricsAbsent") as section:
            shown = section.see()
            assert "No resources found" in shown
            assert re.search(
                r"^flask-app-metrics-\S+ +IPv\S+ .*<un(set|known)>", shown, re.MULTILINE
            )
            assert told(shown, "secrets_generation") == {}
            described = section.inline("kubectl describe deployment")
            assert "0 desired" in described
            assert "Scaled down replica set" in described
            assert "successfully rolled out" in section.do()
            # Prometheus' own page is no part of this cluster
            assert len(told(section.see(), "secrets_generation")) == 2
    finally:
        cluster.kubectl(*scale, "2")
        cluster.wait_until_ready()
    history.well(OVER)


def test_a_rotation_and_a_rolling_update_raise_nothing(
    cluster: Cluster, history: History, follow: Follow
) -> None:
    job = start(cluster, "rotate")
    deadline = time.monotonic() + 120
    while "completionTime" not in cluster.kubectl("get", "job", job.name, "--output", "json"):
        assert time.monotonic() < deadline, job.log()
        # a second or two, and a minute for the rules: as slow as at the kubelet's default pace
        history.well(1)
    old = set(cluster.pods("service"))
    with follow("PodBehind") as section:
        assert "restarted" in section.inline("kubectl rollout restart")
    while old & set(cluster.pods("service")):
        assert time.monotonic() < deadline, "an old pod stays"
        history.well(1)
    history.well(OVER)


def test_nothing_of_the_runbook_is_left(runbook: Runbook) -> None:
    """The last one in this file: the others have run what they read from it."""
    assert runbook.left() == []
