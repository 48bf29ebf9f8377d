"""The Makefile and the scripts of cluster/, as far as they go without Docker."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NEEDED = ("bash", "dirname", "sh", "make", "grep", "awk", "cat")
DEPLOY_NEEDS = ("docker", "kind", "kubectl", "helm")


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """Return a folder for PATH, with a shell and no more."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in NEEDED:
        found = shutil.which(name)
        assert found, f"{name} is missing"
        (folder / name).symlink_to(found)
    return folder


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a copy of what the scripts need."""
    folder = tmp_path / "clone"
    folder.mkdir()
    for name in ("cluster", "requirements"):
        shutil.copytree(ROOT / name, folder / name)
    for name in ("Makefile", "kind-config.yaml"):
        shutil.copy(ROOT / name, folder)
    return folder


def add(programs: Path, name: str, script: str) -> None:
    path = programs / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def make(clone: Path, programs: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", *arguments],
        cwd=clone,
        env={"PATH": str(programs), "HOME": os.environ.get("HOME", "/")},
        capture_output=True,
        text=True,
    )


def test_deploy_names_every_missing_program_and_changes_nothing(
    clone: Path, programs: Path
) -> None:
    before = sorted(clone.rglob("*"))
    done = make(clone, programs, "deploy")
    assert done.returncode != 0
    for name in DEPLOY_NEEDS:
        assert f"{name} is missing: https://" in done.stderr
    assert sorted(clone.rglob("*")) == before


def test_deploy_says_that_docker_does_not_answer(clone: Path, programs: Path) -> None:
    for name in DEPLOY_NEEDS:
        add(programs, name, "exit 1")
    before = sorted(clone.rglob("*"))
    done = make(clone, programs, "deploy")
    assert done.returncode != 0
    assert "Docker does not answer: start it" in done.stderr
    assert sorted(clone.rglob("*")) == before


def test_a_missing_python_is_one_sentence(clone: Path, programs: Path) -> None:
    done = make(clone, programs, "run", "PYTHON=")
    assert done.returncode != 0
    assert "Python 3.11 or later is missing: install it from" in done.stderr


def test_an_old_python_does_not_count(clone: Path, programs: Path) -> None:
    add(programs, "python3", "exit 1")
    add(programs, "python3.12", "exit 0")
    done = make(clone, programs, "--dry-run", "run")
    assert "python3.12 -m venv .venv" in done.stdout


def test_make_lists_every_target(clone: Path, programs: Path) -> None:
    listed = {line.split()[0] for line in make(clone, programs).stdout.splitlines()}
    text = (clone / "Makefile").read_text()
    phony = {line.split()[1] for line in text.splitlines() if line.startswith(".PHONY")}
    assert listed == phony
    assert len(listed) >= 8
