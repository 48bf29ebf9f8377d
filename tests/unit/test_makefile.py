"""`make test` where all is installed already: it fetches nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: What the Makefile makes as it installs, in order.
MADE = [".venv/installed", ".venv/browser", ".venv-moto/installed"]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a clone with all installed, whose programs only note how they were called."""
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in (".venv", ".venv-moto"):
        folder = tmp_path / name / "bin"
        folder.mkdir(parents=True)
        for program in ("python", "pip", "pytest"):
            (folder / program).write_text(f'#!/bin/sh\necho "{program} $*" >>"{tmp_path}/called"\n')
            (folder / program).chmod(0o755)
    for made in MADE:
        (tmp_path / made).touch()
    order = [*(tmp_path / "requirements").iterdir(), *(tmp_path / made for made in MADE)]
    for number, file in enumerate(order):
        os.utime(file, (1_000_000_000, 1_000_000_000 + number))
    return tmp_path


def called(clone: Path) -> list[str]:
    """Return what `make test` has called."""
    command = ["make", "test", "PYTHON=.venv/bin/python"]
    # what make tells those that it starts is not for the make in here
    env = {name: value for name, value in os.environ.items() if "MAKE" not in name}
    done = subprocess.run(command, cwd=clone, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return (clone / "called").read_text().splitlines()


def fetches(calls: list[str]) -> list[str]:
    return [call for call in calls if call.startswith("pip install") or "tests.browser" in call]


def test_nothing_is_fetched_again(clone: Path) -> None:
    calls = called(clone)
    assert len(calls) == 1
    assert "pytest" in calls[0]


@pytest.mark.parametrize("made", MADE)
def test_what_is_not_there_is_fetched(clone: Path, made: str) -> None:
    """The control."""
    (clone / made).unlink()
    assert fetches(called(clone))
    (clone / "called").unlink()
    assert not fetches(called(clone))


def test_new_requirements_are_fetched(clone: Path) -> None:
    (clone / "requirements" / "dev.txt").touch()
    assert any("--requirement requirements/dev.txt" in call for call in fetches(called(clone)))
