"""What Prometheus would have seen of the cluster, minute by minute.

The pods are scraped through the API server, and Prometheus' own engine gets what they said. It is
told that a scrape was the same for several minutes: nobody waits for hours here. What Prometheus
knows of Jobs is kube-state-metrics' word, which is not part of the cluster: `of_job` stands in for
it, and says the same of a Job that is really there.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.promtool import Rule, complaints
from tools.cluster.client import Cluster

#: What Prometheus knows of every pod.
TARGET = {"namespace": "flask-app", "job": "flask-app-metrics"}

SERVICE = "app.kubernetes.io/component=service"

DAY = 86_400

Labels = Mapping[str, str]


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
        found = complaints(folder, rules, series, self._asked, self._firing)
        assert not found, found


def is_time(series: str) -> bool:
    """Tell whether its values are points in time."""
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
    """Return its name as Prometheus writes it."""
    inside = ",".join(f"{name}={json.dumps(value)}" for name, value in sorted(labels.items()))
    return f"{name}{{{inside}}}"


def of_jobs(cluster: Cluster) -> dict[str, float]:
    """Return what would be told of every Job."""
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
