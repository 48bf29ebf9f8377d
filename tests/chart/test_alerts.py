"""Each alert fires in its fault, and stays quiet when all is well, by Prometheus' own engine.

A case says, for some series of two pods, in which minutes which alert fires: at every other minute
each of them has to be quiet. That the cases see a broken rule is tested, too.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.chart.conftest import Render
from tests.promtool import Rule, Series, complaints, misquoted, needs_promtool

pytestmark = needs_promtool

NAMESPACE = "shop"

#: The thresholds of these tests, in seconds: times begin at 0.
MAX_AGE = 6000
CERTIFICATE_END = 3600

#: How long most cases last, in minutes.
MINUTES = 100

#: When the secrets were made, and when everything else ends, in seconds.
MADE = 60.0
LATER = 10_000_000.0

#: Labels of a pod's metrics, as the Prometheus Operator makes them.
TARGETS = {
    "serviceMonitor": {
        "namespace": NAMESPACE,
        "job": "flask-app-metrics",
        "service": "flask-app-metrics",
    },
    "podMonitor": {"namespace": NAMESPACE, "job": f"{NAMESPACE}/flask-app"},
}

#: Why connections are lost: a label of `database_connections_lost_total`.
LOST = ("timeout", "read_only", "broken")

Samples = list[float | None]


def hold(value: float | None, minutes: int) -> Samples:
    """Return a value that stays."""
    return [value] * minutes


def pod(minutes: int = MINUTES, **turned: Samples) -> dict[str, Samples]:
    """Return the metrics of a pod that is well, but for some; its name is to come."""
    well = {
        "secrets_generation": MADE,
        "secrets_refused": 0,
        "adopted": 0,
        "rejected": 0,
        "log_redactions_total": 0,
        "database_login_failures_total": 0,
        **dict.fromkeys(LOST, 0),
        "tls_certificate_expiry_timestamp_seconds": LATER,
        "database_ca_expiry_timestamp_seconds": LATER,
    }
    return {name: turned.get(name, hold(value, minutes)) for name, value in well.items()}


class Job(NamedTuple):
    """A Job of the keeper, as kube-state-metrics tells of it; times in minutes."""

    started: int
    ended: int
    failed: bool
    name: str = "flask-app-keeper-29384757"
    namespace: str = NAMESPACE

    def series(self, minutes: int) -> dict[str, Samples]:
        labels = f'namespace="{self.namespace}",job_name="{self.name}"'
        before = hold(None, self.ended)
        rest = minutes - self.ended
        found = {
            f"kube_job_status_start_time{{{labels}}}": hold(None, self.started)
            + hold(self.started * 60.0, minutes - self.started)
        }
        outcome = "failed" if self.failed else "complete"
        for condition in ("true", "false", "unknown"):
            value = float(condition == "true")
            name = f'kube_job_{outcome}{{{labels},condition="{condition}"}}'
            found[name] = before + hold(value, rest)
        if not self.failed:
            done = f"kube_job_status_completion_time{{{labels}}}"
            found[done] = before + hold(self.ended * 60.0, rest)
        return found


class Fires(NamedTuple):
    """An alert that fires from one minute to another, the last one included."""

    alert: str
    first: int
    last: int
    labels: dict[str, str]


class Case(NamedTuple):
    """What pods and Jobs tell, and which alerts that raises."""

    name: str
    pods: dict[str, dict[str, Samples]]
    fires: tuple[Fires, ...] = ()
    jobs: tuple[Job, ...] = ()
    minutes: int = MINUTES


def case(name: str, *fires: Fires, jobs: tuple[Job, ...] = (), **turned: Samples) -> Case:
    """Return a case in which pod `a` differs in some metrics, and `b` is well."""
    return Case(name, {"a": pod(MINUTES, **turned), "b": pod()}, fires, jobs)


def both(name: str, *fires: Fires, minutes: int = MINUTES, **turned: Samples) -> Case:
    """Return a case in which two pods tell the same."""
    return Case(name, {one: pod(minutes, **turned) for one in "ab"}, fires, minutes=minutes)


def of_all(alert: str, first: int, last: int) -> Fires:
    return Fires(alert, first, last, {})


def of_lost(reason: str, first: int, last: int) -> Fires:
    return Fires("DatabaseConnectionsLost", first, last, {"reason": reason})


def of_pod(alert: str, first: int, last: int, pod: str = "a") -> Fires:
    return Fires(alert, first, last, {"pod": pod})


def of_job(first: int, last: int, job: Job) -> Fires:
    return Fires("KeeperJobFailed", first, last, {"job_name": job.name})


def between(well: float, fault: float, since: int, until: int) -> Samples:
    """Return a value that is another one for a while."""
    return hold(well, since) + hold(fault, until - since) + hold(well, MINUTES - until)


def counted(since: int, until: int, by: float = 1) -> Samples:
    """Return a counter that grows with every scrape for a while."""
    return [by * max(0, min(minute, until - 1) - since + 1) for minute in range(MINUTES)]


def generations(*changes: tuple[int, float], minutes: int = MINUTES) -> Samples:
    """Return generations, each from some minute on."""
    found = hold(MADE, minutes)
    for since, generation in changes:
        found[since:] = hold(generation, minutes - since)
    return found


def begun(minute: int, **turned: Samples) -> dict[str, Samples]:
    """Return the metrics of a pod that is there from some minute on."""
    metrics = pod(MINUTES - minute, **turned)
    return {name: hold(None, minute) + samples for name, samples in metrics.items()}


def away(minute: int, until: int = MINUTES) -> dict[str, Samples]:
    """Return the metrics of a pod that is not scraped for a while."""
    found = pod()
    for samples in found.values():
        samples[minute:until] = hold(None, until - minute)
    return found


FAILED = Job(20, 25, failed=True)
DONE = Job(40, 41, failed=False, name="flask-app-keeper-29384758")
FIRST = Job(1, 2, failed=False, name="flask-app-keeper-0a1b2c3d")

#: Two generations, which come to one pod two minutes after the other.
ROTATION = {
    "a": pod(
        secrets_generation=generations((20, 1200), (22, 1320)), adopted=between(0, 2, 20, 100)
    ),
    "b": pod(
        secrets_generation=generations((22, 1200), (24, 1320)), adopted=between(0, 2, 22, 100)
    ),
}

#: All is well.
QUIET = [
    case("nothing happens"),
    case("the keeper has nothing to do", jobs=(FIRST, DONE)),
    Case("a rotation", ROTATION, jobs=(FIRST, DONE)),
    Case(
        "a rolling update, whose pods fail until the network lets them through",
        {"a": away(40), "b": away(42)}
        | {
            name: begun(since, database_login_failures_total=[1.0, *hold(3, MINUTES - since - 1)])
            for name, since in (("c", 39), ("d", 41))
        },
    ),
    case(
        "a container starts again",
        rejected=hold(8, 30) + hold(0, 70),
        database_login_failures_total=hold(90, 30) + hold(1, 70),
    ),
    both("the database restarts", database_login_failures_total=counted(20, 23)),
    both("a failover", broken=counted(20, 24), read_only=counted(22, 25), timeout=counted(20, 26)),
    both(
        "a clock that is ahead a little",
        secrets_generation=[max(MADE, 60 * minute + 290) for minute in range(MINUTES)],
    ),
    both(
        "secrets that are not ahead for long",
        secrets_generation=generations((20, 1200 + 300 + 4 * 60)),
    ),
    both(
        "a password is taken at the second try",
        secrets_refused=between(0, 1, 20, 21),
        rejected=between(0, 3, 20, 100),
    ),
    both(
        "a certificate is swapped while it is read",
        tls_certificate_expiry_timestamp_seconds=between(LATER, 0, 20, 21),
        database_ca_expiry_timestamp_seconds=between(LATER, 0, 20, 21),
    ),
    Case("one of two pods is not scraped", {"a": pod(), "b": away(30)}),
    both("a source that does not say when", minutes=120, secrets_generation=hold(0, 120)),
]

#: The faults, each with what it raises.
FAULTS = [
    both(
        "nobody rotates for too long",
        of_all("SecretsTooOld", 107, 114),
        minutes=120,
        secrets_generation=generations((115, 6900), minutes=120),
    ),
    Case(
        "a pod stays behind, with secrets that are too old",
        {
            "a": pod(120, secrets_generation=generations(minutes=120)),
            "b": pod(120, secrets_generation=generations((20, 1200), minutes=120)),
        },
        (of_pod("PodBehind", 30, 119),),
        minutes=120,
    ),
    Case(
        "a pod comes late",
        {
            "a": pod(secrets_generation=generations((35, 1200))),
            "b": pod(secrets_generation=generations((20, 1200))),
        },
        (of_pod("PodBehind", 30, 34),),
    ),
    Case(
        "a clock was ahead by an hour when secrets were made",
        {"a": pod(secrets_generation=generations((20, 1200 + 3600))), "b": pod()},
        (of_all("SecretsFromTheFuture", 25, 74), of_pod("PodBehind", 30, 99, "b")),
    ),
    case(
        "a generation is refused",
        of_pod("SecretsRefused", 22, 29),
        secrets_refused=between(0, 1, 20, 30),
    ),
    case(
        "good and bad generations in turn",
        of_pod("SecretsRefused", 26, 38),
        secrets_refused=[float(20 <= minute < 30 and minute % 2 == 0) for minute in range(MINUTES)],
        rejected=counted(20, 30, by=2),
    ),
    both(
        "the database is away",
        of_all("DatabaseLoginsFail", 30, 43),
        database_login_failures_total=counted(20, 40, by=9),
    ),
    case(
        "a login fails in one pod, every few minutes",
        of_all("DatabaseLoginsFail", 34, 44),
        database_login_failures_total=[
            float(max(0, min(minute // 4, 10) - 5)) for minute in range(MINUTES)
        ],
    ),
    both(
        "connections are lost all the time",
        of_lost("timeout", 30, 43),
        timeout=counted(20, 40, by=3),
    ),
    case(
        "a pod reaches a standby every few minutes",
        of_lost("read_only", 34, 44),
        read_only=[float(max(0, min(minute // 4, 10) - 5)) for minute in range(MINUTES)],
    ),
    case(
        "something logs a secret",
        of_pod("SecretRedacted", 20, 79),
        log_redactions_total=between(0, 1, 20, 100),
    ),
    Case(
        "something logs a secret as a pod starts",
        {"a": pod(), "c": begun(20, log_redactions_total=hold(2, 80))},
        (of_pod("SecretRedacted", 20, 79, "c"),),
    ),
    both(
        "a certificate is not renewed",
        of_all("CertificateEnds", 41, 59),
        tls_certificate_expiry_timestamp_seconds=hold(5400, 60) + hold(LATER, 40),
    ),
    case(
        "a certificate can't be read in one pod",
        of_all("CertificateEnds", 30, 39),
        tls_certificate_expiry_timestamp_seconds=between(LATER, 0, 20, 40),
    ),
    both(
        "the database's authority is not renewed",
        of_all("DatabaseAuthorityEnds", 41, 59),
        database_ca_expiry_timestamp_seconds=hold(5400, 60) + hold(LATER, 40),
    ),
    case(
        "an authority can't be read in one pod",
        of_all("DatabaseAuthorityEnds", 30, 39),
        database_ca_expiry_timestamp_seconds=between(LATER, 0, 20, 40),
    ),
    case(
        "the keeper fails, and is done the next time",
        of_job(25, 40, FAILED),
        jobs=(FIRST, FAILED, DONE),
    ),
    case("the keeper was never done", of_job(25, 99, FAILED), jobs=(FAILED,)),
    Case(
        "no pod is scraped for a while",
        {"a": away(20, 40), "b": away(20, 40)},
        (of_all("MetricsAbsent", 30, 39),),
    ),
]


def series_of(one: Case, target: dict[str, str]) -> Series:
    """Return what Prometheus has of a case."""
    found: dict[str, Samples] = {}
    for name, metrics in one.pods.items():
        labels = target | {"pod": name, "container": "service", "endpoint": "metrics"}
        for metric, samples in metrics.items():
            family, own = metric, {}
            if metric in ("adopted", "rejected"):
                family, own = "secrets_reloads_total", {"result": metric}
            elif metric in LOST:
                family, own = "database_connections_lost_total", {"reason": metric}
            found[f"{family}{{{_written(labels | own)}}}"] = samples
    for job in one.jobs:
        found |= job.series(one.minutes)
    return found


def _written(labels: dict[str, str]) -> str:
    return ",".join(f'{name}="{value}"' for name, value in labels.items())


@pytest.fixture(scope="module")
def rules_of(render: Render) -> Callable[[str], list[Rule]]:
    """Return a function that renders the rules for the metrics of one kind of monitor."""

    def rules_of(monitor: str) -> list[Rule]:
        turned = {"enabled": True, "secretsMaxAge": MAX_AGE, "certificateEnd": CERTIFICATE_END}
        rendered = render(monitoring={monitor: {"enabled": True}, "prometheusRule": turned})
        (group,) = rendered.one("PrometheusRule")["spec"]["groups"]
        return list(group["rules"])

    return rules_of


def labels_of(fires: Fires, target: dict[str, str], rule: Rule) -> dict[str, str]:
    job = {} if fires.alert == "KeeperJobFailed" else {"job": target["job"]}
    labels: dict[str, str] = {"namespace": NAMESPACE} | job | fires.labels | rule["labels"]
    return labels


def complaints_of(folder: Path, rules: list[Rule], one: Case, target: dict[str, str]) -> str:
    """Return at which minutes rules fire, or are quiet, as they should not."""
    told = {rule["alert"]: rule for rule in rules}
    firing = {
        (minute, fires.alert): [labels_of(fires, target, told[fires.alert])]
        for fires in one.fires
        for minute in range(fires.first, fires.last + 1)
        if fires.alert in told
    }
    return complaints(folder, rules, series_of(one, target), range(one.minutes), firing)


@pytest.mark.parametrize("monitor", TARGETS)
@pytest.mark.parametrize("one", QUIET + FAULTS, ids=lambda one: one.name)
def test_what_fires(
    rules_of: Callable[[str], list[Rule]], tmp_path: Path, monitor: str, one: Case
) -> None:
    assert complaints_of(tmp_path, rules_of(monitor), one, TARGETS[monitor]) == ""


#: Jobs that are not this release's keeper's, by their namespace or by their name.
OTHER_JOBS = (
    *(one._replace(namespace="elsewhere") for one in (FAILED, FIRST)),
    FAILED._replace(name="flask-app-rotate-1764133200"),
    FAILED._replace(name="flask-app-b-keeper-29384757"),
    FAILED._replace(name="my-flask-app-keeper-29384757"),
    FAILED._replace(name="flask-app-keeper-test"),
)


def of_others(one: Case) -> Series:
    """Return the same fault of other releases, beside this one, which is well."""
    target = TARGETS["serviceMonitor"]
    well = pod(one.minutes, secrets_generation=[60.0 * minute for minute in range(one.minutes)])
    found = dict(series_of(Case("", {"a": well}, minutes=one.minutes), target))
    for other in ({"namespace": "elsewhere"}, {"job": f"{target['job']}-b"}):
        found |= series_of(one._replace(jobs=OTHER_JOBS), target | other)
    return found


@pytest.mark.parametrize("one", FAULTS, ids=lambda one: one.name)
def test_a_fault_of_another_release_is_not_told(
    rules_of: Callable[[str], list[Rule]], tmp_path: Path, one: Case
) -> None:
    rules = rules_of("serviceMonitor")
    assert complaints(tmp_path, rules, of_others(one), range(one.minutes), {}) == ""


#: What can be broken in each rule, as a piece of it and what takes its place.
BREAKS = {
    "SecretsTooOld": [
        ("> 6000", "> 60000"),
        ("> 6000", "< 6000"),
        ("> 0)", ")"),
        ("max by", "min by"),
        ("5m", "0s"),
    ],
    "SecretsFromTheFuture": [
        ("> 300", "> 3000"),
        ("> 300", "> 0"),
        ("> 300", "< 300"),
        ("max by", "min by"),
        ("5m", "0s"),
        ("5m", "30m"),
    ],
    "SecretsRefused": [
        ("== 1", "== 2"),
        ("== 1", "== 0"),
        ("> 10", "> 100"),
        ("> 10", "> 1"),
        ("rejected", "adopted"),
        ("2m", "0s"),
        ("2m", "20m"),
    ],
    "PodBehind": [("< on", "> on"), ("10m", "1m"), ("10m", "20m")],
    "DatabaseLoginsFail": [
        ("> 0", ">= 0"),
        ("> 0", "> 1000"),
        ("[5m]", "[2m]"),
        ("10m", "5m"),
        ("10m", "1h"),
    ],
    "DatabaseConnectionsLost": [
        ("> 0", ">= 0"),
        ("> 0", "> 1000"),
        (", reason", ""),
        ("[5m]", "[2m]"),
        ("10m", "5m"),
        ("10m", "1h"),
    ],
    "SecretRedacted": [
        ("[1h])) > 0", "[1h])) > 9"),
        ("[1h])) > 0", "[1h])) >= 0"),
        ("}) > 0", "}) > 9"),
        ("unless", "and"),
        ("[1h] offset 1h", "[1h] offset 2h"),
    ],
    "CertificateEnds": [
        ("< 3600", "< 36000"),
        ("< 3600", "> 3600"),
        ("< 3600", "< 60"),
        ("min by", "max by"),
        ("10m", "0s"),
    ],
    "DatabaseAuthorityEnds": [
        ("< 3600", "< 36000"),
        ("< 3600", "> 3600"),
        ("< 3600", "< 60"),
        ("min by", "max by"),
        ("10m", "0s"),
    ],
    "KeeperJobFailed": [
        ('"true"', '"false"'),
        ("== 1", "== 0"),
        ("> on", "< on"),
        ("* 0", "* 2"),
        ("kube_job_status_completion_time", "kube_job_created"),
    ],
    "MetricsAbsent": [("secrets_generation", "no_metric"), ("10m", "1m"), ("10m", "30m")],
}


def broken(rule: Rule, old: str, new: str) -> Rule:
    """Return a rule in which a piece of its expression, or how long it waits, is another."""
    where = "for" if rule.get("for") == old else "expr"
    assert old in rule[where], f"{rule['alert']} has no {old}"
    return rule | {where: rule[where].replace(old, new)}


def rule_of(rules: list[Rule], alert: str) -> Rule:
    return next(rule for rule in rules if rule["alert"] == alert)


@pytest.mark.parametrize(
    ("alert", "old", "new"), [(name, *pair) for name, pairs in BREAKS.items() for pair in pairs]
)
def test_a_broken_rule_is_noticed(
    rules_of: Callable[[str], list[Rule]], tmp_path: Path, alert: str, old: str, new: str
) -> None:
    rule = broken(rule_of(rules_of("serviceMonitor"), alert), old, new)
    # its own faults first: one that sees it is enough
    cases = sorted(FAULTS, key=lambda one: alert not in {fires.alert for fires in one.fires})
    target = TARGETS["serviceMonitor"]
    assert any(complaints_of(tmp_path, [rule], one, target) for one in cases + QUIET)


def test_every_rule_is_broken(rules_of: Callable[[str], list[Rule]]) -> None:
    assert [rule["alert"] for rule in rules_of("serviceMonitor")] == list(BREAKS)


@pytest.mark.parametrize("alert", BREAKS)
@pytest.mark.parametrize("part", ["namespace", "name"])
def test_a_rule_that_asks_for_other_releases_is_noticed(
    rules_of: Callable[[str], list[Rule]], tmp_path: Path, alert: str, part: str
) -> None:
    rule = rule_of(rules_of("serviceMonitor"), alert)
    name = re.escape(',job="flask-app-metrics"') + '|,job_name=~"[^"]+"'
    selector = re.escape('namespace="shop",') if part == "namespace" else name
    wider = rule | {"expr": re.sub(selector, "", rule["expr"])}
    assert wider != rule
    # others are well where this release is away, or else it is the other way round
    fault = next(one for one in FAULTS if alert in {fires.alert for fires in one.fires})
    series, firing = of_others(fault), {}
    if alert == "MetricsAbsent":
        own = series_of(QUIET[0], TARGETS["serviceMonitor"])
        series = {name: samples for name, samples in of_others(QUIET[0]).items() if name not in own}
        firing = {
            (minute, alert): [labels_of(of_all(alert, 10, 99), TARGETS["serviceMonitor"], rule)]
            for minute in range(10, MINUTES)
        }
        assert complaints(tmp_path, [rule], series, range(MINUTES), firing) == ""
    assert complaints(tmp_path, [wider], series, range(fault.minutes), firing) != ""


JOBS = (
    "kubectl --namespace shop get jobs --selector "
    "app.kubernetes.io/instance=flask-app,app.kubernetes.io/component=keeper"
)

#: What each alert says in one of its faults: where to look.
SAYS = {
    # pragma: allowlist nextline secret
    "SecretsTooOld": "They were made 1h 46m 0s ago, and nobody has rotated them since. Look at the "
    f"keeper's Jobs: {JOBS}",
    # pragma: allowlist nextline secret
    "SecretsFromTheFuture": "Their time comes in 55m 0s: the clock of whoever made them was ahead. "
    "Until then they count as new, and are not rotated when they should be. Look at the clock of "
    f"the node that ran the keeper's last Job: {JOBS}",
    # pragma: allowlist nextline secret
    "SecretsRefused": "a goes on with the last good ones; a pod that starts now may not start at "
    "all. Look at GET /status of flask-app, "
    "which names the key and the reason under refused.",
    "PodBehind": "a still has those of 1970-01-01 00:01:00 +0000 UTC, which can't be revoked so "
    "long. Look at its log and at its events: kubectl --namespace shop describe pod a",
    "DatabaseLoginsFail": "2 of its pods failed all the time. Look at their logs, which have what "
    "the database said: it is away, or the login was changed there.",
    "DatabaseConnectionsLost": "30 in five minutes, for the reason timeout. A request that had one "
    "of them may have failed, and those after it wait for new ones. Look at what is between the "
    "pods and the database's pod: kubectl --namespace shop describe pod "
    "flask-app-database-0",
    # pragma: allowlist nextline secret
    "SecretRedacted": "It was taken out of the line before that was written. Look for [redacted] "
    "in the log of a: the line's logger says who wrote it.",
    "CertificateEnds": f"It ends in 49m 0s. Look at the keeper's Jobs: {JOBS}",
    "DatabaseAuthorityEnds": "The last of those that its pods trust ends in 49m 0s. Look at the "
    f"keeper's Jobs: {JOBS}",
    "KeeperJobFailed": "What it left unfinished stays as it is, and old secrets stay valid. Look "
    "at its last words: kubectl --namespace shop logs job/flask-app-keeper-29384757",
    "MetricsAbsent": "None of the other alerts about its secrets can fire. Look whether there are "
    "pods, and whether networkPolicy.monitoring lets Prometheus through to port 9090.",
}

#: And of what can't be read.
UNREADABLE = {
    "CertificateEnds": f"It is over, or can't be read. Look at the keeper's Jobs: {JOBS}",
    "DatabaseAuthorityEnds": "The last of those that its pods trust is over, or can't be read. "
    f"Look at the keeper's Jobs: {JOBS}",
}


@pytest.mark.parametrize(
    ("alert", "number", "description"),
    [
        *((alert, 0, description) for alert, description in SAYS.items()),
        *((alert, 1, description) for alert, description in UNREADABLE.items()),
    ],
)
def test_what_an_alert_says(
    rules_of: Callable[[str], list[Rule]],
    tmp_path: Path,
    alert: str,
    number: int,
    description: str,
) -> None:
    rule = rule_of(rules_of("serviceMonitor"), alert)
    faults = [(one, each) for one in FAULTS for each in one.fires if each.alert == alert]
    one, fires = faults[number]
    target = TARGETS["serviceMonitor"]
    says = {
        "exp_labels": labels_of(fires, target, rule),
        "exp_annotations": {
            "summary": rule["annotations"]["summary"],
            "description": description,
        },
    }
    assert misquoted(tmp_path, rule, series_of(one, target), fires.first, says) == ""
