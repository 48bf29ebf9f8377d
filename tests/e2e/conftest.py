"""A kind cluster of its own with the release on it, made by `make deploy` itself.

KEEP=1 leaves the cluster, and upgrades the release on one that was left.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from tests.e2e.cluster import ROOT, SUSPENDED, Cluster

OTHERS = "`E2E_CLUSTER=… E2E_PORT=… make e2e` takes another cluster, and another port."


def pytest_configure(config: pytest.Config) -> None:
    """Show no arguments of functions: what goes into a command's input may be a secret."""
    config.option.tbstyle = "short"
    config.option.showlocals = False


@pytest.fixture(scope="session")
def cluster(pytestconfig: pytest.Config) -> Iterator[Cluster]:
    """Deploy, and remove the cluster at the end."""
    cluster = Cluster(os.environ["CLUSTER"], os.environ["HTTPS_PORT"])
    keep = os.environ.get("KEEP") == "1"
    if not keep:
        _clear(cluster)
    try:
        _deploy(cluster, pytestconfig)
        # the tests say when the keeper runs
        cluster.kubectl("patch", "cronjob", "flask-app-keeper", "--patch", SUSPENDED)
        yield cluster
    finally:
        if not keep:
            cluster.run("make", "destroy")


def _clear(cluster: Cluster) -> None:
    """Remove what a run that was ended has left; what another folder made is not touched."""
    try:
        cluster.run("make", "destroy")
    except AssertionError as refused:
        pytest.exit(f"{refused}\n{OTHERS}", returncode=1)


def _deploy(cluster: Cluster, config: pytest.Config) -> None:
    """Run `make deploy`, and show what it prints as it runs."""
    reporter = config.pluginmanager.getplugin("terminalreporter")
    capture = config.pluginmanager.getplugin("capturemanager")
    assert reporter
    assert capture
    with subprocess.Popen(
        ["make", "deploy"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env={**cluster.environment(), "HINTS": "0"},
    ) as process:
        assert process.stdout
        for line in process.stdout:
            with capture.global_and_fixture_disabled():
                reporter.write_line(line.rstrip())
    assert process.returncode == 0, f"make deploy failed: see what it printed. {OTHERS}"
