"""The alerts as they are rendered; test_alerts.py has when they fire."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from keeper.certificates import AUTHORITY_LIFETIME, CERTIFICATE_LIFETIME
from tests.chart.conftest import EXISTING, ISSUED, OWN_DATABASE, Object, Render, Rendered
from tests.mount import Mount
from tests.promtool import check_rules, needs_promtool
from tests.whole import whole_service

TEMPLATE = "prometheusrule.yaml"

ALERTS = (
    "SecretsTooOld SecretsFromTheFuture SecretsRefused PodBehind DatabaseLoginsFail "
    "DatabaseConnectionsLost SecretRedacted CertificateEnds DatabaseAuthorityEnds KeeperJobFailed "
    "MetricsAbsent"
).split()

#: What kube-state-metrics tells of Jobs, as far as the rules ask for it.
OF_JOBS = {"kube_job_failed", "kube_job_status_start_time", "kube_job_status_completion_time"}

SELECTOR = re.compile(r'(\w+)\{((?:[^{}"]|"[^"]*")*)\}')

MONITORS = pytest.mark.parametrize("monitor", ["serviceMonitor", "podMonitor"])


def alerted(render: Render, monitor: str = "serviceMonitor", **values: Any) -> Rendered:
    rule = {"enabled": True} | values.pop("rule", {})
    return render(monitoring={monitor: {"enabled": True}, "prometheusRule": rule}, **values)


def rules(rendered: Rendered) -> dict[str, Object]:
    (group,) = rendered.one("PrometheusRule")["spec"]["groups"]
    return {rule["alert"]: rule for rule in group["rules"]}


def selectors(expression: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Return each metric that an expression asks for, and the labels by which it does."""
    for metric, inside in SELECTOR.findall(expression):
        yield metric, dict(re.findall(r'(\w+)(?:=|=~)"([^"]*)"', inside))


def test_nothing_is_rendered_by_default(render: Render) -> None:
    assert render().templates[TEMPLATE] == []


def test_it_is_one_object_with_every_alert(render: Render) -> None:
    rendered = alerted(render)
    assert rendered.names(TEMPLATE) == ["PrometheusRule/flask-app"]
    assert list(rules(rendered)) == ALERTS


@MONITORS
@needs_promtool
def test_promtool_finds_no_fault(render: Render, tmp_path: Path, monitor: str) -> None:
    assert check_rules(tmp_path, rules(alerted(render, monitor)).values()) == ""


@needs_promtool
def test_promtool_would_find_a_fault(tmp_path: Path) -> None:
    assert "parse error" in check_rules(tmp_path, [{"alert": "A", "expr": "sum by ("}])


def test_each_alert_has_a_severity_and_says_what_to_look_at(render: Render) -> None:
    for name, rule in rules(alerted(render)).items():
        assert rule["labels"]["severity"] in ("warning", "critical"), name
        assert rule["annotations"].keys() == {"summary", "description"}, name
        assert "Look " in rule["annotations"]["description"], name


def test_each_alert_leads_to_its_section_of_the_runbook(render: Render) -> None:
    url = "https://git.example.org/shop/docs/runbook.md"
    for name, rule in rules(alerted(render, rule={"runbookURL": url})).items():
        assert rule["annotations"]["runbook_url"] == f"{url}#{name.lower()}"


def test_labels_of_the_teams_own_are_on_each_alert(render: Render) -> None:
    before = rules(alerted(render))
    for name, rule in rules(alerted(render, rule={"alertLabels": {"team": "shop"}})).items():
        assert rule["labels"] == before[name]["labels"] | {"team": "shop"}


def job_label(rendered: Rendered) -> str:
    """Return the label `job` that the Prometheus Operator gives to what is scraped."""
    kinds = {one["kind"] for one in rendered.objects}
    if "PodMonitor" in kinds:
        metadata = rendered.one("PodMonitor")["metadata"]
        return f"{metadata['namespace']}/{metadata['name']}"
    port = rendered.one("ServiceMonitor")["spec"]["endpoints"][0]["port"]
    (service,) = (
        one
        for one in rendered.of_kind("Service")
        if port in {each["name"] for each in one["spec"]["ports"]}
    )
    return str(service["metadata"]["name"])


@MONITORS
@pytest.mark.parametrize("names", [{}, {"fullnameOverride": "notes"}, {"nameOverride": "notes"}])
def test_each_metric_is_asked_for_of_this_release_alone(
    render: Render, monitor: str, names: dict[str, Any]
) -> None:
    rendered = alerted(render, monitor, **names)
    release = {"namespace": "shop", "job": job_label(rendered)}
    jobs = {"namespace": "shop", "job_name": f"{rendered.fullname}-keeper-[0-9a-f]{{8,}}"}
    for name, rule in rules(rendered).items():
        found = list(selectors(rule["expr"]))
        assert found, name
        # outside of these, no metric is named
        rest = SELECTOR.sub("", rule["expr"])
        assert not re.search(r"secrets_|database_|log_|kube_|tls_|http_", rest), name
        for metric, labels in found:
            wanted = jobs if metric in OF_JOBS else release
            assert wanted.items() <= labels.items(), name


def test_each_metric_is_one(
    render: Render, tmp_path: Path, mount: Mount, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = whole_service(tmp_path, mount, monkeypatch).extensions["metrics"].registry
    told = {sample.name for family in registry.collect() for sample in family.samples}
    asked = {
        metric for rule in rules(alerted(render)).values() for metric, _ in selectors(rule["expr"])
    }
    assert len(asked) > 8
    assert asked - told == OF_JOBS


@pytest.mark.parametrize("release", ["flask-app", "a" * 53])
def test_the_keepers_jobs_are_found_by_their_names(render: Render, release: str) -> None:
    rendered = alerted(render, release=release)
    labels = dict(selectors(rules(rendered)["KeeperJobFailed"]["expr"]))["kube_job_failed"]
    # as the CronJob's controller calls them: by the minute
    of_cron_job = f"{rendered.one('CronJob')['metadata']['name']}-29384757"
    found = [rendered.one("Job")["metadata"]["name"], of_cron_job]
    others = ["b-flask-app-keeper-29384757", "flask-app-rotate-1764133200", "flask-app-keeper"]
    assert [name for name in found + others if re.fullmatch(labels["job_name"], name)] == found


@pytest.mark.parametrize(
    ("values", "is_there"),
    [
        (OWN_DATABASE | {"secrets": {"source": "existing", "existingSecret": "a"}}, True),
        (
            {
                "postgresql": {"enabled": False},
                "secrets": {"source": "existing", "existingSecret": "a"},
            }
            | {"database": {"host": "db.example.org", "caConfigMap": "db-ca"}}
            | EXISTING,
            False,
        ),
    ],
)
def test_of_a_keeper_that_does_not_run_nothing_is_asked(
    render: Render, values: dict[str, Any], is_there: bool
) -> None:
    assert ("KeeperJobFailed" in rules(alerted(render, **values))) == is_there


@pytest.mark.parametrize(
    ("alert", "values", "words"),
    [
        (
            "SecretsTooOld",
            {"secrets": {"source": "existing", "existingSecret": "a"}},
            "source is existing",
        ),
        (
            "SecretsFromTheFuture",
            {"secrets": {"source": "existing", "existingSecret": "a"}},
            "source is existing",
        ),
        ("DatabaseConnectionsLost", OWN_DATABASE, "the database db.example.org"),
        ("CertificateEnds", ISSUED, "kubectl --namespace shop describe certificate flask-app"),
        ("CertificateEnds", EXISTING, "whoever fills the Secret shop-tls"),
        ("DatabaseAuthorityEnds", OWN_DATABASE, "whoever runs the database db.example.org"),
    ],
)
def test_who_is_to_be_asked_follows_from_who_does_it(
    render: Render, alert: str, values: dict[str, Any], words: str
) -> None:
    description = rules(alerted(render, **values))[alert]["annotations"]["description"]
    assert words in description
    assert "keeper" not in description


def test_the_keeper_renews_long_before_a_certificates_end_is_told(render: Render) -> None:
    """At two thirds of its life."""
    for alert, lifetime in (
        ("CertificateEnds", CERTIFICATE_LIFETIME),
        ("DatabaseAuthorityEnds", AUTHORITY_LIFETIME),
    ):
        (seconds,) = re.findall(r"< (\d+)$", rules(alerted(render))[alert]["expr"])
        assert timedelta(days=14) < timedelta(seconds=int(seconds)) < lifetime / 3 / 2
