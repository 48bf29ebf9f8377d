"""The way of somebody who starts from the README alone, in a copy, on a cluster of its own.

The copy is renamed, gets a secret of its own and a token of somebody else's, as the page says and
in its words; the secret is rotated under load, and looked for. In between, the renamed project's
own `make e2e` is run on that cluster: the tests that go first, and with WHOLE=1, on a new one, all.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.git import ENVIRONMENT, commit, git
from tests.pages import Walk, blocks
from tools.cluster.checks import restarts
from tools.cluster.client import ROOT, Cluster
from tools.load import BESIDE_OTHERS, Load
from tools.poll import poll

PAGE = "docs/your-service.md"
#: Not that of the other tests' cluster.
PORT, E2E_PORT = "9454", "9455"

#: As the page calls it.
NAME = blocks(PAGE)[0].text.partition("NAME=")[2].strip()

OF_ONES_OWN = "A secret of your own, in six steps"

#: What somebody needs for all of it, in seconds.
HOUR = 3600

#: What a leak has that is planted for the scan.
LEAK = "somebody-was-careless"


class Project:
    """The copy, and the cluster that its `make deploy` makes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cluster = Cluster(NAME, PORT, namespace=NAME, fullname=NAME, root=folder)
        self.began = time.monotonic()
        git(folder.parent, "clone", "--quiet", ROOT, folder)  # what is committed
        # as after the first `make test` and `make lint`, without what they take
        for name in (".venv", ".venv-moto", ".mypy_cache"):
            if (ROOT / name).exists():
                shutil.copytree(ROOT / name, folder / name, symlinks=True, copy_function=link)

    def run(self, commands: str) -> str:
        """Run what stands in a block, and return what it printed."""
        named = ("CLUSTER", "HTTPS_PORT", "KEEP", "KUBECONFIG", "HELM_KUBECONTEXT")
        environment = {
            name: value
            for name, value in {**os.environ, **ENVIRONMENT}.items()
            if name not in named and "MAKE" not in name
        }
        environment |= {"HTTPS_PORT": PORT, "E2E_PORT": E2E_PORT}
        # what runs beside it has deadlines
        environment["TEST_ARGS"] = "--numprocesses 1"
        if definitions := environment.get("CRD_DIR"):
            # a relative one is seen from here, not from the copy
            environment["CRD_DIR"] = str(Path(definitions).absolute())
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        assert not done.returncode, f"{commands}: {done.stdout[-2000:]} {done.stderr[-2000:]}"
        return done.stdout

    def is_installed(self) -> None:
        """Take for installed what the lock files name, which are newer once they are renamed."""
        for mark in (".venv/run", ".venv/dev", ".venv/browser", ".venv-moto/moto"):
            (self.folder / mark).unlink()
            (self.folder / mark).touch()

    def follow(self, walk: Walk, heading: str, until: str = "") -> str:
        """Do what a section says, in its order: changes, and commands up to one."""
        printed = ""
        for block in walk.under(heading):
            if block.text.startswith("---"):
                git(self.folder, "apply", "-", stdin=block.text)
            elif until and block.text.startswith(until):
                break
            else:
                printed += self.run(block.text)
        return printed


def link(source: str, target: str) -> None:
    """Give a file a second name: uv, Python and mypy replace files, and change none."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:  # it is on another disk
        shutil.copy2(source, target, follow_symlinks=False)


@pytest.fixture(scope="module")
def walk() -> Iterator[Walk]:
    walk = Walk(PAGE, "sh", "diff")
    yield walk
    assert walk.left == [], "nobody ran these"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, walk: Walk) -> Iterator[Project]:
    """Clone, rename, add a secret, and deploy; remove the cluster in the end."""
    project = Project(tmp_path_factory.mktemp("copy") / NAME)
    try:
        project.is_installed()
        project.follow(walk, "Its name")
        project.is_installed()
        yield project
    finally:
        project.run("make destroy")


def test_nothing_of_the_old_name_is_left(project: Project) -> None:
    for old in ("flask-app", "flask_app"):
        grep = ["git", "grep", "--files-with-matches", "-I", old, ":!LICENSE"]
        done = subprocess.run(grep, cwd=project.folder)
        assert done.returncode == 1
    project.run(".venv/bin/python -m ruff check . && .venv/bin/python -m ruff format --check .")
    project.run(".venv/bin/python -m mypy && .venv/bin/python -m yamllint --strict .")


def test_a_secret_of_ones_own_is_tested_and_deployed(project: Project, walk: Walk) -> None:
    printed = project.follow(walk, OF_ONES_OWN, until="make rotate")
    assert " passed" in printed


def test_it_is_rotated_under_load_and_looked_for(project: Project, walk: Walk) -> None:
    cluster = project.cluster
    made = cluster.secret(f"{NAME}-secrets")["INVITE_KEY"]
    token = cluster.request("/api/invites/ada", "POST")["token"]
    pods = restarts(cluster, "service")

    rotate = walk.under(OF_ONES_OWN)[-1].text
    with Load(int(PORT), cluster.state / "ca.crt", pace=BESIDE_OTHERS) as load:
        scanned = project.run(rotate)
    load.check_unnoticed()
    print(load.summary())

    lines = cluster.secret(f"{NAME}-secrets")["INVITE_KEY"].reveal().splitlines()
    assert lines[1:][-1] == made.reveal()
    assert len(lines) == len(set(lines)) == 3  # once by `make rotate`, once by the scan
    assert cluster.request(f"/api/invites/{token}") == {"guest": "ada"}
    assert restarts(cluster, "service") == pods
    assert " clean, 0 with findings, 0 unreadable" in scanned
    assert time.monotonic() - project.began < HOUR
    commit(project.folder, "Sign invitations")


def test_the_renamed_projects_own_tests_pass_on_a_cluster(project: Project) -> None:
    # not the scan, with which the page has just rotated and looked
    tests = '-m smoke -k "not leak_scan"'
    here = f"KEEP=1 E2E_CLUSTER={NAME} E2E_PORT={PORT} E2E_ARGS='{tests}' "
    printed = project.run(f"{'' if os.environ.get('WHOLE') == '1' else here}make e2e")
    assert re.search(r"\d+ passed", printed)


def test_a_token_of_somebody_elses_is_given_and_followed(project: Project, walk: Walk) -> None:
    cluster = project.cluster
    title = "A token of somebody else's"
    printed = project.follow(walk, title)
    assert f"MAIL_TOKEN is in the Secret {NAME}-secrets" in printed
    assert in_a_pod(cluster) == given(cluster)
    before = given(cluster)
    pods = restarts(cluster, "service")
    project.run(next(block.text for block in walk.under(title) if "give KEY=" in block.text))
    assert given(cluster) != before
    poll(lambda: in_a_pod(cluster) == given(cluster), "the new token in a pod", 30, 0.5)
    assert restarts(cluster, "service") == pods


def given(cluster: Cluster) -> str:
    return cluster.secret(f"{NAME}-secrets")["MAIL_TOKEN"].reveal()


def in_a_pod(cluster: Cluster) -> str:
    return cluster.python("print(open('/etc/secrets/MAIL_TOKEN').read(), end='')")


def test_the_scan_finds_that_very_secret(project: Project) -> None:
    """It comes last: what was planted stays in etcd's files, also when the object has gone."""
    cluster = project.cluster
    value = cluster.secret(f"{NAME}-secrets")["INVITE_KEY"].reveal().splitlines()[0]
    leak = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": LEAK}}
    cluster.kubectl("create", "--filename=-", stdin=json.dumps({**leak, "data": {"key": value}}))
    try:
        report = project.folder / "report.json"
        scan = f".venv/bin/python -m tools.leakscan --json {report}"
        told = project.run(f"{scan} || [ $? = 1 ]")
    finally:
        cluster.kubectl("delete", "configmap", LEAK)
    assert f"{NAME}-secrets/INVITE_KEY" in told
    assert value not in told + report.read_text("utf-8")
