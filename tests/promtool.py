"""Prometheus' own tool, where it is installed: it checks metrics, and its engine runs rules."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

needs_promtool = pytest.mark.skipif(
    not shutil.which("promtool"),
    reason="promtool is not installed: it comes with Prometheus (apt-get install prometheus)",
)

Rule = dict[str, Any]

#: Samples of series, one a minute, by their names with labels; None: a scrape that found nothing.
Series = Mapping[str, list[float | None]]

#: Which alerts fire, as their labels, by minute and name.
Firing = Mapping[tuple[int, str], list[dict[str, str]]]

#: Between two scrapes, and between two looks at the rules: Prometheus' own default.
INTERVAL = "1m"


def promtool(*arguments: str, stdin: str = "") -> str:
    """Run it, and return what it complained about: nothing, if all is well.

    Some of its complaints don't change its exit status.
    """
    done = subprocess.run(
        ["promtool", *arguments], input=stdin, capture_output=True, text=True, timeout=300
    )
    # what was found to be in order stands in the standard output
    return done.stderr + (done.stdout if done.returncode else "")


def check_rules(folder: Path, rules: Iterable[Rule]) -> str:
    """Return what promtool says against rules."""
    return promtool("check", "rules", str(_write(folder, "rules", _group(rules))))


def complaints(
    folder: Path, rules: Iterable[Rule], series: Series, minutes: Iterable[int], firing: Firing
) -> str:
    """Return where rules fire, at some minutes from the first sample on, as they should not.

    Every alert that `firing` does not name has to be quiet.
    """
    # what they say is another matter; here it would have to be repeated in full
    bare = [{part: rule[part] for part in rule if part != "annotations"} for rule in rules]
    asked = [
        {
            "eval_time": f"{minute}m",
            "alertname": rule["alert"],
            "exp_alerts": [
                {"exp_labels": labels} for labels in firing.get((minute, rule["alert"]), [])
            ],
        }
        for minute in minutes
        for rule in bare
    ]
    return _run(folder, bare, series, asked)


def misquoted(folder: Path, rule: Rule, series: Series, minute: int, alert: Rule) -> str:
    """Return where an alert that fires says something else than it should.

    :param alert: its `exp_labels` and `exp_annotations`.
    """
    asked = {"eval_time": f"{minute}m", "alertname": rule["alert"], "exp_alerts": [alert]}
    return _run(folder, [rule], series, [asked])


def _run(folder: Path, rules: Iterable[Rule], series: Series, asked: list[Rule]) -> str:
    assert asked
    test = {
        "interval": INTERVAL,
        "input_series": [
            {"series": name, "values": _values(samples)} for name, samples in series.items()
        ],
        "alert_rule_test": asked,
    }
    whole = {
        "rule_files": [str(_write(folder, "rules", _group(rules)))],
        "evaluation_interval": INTERVAL,
        "tests": [test],
    }
    return promtool("test", "rules", str(_write(folder, "tests", whole)))


def _group(rules: Iterable[Rule]) -> Rule:
    return {"groups": [{"name": "all", "rules": list(rules)}]}


def _values(samples: Iterable[float | None]) -> str:
    """Write samples in promtool's words; a series that is found no more ends at once."""
    words = []
    before: float | None = None
    for sample in samples:
        missing = "_" if before is None else "stale"
        words.append(missing if sample is None else f"{sample:.12g}")
        before = sample
    return " ".join(words)


def _write(folder: Path, name: str, content: Rule) -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps(content))  # which is YAML
    return path
