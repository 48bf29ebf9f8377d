"""docs/dashboard.json can be imported, and asks for metrics that are there."""

from __future__ import annotations

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from tests.chart.test_prometheusrule import OF_JOBS, SELECTOR
from tests.mount import Mount
from tests.promtool import check_rules, needs_promtool
from tests.whole import whole_service

Panel = dict[str, Any]

DASHBOARD: Panel = json.loads(
    (Path(__file__).parents[2] / "docs" / "dashboard.json").read_text("utf-8")
)
PANELS: list[Panel] = DASHBOARD["panels"]
EXPRESSIONS: list[str] = [target["expr"] for panel in PANELS for target in panel["targets"]]
VARIABLES: list[Panel] = DASHBOARD["templating"]["list"]
#: What Grafana puts in their places.
INTERVALS = {"$__rate_interval": "5m", "$__range": "6h"}


def asked() -> set[str]:
    """Return each metric that is asked for."""
    return {metric for expression in EXPRESSIONS for metric, _ in SELECTOR.findall(expression)}


def test_each_metric_is_one(tmp_path: Path, mount: Mount, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = whole_service(tmp_path, mount, monkeypatch).extensions["metrics"].registry
    told = {sample.name for family in registry.collect() for sample in family.samples}
    assert asked() - told == OF_JOBS


def test_what_the_service_tells_of_its_secrets_is_shown(
    tmp_path: Path, mount: Mount, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = whole_service(tmp_path, mount, monkeypatch).extensions["metrics"].registry
    told = {sample.name for family in registry.collect() for sample in family.samples}
    # what it is, and what of a histogram a quantile does not need
    left_out = r"process_.*|.*_info|.*_(count|sum)"
    assert {name for name in told - asked() if not re.fullmatch(left_out, name)} == set()


def test_no_metric_is_asked_for_without_a_selector() -> None:
    for expression in EXPRESSIONS:
        rest = SELECTOR.sub("", expression)
        assert not re.search(r"(secrets|database|log|kube|tls|http|process)_", rest), expression


def test_each_expression_asks_for_the_release_that_is_chosen() -> None:
    for expression in EXPRESSIONS:
        for metric, selector in SELECTOR.findall(expression):
            name = ',job_name=~".+-keeper-' if metric in OF_JOBS else ',job="$job"'
            assert selector.startswith(f'namespace="$namespace"{name}'), expression


@needs_promtool
def test_each_expression_can_be_read(tmp_path: Path) -> None:
    rules = []
    for number, expression in enumerate(EXPRESSIONS):
        for variable, value in INTERVALS.items():
            expression = expression.replace(variable, value)
        assert "$_" not in expression
        rules.append({"record": f"panel:{number}", "expr": expression})
    assert len(rules) > 15
    assert check_rules(tmp_path, rules) == ""


def test_the_variables_are_those_that_are_used() -> None:
    text = json.dumps([PANELS, VARIABLES])
    used = set(re.findall(r"\$\{?([a-z]+)", text))
    assert used == {variable["name"] for variable in VARIABLES}


def test_nothing_is_bound_to_somebodys_data_source() -> None:
    found = [panel["datasource"] for panel in PANELS]
    found += [target["datasource"] for panel in PANELS for target in panel["targets"]]
    found += [one["datasource"] for one in VARIABLES if one["type"] == "query"]
    assert len(found) > 30
    assert all(one == {"type": "prometheus", "uid": "${datasource}"} for one in found)


def test_each_panel_has_a_number_a_title_and_a_description_of_its_own() -> None:
    for part in ("id", "title", "description"):
        found = [panel[part] for panel in PANELS]
        assert all(found)
        assert len(set(found)) == len(PANELS), part


def test_no_panel_is_upon_another_nor_beside_the_page() -> None:
    def cells(panel: Panel) -> set[tuple[int, int]]:
        x, y, width, height = (panel["gridPos"][part] for part in ("x", "y", "w", "h"))
        return {(x + column, y + row) for column in range(width) for row in range(height)}

    for panel in PANELS:
        assert cells(panel)
        assert {column for column, _ in cells(panel)} <= set(range(24)), panel["title"]
    for one, other in combinations(PANELS, 2):
        assert not cells(one) & cells(other), (one["title"], other["title"])
