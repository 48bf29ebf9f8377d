"""What would go unnoticed in `make e2e`: no budget, a shared cluster, a release of old files."""

from __future__ import annotations

import ast
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.e2e import conftest
from tests.e2e.budgets import RECORD, budgets, group_of
from tests.e2e.conftest import DEPLOYED_FROM, fingerprint, is_deployed
from tests.git import commit, git
from tools.cluster.client import Cluster

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


def test_the_tests_that_are_named_are_there() -> None:
    """A test under another name would lose its place in the order, or the machine to itself."""
    assert {*conftest.ALONE, *conftest.LAST} <= {name.partition("::")[2] for name in names()}
    assert all((FOLDER / name).exists() for name in (*conftest.FIRST, *conftest.BESIDE))


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


def test_another_release_is_made_from_any_other_file(project: Path) -> None:
    seen = {fingerprint()}
    (project / "README.md").write_text("of which no release is made")
    assert {fingerprint()} == seen
    for source in conftest.SOURCES:
        new = project / source
        (new if new.is_file() else new / "new").write_text("not committed yet")
        assert fingerprint() not in seen, source
        seen.add(fingerprint())


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


#: A group may take this share of its budget before it is named, as machines drift.
TOLERANCE: Final = 1.5


def test_the_last_run_kept_to_the_budgets() -> None:
    """It warns, and does not fail: machines drift."""
    taken = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    late = {
        group: f"{seconds:.0f} s, not {allowed}"
        for group, allowed in budgets().items()
        if (seconds := taken.get(group, 0)) > TOLERANCE * allowed
    }
    if late:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn(f"the last `make e2e` took longer than its budgets: {late}", stacklevel=1)
