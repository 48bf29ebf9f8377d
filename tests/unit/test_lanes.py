"""How the end-to-end tests are dealt out to lanes, and what is said of those that take too long."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.e2e import lanes
from tests.e2e.lanes import Lanes, Record, budgets, deal, group_of, last_run, over_budget

FOLDER = Path(lanes.__file__).parent


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


def test_lanes_take_the_same_time() -> None:
    assert deal({"a": 50, "b": 30, "c": 20, "d": 10}, 2) == {"a": 0, "b": 1, "c": 1, "d": 0}


def test_no_lane_takes_much_more_than_the_others() -> None:
    found = budgets()
    taken = [0] * 3
    for group, lane in deal(found, 3).items():
        taken[lane] += found[group]
    assert max(taken) < 1.15 * sum(taken) / len(taken)


class Node:
    """A worker of pytest-xdist that notes what it is given."""

    def __init__(self) -> None:
        self.given: list[int] = []
        self.shutting_down = False
        self.gateway = SimpleNamespace(id="gw")

    def send_runtest_some(self, indices: list[int]) -> None:
        self.given += indices

    def shutdown(self) -> None:
        self.shutting_down = True


def test_each_worker_gets_one_lane_in_the_order_of_its_tests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lanes, "budgets", lambda: {"test_a.py": 9, "test_b.py": 5, "test_c.py": 3})
    option = SimpleNamespace(loadscopereorder=False)
    config: Any = SimpleNamespace(getvalue=lambda name: ["2*popen"], option=option)
    scheduler = Lanes(config)
    workers: list[Any] = [Node(), Node()]
    collected = [f"tests/e2e/test_{name}.py::test_{number}" for name in "abc" for number in (1, 2)]
    for worker in workers:
        scheduler.add_node(worker)
        scheduler.add_node_collection(worker, collected)
    scheduler.schedule()
    assert [worker.given for worker in workers] == [[0, 1], [2, 3, 4, 5]]
    assert scheduler.tests_finished is False


def report(test: str, when: str, seconds: float, *properties: tuple[str, float]) -> Any:
    return SimpleNamespace(nodeid=test, when=when, duration=seconds, user_properties=properties)


def test_a_group_takes_what_its_tests_take_without_their_cluster() -> None:
    record = Record()
    deployed = (lanes.DEPLOYED, 90.0)
    one = "tests/e2e/test_audit.py::test_one"
    record.add(report(one, "setup", 95, deployed))
    record.add(report(one, "call", 10, deployed))
    record.add(report("tests/e2e/test_page.py::test_two", "call", 20))
    assert record.deployments == [90]
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
