"""How `make e2e` runs: what beside what, when it deploys again, and what it says takes too long."""

from __future__ import annotations

import ast
import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest

from tests.e2e import conftest
from tests.e2e.budgets import DEPLOYED, RECORD, Record, budgets, group_of
from tests.e2e.conftest import DEPLOYED_FROM, fingerprint, is_deployed
from tests.git import commit, git
from tools.cluster.client import Cluster

WaitFor = Callable[..., None]

FOLDER = Path(conftest.__file__).parent


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


def test_what_runs_beside_the_others_shares_no_cluster_with_them() -> None:
    asks = set()
    for path in FOLDER.glob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef) and (
                node.name.startswith("test_") or "fixture" in map(named, node.decorator_list)
            ):
                asks |= {path.name for argument in node.args.args if argument.arg == "cluster"}
    own = {path.name for path in FOLDER.glob("test_*.py")} - asks | set(conftest.ON_THE_SECOND)
    assert own == set(conftest.BESIDE)


def named(decorator: ast.expr) -> str:
    """Return the last part of a decorator's name."""
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    return called.attr if isinstance(called, ast.Attribute) else ""


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


def test_one_worker_gets_what_needs_the_cluster_and_the_other_one_the_rest() -> None:
    config: Any = SimpleNamespace(getvalue=lambda name: ["2*popen"], option=SimpleNamespace())
    scheduler = conftest.pytest_xdist_make_scheduler(config, None)
    workers: list[Any] = [Node(), Node()]
    names = ("test_a.py", "test_b.py", *conftest.BESIDE)
    collected = [f"tests/e2e/{name}::test_{number}" for name in names for number in (1, 2)]
    for worker in workers:
        scheduler.add_node(worker)
        scheduler.add_node_collection(worker, collected)
    scheduler.schedule()
    assert [worker.given for worker in workers] == [[0, 1, 2, 3], [4, 5, 6, 7]]  # and more later


def test_a_run_within_a_workers_test_has_the_cluster_that_it_was_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw1")
    monkeypatch.setenv("CLUSTER", "walked")
    monkeypatch.setenv("HTTPS_PORT", "9454")
    worker: Any = SimpleNamespace(workerinput={"workerid": "gw1"})
    assert conftest.of_worker(conftest.number_of(worker)).name == "walked-2"
    within: Any = SimpleNamespace()
    assert conftest.of_worker(conftest.number_of(within)).name == "walked"


def test_what_waits_comes_first_and_what_needs_the_machine_last() -> None:
    tests = [*names(), "tests/e2e/test_a.py::test_one"]
    items: list[Any] = [
        SimpleNamespace(path=Path(test.partition("::")[0]), name=test.partition("::")[2])
        for test in tests
    ]
    conftest.pytest_collection_modifyitems(items)
    order = [f"{item.path}::{item.name}" for item in items]
    assert sorted(order) == sorted(tests)
    ends = "tests/e2e/test_rotation.py::test_make_rotate_prints_each_step", conftest.LAST[0]
    assert (order[0], order[-1].partition("::")[2]) == ends


def test_who_has_the_machine_alone_waits_for_the_others_and_they_wait_then(
    tmp_path: Path, wait_for: WaitFor
) -> None:
    assert set(conftest.ALONE) <= {name.partition("::")[2] for name in names()}
    order: list[str] = []

    def has_its_turn(name: str, alone: bool) -> None:
        with conftest.turn(tmp_path, alone):
            order.append(name)
            wait_for(lambda: tmp_path.joinpath(f"{name} ends").exists(), f"the end of {name}")
            order.append(f"{name} ends")

    def is_shut() -> bool:
        with (tmp_path / "e2e.door").open("w") as door:
            try:
                flock(door, LOCK_EX | LOCK_NB)
            except BlockingIOError:
                return True
        return False

    with ThreadPoolExecutor() as threads:
        for name in ("first", "beside"):
            threads.submit(has_its_turn, name, alone=False)
            wait_for(lambda name=name: name in order, f"{name}: it waits for nobody")
        for name, alone in (("alone", True), ("later", False)):
            threads.submit(has_its_turn, name, alone)
            wait_for(is_shut, "somebody who waits at the door")
        for name in ("first", "beside", "alone", "later"):
            (tmp_path / f"{name} ends").touch()
    assert order[:2] == ["first", "beside"]
    assert order[-4:] == ["alone", "alone ends", "later", "later ends"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a file of each kind that a release is made from."""
    for source in conftest.SOURCES:
        for name in (source,) if "." in source else (f"{source}/one", f"{source}/two"):
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(source)
    git(tmp_path, "init", "--quiet")
    commit(tmp_path, "begin")
    monkeypatch.setattr(conftest, "ROOT", tmp_path)
    return tmp_path


@pytest.mark.parametrize("source", conftest.SOURCES)
def test_another_release_is_made_from_any_other_file(project: Path, source: str) -> None:
    before = fingerprint()
    assert fingerprint() == before
    (project / "README.md").write_text("of which no release is made")
    assert fingerprint() == before
    new = project / source
    (new if new.is_file() else new / "new").write_text("not committed yet")
    assert fingerprint() != before


def deployments(ready: int) -> list[dict[str, Any]]:
    return [{"status": {"replicas": 2, "availableReplicas": ready}}]


@pytest.mark.parametrize(
    ("kept", "found", "expected"),
    [
        ("these files", deployments(2), True),
        ("other files", deployments(2), False),
        (None, deployments(2), False),
        ("these files", deployments(1), False),
        ("these files", [], False),
        ("these files", AssertionError("no cluster answers"), False),
    ],
)
def test_a_kept_cluster_is_taken_as_it_is_if_the_same_release_is_ready_there(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kept: str | None,
    found: list[dict[str, Any]] | AssertionError,
    expected: bool,
) -> None:
    cluster = Cluster("none", "0", root=tmp_path)

    def items(self: Cluster, kind: str) -> list[dict[str, Any]]:
        if isinstance(found, AssertionError):
            raise found
        return found

    monkeypatch.setattr(Cluster, "items", items)
    if kept:
        cluster.state.mkdir(parents=True)
        (cluster.state / DEPLOYED_FROM).write_text(kept)
    assert is_deployed(cluster, "these files") is expected


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


#: A group may take this share of its budget before it is named, as machines drift.
TOLERANCE: Final = 1.5


def over_budget(taken: Mapping[str, float], allowed: Mapping[str, float]) -> dict[str, str]:
    """Return what each group took and may take, of those that took far too long."""
    return {
        group: f"{seconds:.0f} s, not {allowed[group]}"
        for group, seconds in taken.items()
        if group in allowed and seconds > TOLERANCE * allowed[group]
    }


def last_run() -> dict[str, float]:
    """Return what each group took in the last whole run of this folder; nothing without one."""
    return dict(json.loads(RECORD.read_text())) if RECORD.exists() else {}


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
