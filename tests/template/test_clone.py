"""A clone that a team made its own: each change of `changes.py` touches no file of the template.

All of them are made one after the other, each committed, and then the clone's quick linters and the
tests of `tests/app` and of the rules for every object run. With WHOLE=1, its `make test` and
`make lint` run after each change.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.git import ENVIRONMENT, commit, git
from tests.template.changes import CHANGES, Change
from tests.template.clone import ROOT, copy_project
from tools import rename

NAME = "greeter"

needs_time = pytest.mark.skipif(
    os.environ.get("WHOLE") != "1", reason="WHOLE=1 runs all tests after each of the changes"
)

#: After all changes: what takes longer, such as the rest of the chart's tests, does WHOLE=1.
QUICK = "tests/app tests/chart/test_every_object.py tests/chart/test_docs.py"


@dataclass(frozen=True)
class Clone:
    """A starter in a repository of git, with the environments of this one."""

    folder: Path

    def touched(self) -> dict[str, str]:
        """Return which files differ from the last commit, by path, and how in a letter."""
        git(self.folder, "add", "--all")
        status = ["git", "diff", "--cached", "--no-renames", "--name-status"]
        done = subprocess.run(
            status, cwd=self.folder, env=ENVIRONMENT, check=True, capture_output=True, text=True
        )
        return {path: letter for letter, path in map(str.split, done.stdout.splitlines())}

    def run(self, *command: str) -> str:
        """Run a command as a user of the clone does; return what it says if it fails."""
        environment = {
            name: value
            for name, value in ENVIRONMENT.items()
            if not name.startswith(("MAKE", "PYTEST", "PYTHON", "WHOLE"))
        }
        environment["PRE_COMMIT_HOME"] = str(self.folder.parent / "pre-commit")
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        return f"{command}: {done.stdout[-4000:]}{done.stderr[-2000:]}" if done.returncode else ""

    def test(self, arguments: str) -> str:
        """Run `make test` with arguments for pytest."""
        return self.run("make", "test", f"TEST_ARGS={arguments}")


def begin(folder: Path) -> Clone:
    """Make a starter, and commit it."""
    copy_project(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rename, "_check_clusters", lambda name: None)
        rename.rename(folder, NAME)
    commit(folder, "Begin")
    with (folder / ".git" / "info" / "exclude").open("a") as excluded:
        excluded.write("/.venv*\n")
    for environment in ROOT.glob(".venv*"):
        (folder / environment.name).symlink_to(environment)
    for lock in (folder / "requirements").iterdir():
        os.utime(lock, (1_000_000_000, 1_000_000_000))  # what they name is installed
    return Clone(folder)


def rooms(readme: str) -> dict[str, str]:
    """Return what the tree of the clone's README says of each path."""
    (tree,) = re.findall(r"(?ms)^```\n(app/.*?)^```$", readme)
    found: dict[str, str] = {}
    folder = ""
    for line in tree.splitlines():
        name, says = line.split(maxsplit=1)
        folder = folder if line.startswith(" ") else name
        found[folder + name if line.startswith(" ") else name] = says
    return found


def is_yours(path: str, letter: str, tree: dict[str, str]) -> bool:
    """Return whether the tree says that a file is the team's.

    :param letter: "A" for a file that was added; in some folders only these are.
    """
    places = [place for place in tree if path == place or place[-1] == "/" in place]
    places = [place for place in places if path.startswith(place)]
    says = tree[max(places, key=len)] if places else tree["./"] if "/" not in path else ""
    return says.startswith("yours") and (letter == "A" or "that you add" not in says)


@pytest.fixture(scope="module")
def tree() -> dict[str, str]:
    return rooms((ROOT / "tools/rename/starter/README.md").read_text("utf-8"))


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """Return a clone that nobody has changed yet."""
    return begin(tmp_path_factory.mktemp("clone") / NAME)


def changed(clone: Clone) -> Iterator[tuple[Change, dict[str, str]]]:
    """Make one change after the other; tell which files it touched, and commit it."""
    for change in CHANGES:
        change(clone.folder)
        yield change, clone.touched()
        commit(clone.folder, str(change.__doc__))


def not_yours(touched: dict[str, str], tree: dict[str, str]) -> list[str]:
    assert touched
    return [path for path, letter in touched.items() if not is_yours(path, letter, tree)]


def test_what_teams_do_touches_no_file_of_the_template(clone: Clone, tree: dict[str, str]) -> None:
    found = {change.__name__: not_yours(touched, tree) for change, touched in changed(clone)}
    assert {name: paths for name, paths in found.items() if paths} == {}
    for command in (
        ["ruff", "check", "--no-cache", "."],
        ["ruff", "format", "--no-cache", "--check", "."],
        ["yamllint", "--strict", "."],
        ["vulture"],
        ["lint-imports", "--no-cache"],
    ):
        assert not clone.run(f".venv/bin/{command[0]}", *command[1:])
    assert not clone.test(f"{QUICK} --numprocesses 0")
    assert not clone.run("make", "greet")


@needs_time
def test_everything_stays_green_after_each_change(tmp_path: Path, tree: dict[str, str]) -> None:
    clone = begin(tmp_path / NAME)
    found = {"nothing": [clone.test(""), clone.run("make", "lint")]}
    for change, touched in changed(clone):
        found[change.__name__] = [
            *not_yours(touched, tree),
            clone.test(""),
            clone.run("make", "lint"),
        ]
    assert {name: told for name, told in found.items() if any(told)} == {}


@pytest.mark.parametrize(
    ("path", "letter", "expected"),
    [
        ("app/greetings.py", "A", True),
        ("app/__init__.py", "M", True),
        ("app/core/session.py", "M", False),
        ("tests/app/test_page.py", "D", True),
        ("tests/core/test_logs.py", "M", False),
        ("tests/conftest.py", "M", False),
        ("tests/e2e/resource.py", "D", True),
        ("tests/e2e/load.py", "M", False),
        ("chart/values.yaml", "M", True),
        ("chart/README.md", "M", True),
        ("chart/README.template.md", "M", False),
        ("chart/templates/mailer.yaml", "A", True),
        ("chart/templates/service.yaml", "M", False),
        ("keeper/schema.sql", "M", False),
        ("secret_files/key.py", "M", False),
        ("tools/rename/__init__.py", "M", False),
        (".ci/promtool", "M", False),
        (".github/workflows/tests.yml", "M", True),
        ("docs/external/README.md", "D", True),
        ("Makefile", "M", True),
        ("README.md", "M", True),
    ],
)
def test_tree_says_whose_a_file_is(
    path: str, letter: str, expected: bool, tree: dict[str, str]
) -> None:
    assert is_yours(path, letter, tree) is expected


def test_everything_that_the_tree_names_is_there(tree: dict[str, str]) -> None:
    assert len(tree) > 15
    assert [path for path in tree if not (ROOT / path).exists()] == []
