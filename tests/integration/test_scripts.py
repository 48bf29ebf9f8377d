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


@pytest.fixture
def python(clone: Path) -> None:
    """Put a program in the place of the installed Python that says what it is asked for."""
    folder = clone / ".venv" / "bin"
    folder.mkdir(parents=True)
    add(folder, "python", 'echo "$CLUSTER ${KUBECONFIG##*/.local/} python $*"')


def script(clone: Path, programs: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run one of the scripts, of which make makes the same."""
    path = shutil.which("mkdir")
    assert path
    if not (programs / "mkdir").exists():
        (programs / "mkdir").symlink_to(path)
    return subprocess.run(
        command, cwd=clone, env={"PATH": str(programs)}, capture_output=True, text=True
    )


def with_cluster(programs: Path, *names: str) -> None:
    """Add programs, with clusters of these names; kind notes what it is asked for."""
    for name in ("docker", "kubectl", "helm"):
        add(programs, name, "exit 0")
    add(programs, "kind", f'echo "$@" >> asked; echo "{chr(10).join(names)}"')


def test_the_audit_without_a_cluster_is_one_sentence(clone: Path, programs: Path) -> None:
    with_cluster(programs, "kind", "flask-app-e2e")
    done = script(clone, programs, "cluster/audit")
    assert (done.stdout, done.returncode) == ("", 1)
    assert done.stderr == "There is no cluster flask-app: `make deploy` makes it.\n"


def test_the_audit_names_what_is_missing(clone: Path, programs: Path) -> None:
    done = script(clone, programs, "cluster/audit")
    assert (done.stdout, done.returncode) == ("", 1)
    for name in ("docker", "kind", "kubectl"):
        assert f"{name} is missing: https://" in done.stderr


@pytest.mark.usefixtures("python")
@pytest.mark.parametrize(
    ("command", "ran"),
    [
        (("cluster/audit", "--since", "1h"), "-m cluster.audit --since 1h"),
        (("cluster/status",), "-m cluster.status"),
    ],
)
def test_a_cluster_is_asked_with_a_kubeconfig_of_its_own(
    clone: Path, programs: Path, command: tuple[str, ...], ran: str
) -> None:
    """It is taken once, where another folder has made the cluster."""
    with_cluster(programs, "flask-app")
    kubeconfig = clone / ".local" / "cluster" / "flask-app" / "kubeconfig"
    for _ in range(2):
        done = script(clone, programs, *command)
        assert done.stdout == f"flask-app cluster/flask-app/kubeconfig python {ran}\n"
        asked = (clone / "asked").read_text()
        assert asked.count(f"export kubeconfig --name flask-app --kubeconfig {kubeconfig}") == 1
        kubeconfig.touch()


@pytest.mark.usefixtures("python")
@pytest.mark.parametrize("names", [None, [], ["flask-app-e2e"]])
def test_the_status_without_a_cluster_is_of_what_runs_here(
    clone: Path, programs: Path, names: list[str] | None
) -> None:
    if names is not None:
        with_cluster(programs, *names)
    done = script(clone, programs, "cluster/status")
    assert done.stdout.endswith(" python -m local.keeper status --text\n")
    assert (done.stderr, done.returncode) == ("", 0)
