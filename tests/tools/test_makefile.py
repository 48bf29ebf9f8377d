"""What `make run` and `make test` install, and that they fetch nothing where it is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: The marks that the Makefile makes as it installs, in order.
MADE = [".venv/run", ".venv/dev", ".venv/browser"]

#: A program that notes how it is called, and makes the mark that it is asked for.
PROGRAM = """#!/bin/sh
echo "$(basename "$0") $*" >>called
[ "$2" != tools.install ] || touch "$3"
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a clone with all installed, whose programs only note how they were called."""
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    shutil.copy(ROOT / "Makefile", tmp_path)
    folder = tmp_path / ".venv" / "bin"
    folder.mkdir(parents=True)
    for program in ("python", "pytest"):
        (folder / program).write_text(PROGRAM)
        (folder / program).chmod(0o755)
    for made in MADE:
        (tmp_path / made).touch()
    order = [*(tmp_path / "requirements").iterdir(), *(tmp_path / made for made in MADE)]
    for number, file in enumerate(order):
        os.utime(file, (1_000_000_000, 1_000_000_000 + number))
    return tmp_path


def called(clone: Path, target: str = "test") -> list[str]:
    """Return what a target has called."""
    (clone / "called").unlink(missing_ok=True)
    command = ["make", target, "PYTHON=.venv/bin/python"]
    # what make tells those that it starts is not for the make in here
    env = {name: value for name, value in os.environ.items() if "MAKE" not in name}
    done = subprocess.run(command, cwd=clone, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return (clone / "called").read_text().splitlines()


def fetches(calls: list[str]) -> list[str]:
    return [call for call in calls if "tools.install" in call or "tests.browser" in call]


@pytest.mark.parametrize(("target", "call"), [("test", "pytest"), ("run", "python -m tools.local")])
def test_nothing_is_fetched_again(clone: Path, target: str, call: str) -> None:
    calls = called(clone, target)
    assert len(calls) == 1
    assert calls[0].startswith(call)


@pytest.mark.parametrize("made", MADE[1:])
def test_what_is_not_there_is_fetched(clone: Path, made: str) -> None:
    """The control."""
    (clone / made).unlink()
    assert fetches(called(clone))
    assert not fetches(called(clone))


def test_new_requirements_are_fetched(clone: Path) -> None:
    (clone / "requirements" / "dev.txt").touch()
    assert "python -m tools.install .venv/dev" in called(clone)


@pytest.mark.parametrize(
    "target",
    [
        *("run", "cluster", "deploy", "status", "rotate", "give", "audit", "leak-scan", "demo"),
        *("reset", "destroy"),
    ],
)
def test_a_user_s_targets_install_no_linter_and_no_browser(clone: Path, target: str) -> None:
    for mark in MADE:
        (clone / mark).unlink()
    assert fetches(called(clone, target)) == ["python -m tools.install .venv/run"]


def test_rename_has_the_formatter(clone: Path) -> None:
    for mark in MADE:
        (clone / mark).unlink()
    assert called(clone, "rename")[-2:] == [
        "python -m tools.install .venv/dev",
        "python -m tools.rename",
    ]
