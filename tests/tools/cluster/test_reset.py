"""`make reset`, as far as it goes without Docker."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.terminal import CTRL_C, terminal

ROOT = Path(__file__).parents[3]
NEEDED = ("cat", "make", "sh", "sleep")

#: Programs that note what they are asked for, and do nothing.
DOCKER = """
echo "docker $*" >>"$ASKED"
case "$1 $2" in
  'inspect '*) echo "$MADE_BY" ;;
  'image inspect') [ "$3" != postgres:17 ] && echo sha256:0123456789abcdef ;;
  'exec '*) echo flask-app ;;
  'port '*) echo 127.0.0.1:8443 ;;
  'build '*) sleep "${BUILD_SECONDS:-0}" ;;
esac
"""
KIND = """
echo "kind $*" >>"$ASKED"
[ "$1 $2" != 'get clusters' ] || echo "${THERE-flask-app}"
"""
KUBECTL = """
echo "kubectl $*" >>"$ASKED"
case "$*" in
  *"${FAILS:-nothing}"*) echo 'kubectl has its reasons' >&2; exit 1 ;;
  *'delete pods'*) sleep "${POD_SECONDS:-0}" ;;
  *apply*) cat >/dev/null </dev/null ;;
esac
"""
HELM = 'echo "helm $*" >>"$ASKED"'

REMOVED = ["end the pods", "remove the namespace with all that is in it"]
DEPLOYED = ["build the image", "load the images", "install or upgrade", "one request"]
STEP = re.compile(r" *([0-9]+) s  (.*)")


class Place:
    """A copy of what the scripts need, with programs that seem to have a cluster."""

    def __init__(self, folder: Path) -> None:
        self.clone, self.programs, self._asked = folder / "clone", folder / "bin", folder / "asked"
        for name in ("requirements", "secret_files", "tools"):
            shutil.copytree(ROOT / name, self.clone / name)
        shutil.copy(ROOT / "Makefile", self.clone)
        installed = self.clone / ".venv" / "bin" / "python"
        installed.parent.mkdir(parents=True)
        installed.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        installed.chmod(0o755)
        (self.clone / ".venv" / "run").touch()
        self.programs.mkdir()
        for name in NEEDED:
            found = shutil.which(name)
            assert found, f"{name} is missing"
            (self.programs / name).symlink_to(found)
        self._asked.touch()

    def add(self, name: str, script: str) -> None:
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def environment(self, **variables: object) -> dict[str, str]:
        texts = {name: str(value) for name, value in variables.items()}
        home = os.environ.get("HOME", "/")
        made_by = self.clone / ".local" / "cluster" / "flask-app" / "encryption.yaml"
        own = {"ASKED": str(self._asked), "MADE_BY": str(made_by)}
        return {"PATH": str(self.programs), "HOME": home, **own, **texts}

    def reset(self, **variables: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["make", "reset"],
            cwd=self.clone,
            env=self.environment(**variables),
            capture_output=True,
            text=True,
        )

    def asked(self, word: str = "") -> list[str]:
        """Return what was asked for so far, or what of it has a word in it."""
        lines = self._asked.read_text().splitlines()
        return [line for line in lines if not word or word in line.split()]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    for name, script in (("docker", DOCKER), ("kind", KIND), ("kubectl", KUBECTL), ("helm", HELM)):
        made.add(name, script)
    return made


def steps(text: str) -> list[str]:
    return [found[2] for found in map(STEP.fullmatch, text.splitlines()) if found]


def test_everything_is_removed_and_deployed_again_with_a_line_for_each_step(place: Place) -> None:
    for _ in range(2):
        done = place.reset()
        assert (done.returncode, done.stderr) == (0, "")
        told = steps(done.stdout)
        assert told[:2] == REMOVED
        beginnings = zip(told[2:-1], DEPLOYED, strict=True)
        assert all(text.startswith(beginning) for text, beginning in beginnings)
        assert told[-1] == "in all"
        # deploy's hints are known by now
        assert len(done.stdout.splitlines()) == len(told)
    kinds = [line.split(" delete ")[1].split()[0] for line in place.asked("delete")]
    assert kinds == ["deployments,statefulsets,cronjobs,jobs", "pods", "namespace"] * 2
    assert place.asked("destroy") == place.asked("create") == []
    assert len([line for line in place.asked("upgrade") if "--install flask-app" in line]) == 2


def test_it_is_removed_before_it_is_deployed(place: Place) -> None:
    place.reset()
    told = [line for line in place.asked() if re.search(r" delete | upgrade | test ", line)]
    assert [re.sub(r".* (delete [a-z]+|upgrade|test).*", r"\1", line) for line in told] == [
        "delete deployments",
        "delete pods",
        "delete namespace",
        "upgrade",
        "test",
    ]


def test_the_seconds_are_those_of_all_of_it(place: Place) -> None:
    done = place.reset(POD_SECONDS=2)
    last = STEP.fullmatch(done.stdout.splitlines()[-1])
    assert last
    assert last[2] == "in all"
    assert int(last[1]) >= 2


def test_without_a_cluster_it_says_what_to_do_and_changes_nothing(place: Place) -> None:
    done = place.reset(THERE="flask-app-e2e")
    assert (done.stdout, done.returncode != 0) == ("", True)
    said = "There is no cluster flask-app: `make deploy` makes it, in the known state."
    assert done.stderr.splitlines()[0] == said
    assert place.asked("kubectl") == place.asked("helm") == []


def test_it_names_every_missing_program(place: Place) -> None:
    for name in ("docker", "kind", "kubectl", "helm"):
        (place.programs / name).unlink()
    done = place.reset()
    assert done.returncode != 0
    for name in ("docker", "kind", "kubectl", "helm"):
        assert f"{name} is missing: https://" in done.stderr


def test_another_port_is_refused_before_anything_is_removed(place: Place) -> None:
    done = place.reset(HTTPS_PORT=9000)
    assert done.returncode != 0
    assert "The cluster flask-app is on port 8443, which can't be changed" in done.stderr
    assert place.asked("delete") == []


def test_a_cluster_that_does_not_answer_is_one_sentence(place: Place) -> None:
    done = place.reset(FAILS="/readyz")
    assert done.returncode != 0
    said = "The cluster flask-app does not answer: `make destroy`, then `make deploy`."
    assert done.stderr.splitlines()[0] == said
    assert place.asked("delete") == []


@pytest.mark.parametrize("what", ["delete pods", "delete namespace"])
def test_what_does_not_go_is_told_with_the_way_out(place: Place, what: str) -> None:
    done = place.reset(FAILS=what)
    assert done.returncode != 0
    assert steps(done.stdout)[-1].endswith(": failed")
    assert "kubectl has its reasons" in done.stderr
    assert "It does not go; a finalizer may hold it. `make destroy`, then" in done.stderr
    assert place.asked("upgrade") == []


def test_ctrl_c_says_what_was_interrupted(place: Place) -> None:
    variables = place.environment(POD_SECONDS=60)
    with terminal(["make", "reset"], place.clone, variables) as shown:
        shown.wait_for(r" s  end the pods \.\.\.")
        shown.wait_for_program("sleep 60")
        shown.press(CTRL_C)
        assert shown.end() != 0
        assert shown.left_over() == []
    assert " s  end the pods: interrupted" in shown.written
    assert place.asked("upgrade") == []
