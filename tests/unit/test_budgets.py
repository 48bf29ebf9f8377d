"""What is said of end-to-end tests that take too long."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.e2e import budgets as module
from tests.e2e.budgets import DEPLOYED, Record, budgets, group_of, last_run, over_budget
from tests.e2e.conftest import pytest_collection_modifyitems

FOLDER = Path(module.__file__).parent


def names() -> Iterator[str]:
    """Give the names of all end-to-end tests."""
    for path in FOLDER.glob("test_*.py"):
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                yield f"tests/e2e/{path.name}::{node.name}"


def test_each_test_is_in_a_group_and_each_group_has_one() -> None:
    groups = [group_of(test, budgets()) for test in names()]
    assert len(groups) > 90
    assert set(groups) == set(budgets())


def test_a_test_is_in_the_group_that_names_it_best() -> None:
    groups = {"test_a.py", "test_a.py::test_long"}
    assert group_of("tests/e2e/test_a.py::test_long[1]", groups) == "test_a.py::test_long"
    assert group_of("tests/e2e/test_a.py::test_short", groups) == "test_a.py"
    with pytest.raises(ValueError, match=r"test_b.py::test_one is in no group: name its file in"):
        group_of("tests/e2e/test_b.py::test_one", groups)


def test_what_needs_the_cluster_stays_together_and_the_rest_runs_beside_it() -> None:
    groups: dict[str, str] = {}

    def item(name: str, *fixtures: str) -> Any:
        path = FOLDER / name.partition("::")[0]
        mark = lambda marker: groups.update({name: marker.args[0]})  # noqa: E731
        return SimpleNamespace(path=path, fixturenames=fixtures, add_marker=mark)

    pytest_collection_modifyitems(
        [
            item("test_a.py::test_1", "cluster"),
            item("test_a.py::test_2"),  # it may look at what the first one left
            item("test_b.py::test_1", "cluster", "tmp_path"),
            item("test_own.py::test_1", "project"),
        ]
    )
    assert groups == {
        "test_a.py::test_1": "cluster",
        "test_a.py::test_2": "cluster",
        "test_b.py::test_1": "cluster",
        "test_own.py::test_1": "test_own",
    }


def report(test: str, when: str, seconds: float, *properties: tuple[str, float]) -> Any:
    return SimpleNamespace(nodeid=test, when=when, duration=seconds, user_properties=properties)


def test_a_group_takes_what_its_tests_take_without_their_cluster() -> None:
    record = Record()
    deployed = (DEPLOYED, 90.0)
    one = "tests/e2e/test_audit.py::test_one"
    record.add(report(one, "setup", 95, deployed))
    record.add(report(one, "call", 10, deployed))
    record.add(report("tests/e2e/test_page.py::test_two", "call", 20))
    assert record.deployed == 90
    assert record.longest() == [("test_page.py", 20), ("test_audit.py", 15)]


def test_what_takes_far_too_long_is_named() -> None:
    taken = {"test_a.py": 16.0, "test_b.py": 14.0, "test_gone.py": 99.0}
    allowed = {"test_a.py": 10, "test_b.py": 10, "test_new.py": 1}
    assert over_budget(taken, allowed) == {"test_a.py": "16 s, not 10"}


def test_the_last_run_kept_to_the_budgets() -> None:
    """It warns, and does not fail: machines drift."""
    if late := over_budget(last_run(), budgets()):
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn(f"the last `make e2e` took longer than its budgets: {late}", stacklevel=1)
