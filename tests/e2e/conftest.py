"""A kind cluster with the release on it, made by `make deploy`, for the tests that ask for it.

They follow each other. In a whole run another worker does beside them what shares no cluster with
them. KEEP=1 leaves the cluster, and upgrades the release on one that was left.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, LOCK_SH, LOCK_UN, flock
from pathlib import Path

import pytest
import urllib3
from xdist.scheduler import LoadScopeScheduling

from tests.e2e.budgets import DEPLOYED, Record
from tools.cluster.client import ROOT, SUSPENDED, Cluster

OTHERS = "`E2E_CLUSTER=… E2E_PORT=… make e2e` takes another cluster, and another port."

#: What `make deploy` makes a release from.
SOURCES = (
    *("app", "chart", "tools/cluster", "keeper", "requirements", "secret_files"),
    *("Dockerfile", ".dockerignore", "kind-config.yaml", "tests/e2e/values.yaml"),
)
#: Where a cluster's folder has the fingerprint of these.
DEPLOYED_FROM = "deployed-from"

#: What the other worker does: it makes clusters or machines of its own, or is on a second cluster,
#: as the workshop's labs are, which have the release to themselves, and the sources.
ON_THE_SECOND = ("test_workshop.py", "test_sources.py")
BESIDE = ("test_fresh_machine.py", "test_your_service.py", *ON_THE_SECOND)

#: Rotations wait for the kubelet.
FIRST = ("test_rotation.py",)
LAST = ("test_ten_rotations_in_a_row",)

#: Load that shows in what runs beside it, and the other way round: the other worker rests.
ALONE = (*LAST, "test_it_is_rotated_under_load_and_looked_for")

#: The cluster was deployed in this time, which no test has reported yet.
UNREPORTED = pytest.StashKey[float]()


def pytest_configure(config: pytest.Config) -> None:
    """Show no arguments of functions: what goes into a command's input may be a secret."""
    config.option.tbstyle = "short"
    config.option.showlocals = False
    if not hasattr(config, "workerinput") and not config.option.collectonly:
        config.pluginmanager.register(Whole(config))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what waits most, while the other worker computes, and end with `LAST`."""
    order = [*FIRST, "", *BESIDE]

    def place(item: pytest.Item) -> tuple[bool, int]:
        file = item.path.name
        return item.name in LAST, order.index(file if file in order else "")

    items.sort(key=place)


class Beside(LoadScopeScheduling):  # type: ignore[misc]
    """Keeps those together that share the cluster; the files of `BESIDE` go where there is time."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0].rpartition("/")[2]
        return file if file in BESIDE else "the cluster"


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Beside:
    """Give each of two workers what it is to run, one test after the other."""
    config.option.loadscopereorder = False
    return Beside(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    """Tell with the first test what its cluster took, which is not the test's own time."""
    try:
        return (yield)
    finally:
        if (seconds := item.config.stash.get(UNREPORTED, 0.0)) > 0:
            item.user_properties.append((DEPLOYED, seconds))
            item.config.stash[UNREPORTED] = 0.0


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Begin a test when it is its turn, and with it the time that it takes."""
    with turn(ROOT / ".local", item.name in ALONE):
        return (yield)


@contextmanager
def turn(folder: Path, alone: bool) -> Iterator[None]:
    """Wait until no test has the machine alone; one that is to have it waits for all others."""
    folder.mkdir(exist_ok=True)
    with (folder / "e2e.door").open("w") as door, (folder / "e2e.room").open("w") as room:
        flock(door, LOCK_EX)  # who waits for the others to leave the room lets none in
        flock(room, LOCK_EX if alone else LOCK_SH)
        flock(door, LOCK_UN)
        yield


class Whole:
    """The run as a whole, for the process that sees all workers."""

    def __init__(self, config: pytest.Config) -> None:
        self._is_whole = bool(config.option.numprocesses)
        self._record = Record()
        self._plugins = config.pluginmanager

    def pytest_sessionstart(self) -> None:
        """Remove what a run that was ended has left; what another folder made is not touched."""
        try:
            self._remove()
        except AssertionError as refused:
            pytest.exit(f"{refused}\n{OTHERS}", returncode=1)

    def pytest_sessionfinish(self) -> None:
        """Remove what a worker that was ended has left."""
        self._remove()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add what a part of a test took, and tell at once why one has failed."""
        self._record.add(report)
        terminal = self._plugins.getplugin("terminalreporter")
        if report.failed and self._is_whole and terminal:
            terminal.write_line(report.longreprtext)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Name the longest groups, and keep what each took, if all of them were run."""
        terminalreporter.section("longest groups")
        deployed = self._record.deployed
        terminalreporter.write_line(f"{deployed:5.0f} s  the clusters, until the service answers")
        for group, seconds in self._record.longest():
            terminalreporter.write_line(f"{seconds:5.0f} s  {group}")
        if self._is_whole and "deselected" not in terminalreporter.stats:
            self._record.write()

    def _remove(self) -> None:
        for number in range(0 if is_kept() else 2 if self._is_whole else 1):
            of_worker(number).run("make", "destroy")


@pytest.fixture(scope="session")
def cluster(pytestconfig: pytest.Config) -> Iterator[Cluster]:
    """Deploy, and remove the cluster in the end."""
    cluster = of_worker(number_of(pytestconfig))
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
    """Tell whether the cluster stays, and one is used that stayed."""
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


def number_of(config: pytest.Config) -> int:
    """Return a worker's number; a run that a test of a worker began is none of them, and has 0."""
    name = getattr(config, "workerinput", {"workerid": "gw0"})["workerid"]
    return int(name.removeprefix("gw"))


def of_worker(number: int) -> Cluster:
    """Return a worker's cluster; that of the first one has the name and the port that are set."""
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
