"""Kind clusters with the release on each, made by `make deploy` itself: one for each lane.

KEEP=1 leaves the clusters, and upgrades the release on those that were left.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import time
from collections.abc import Iterator

import pytest
import urllib3

from tests.e2e.cluster import ROOT, SUSPENDED, Cluster
from tests.e2e.lanes import DEPLOYED, Lanes, Record

OTHERS = "`E2E_CLUSTER=… E2E_PORT=… make e2e` takes other clusters, and other ports."

#: What `make deploy` makes a release from.
SOURCES = (
    *("app", "chart", "cluster", "requirements", "tests/e2e/values.yaml"),
    *("Dockerfile", ".dockerignore", "kind-config.yaml"),
)
#: Where a cluster's folder has the fingerprint of these.
DEPLOYED_FROM = "deployed-from"

#: The cluster was deployed in this time, which no test has reported yet.
UNREPORTED = pytest.StashKey[float]()


def pytest_configure(config: pytest.Config) -> None:
    """Show no arguments of functions: what goes into a command's input may be a secret."""
    config.option.tbstyle = "short"
    config.option.showlocals = False
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Whole(config))


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Lanes:
    """Give each worker a lane."""
    return Lanes(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    """Tell with the first test what its cluster took, which is not the test's own time."""
    try:
        return (yield)
    finally:
        if (seconds := item.config.stash.get(UNREPORTED, 0.0)) > 0:
            item.user_properties.append((DEPLOYED, seconds))
            item.config.stash[UNREPORTED] = 0.0


class Whole:
    """The run as a whole, for the process that sees all lanes."""

    def __init__(self, config: pytest.Config) -> None:
        self._lanes = config.option.numprocesses or 1
        self._is_beside = bool(config.option.numprocesses)
        self._record = Record()

    def pytest_sessionstart(self) -> None:
        """Remove what a run that was ended has left; what another folder made is not touched."""
        try:
            self._remove()
        except AssertionError as refused:
            pytest.exit(f"{refused}\n{OTHERS}", returncode=1)

    def pytest_sessionfinish(self) -> None:
        """Remove what a lane that was ended has left."""
        self._remove()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add what a part of a test took."""
        self._record.add(report)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Name the longest groups, and keep what each took, if all of them were run."""
        terminalreporter.section("longest groups")
        for seconds in self._record.deployments:
            terminalreporter.write_line(f"{seconds:5.0f} s  a cluster, until the service answers")
        for group, seconds in self._record.longest():
            terminalreporter.write_line(f"{seconds:5.0f} s  {group}")
        if self._is_beside and "deselected" not in terminalreporter.stats:
            self._record.write()

    def _remove(self) -> None:
        if not is_kept():
            for lane in range(self._lanes):
                of_lane(lane).run("make", "destroy")


@pytest.fixture(scope="session")
def cluster(pytestconfig: pytest.Config) -> Iterator[Cluster]:
    """Deploy, and remove the cluster as soon as its lane has ended."""
    cluster = of_lane(int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")))
    began = time.monotonic()
    made_from = fingerprint()
    try:
        if not (is_kept() and is_deployed(cluster, made_from)):
            # gone first: one that fails leaves something else behind
            (cluster.state / DEPLOYED_FROM).unlink(missing_ok=True)
            _deploy(cluster, pytestconfig)
            (cluster.state / DEPLOYED_FROM).write_text(made_from)
        # the tests say when the keeper runs
        cluster.kubectl("patch", "cronjob", "flask-app-keeper", "--patch", SUSPENDED)
        pytestconfig.stash[UNREPORTED] = time.monotonic() - began
        yield cluster
    finally:
        if not is_kept():
            cluster.run("make", "destroy")


def is_kept() -> bool:
    """Tell whether the clusters stay, and those are used that stayed."""
    return os.environ.get("KEEP") == "1"


def fingerprint() -> str:
    """Return the same text for the same files from which `make deploy` makes a release."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *SOURCES],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
    ).stdout.split("\0")[:-1]
    assert len(listed) > len(SOURCES)
    digest = hashlib.sha256()
    for path in (ROOT / name for name in sorted(set(listed)) if (ROOT / name).exists()):
        digest.update(f"{path}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def is_deployed(cluster: Cluster, made_from: str) -> bool:
    """Tell whether a cluster that was kept has a release of these files, whose pods are ready."""
    kept = cluster.state / DEPLOYED_FROM
    if not kept.exists() or kept.read_text() != made_from:
        return False
    try:
        status = [one["status"] for one in cluster.items("deployments")]
    except (AssertionError, urllib3.exceptions.HTTPError):
        return False
    return bool(status) and all(one.get("availableReplicas") == one["replicas"] for one in status)


def of_lane(number: int) -> Cluster:
    """Return the cluster of a lane; that of the first has the name and port that are set."""
    name, port = os.environ["CLUSTER"], int(os.environ["HTTPS_PORT"])
    return Cluster(f"{name}-{number + 1}" if number else name, str(port + number))


def _deploy(cluster: Cluster, config: pytest.Config) -> None:
    """Run `make deploy`, and show what it prints: as it runs, or where it fails beside others."""
    reporter = config.pluginmanager.getplugin("terminalreporter")
    capture = config.pluginmanager.getplugin("capturemanager")
    assert capture
    printed = []
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
            printed.append(line)
            if reporter:
                with capture.global_and_fixture_disabled():
                    reporter.write_line(line.rstrip())
    shown = "" if reporter else "".join(printed)
    assert process.returncode == 0, f"make deploy failed: see what it printed. {OTHERS}\n{shown}"
