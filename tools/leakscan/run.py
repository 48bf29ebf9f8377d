"""One scan of a release, from its values to the report."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from secret_files import Secret
from tools.cluster.client import ROOT, Cluster
from tools.cluster.job import start
from tools.progress import Progress

from .engine import CLEAN, Place, Reading, Report, Swept, Unreadable, scan
from .needles import Needles
from .places import PLACES
from .reader import Reader, reader
from .target import Target
from .watch import Watch


@dataclass
class Scan:
    """A release that is scanned, with all values that it had since the scan began.

    What is done to the release between its making and `report` is what is searched for traces.
    """

    cluster: Cluster
    reader: Reader
    watch: Watch
    #: By the image of the service's pods, where it is empty.
    image: str = ""
    root: Path = ROOT
    values: list[Secret] = field(default_factory=list)
    #: Is told of each place.
    progress: Progress = field(default_factory=Progress)

    def remember(self) -> None:
        """Read the values of this moment; those that were there before are previous now."""
        now = self.reader.values()
        before = [value for value in self.values if value not in now]
        # in place: who reports an error has to know them
        self.values[:] = now + [previous(value) for value in before]

    def target(self, also: Iterable[Secret] = ()) -> Target:
        """Return what is scanned, to look for all of these values.

        :param also: values that are looked for beside them.
        """
        self.remember()
        image = self.image or image_of(self.cluster)
        needles = Needles([*self.values, *also])
        return Target(self.cluster, needles, self.reader, self.watch, image, self.root)

    def report(self, target: Target | None = None, places: Iterable[Place] = PLACES) -> Report:
        """Look for the values in all these places; others that come meanwhile are told, too."""
        target = target or self.target()
        report = scan(target, places, self.progress)
        after = scan(target, [SAME])
        return report if after.status == CLEAN else Report(report.rows + after.rows, report.needles)

    def rotate(self) -> None:
        """Rotate everything, with a database that logs every change of a role.

        :raises Unreadable: the rotation failed.
        """
        self.remember()
        begun = self.cluster.node("date", "--utc", "+%FT%TZ").strip()
        self._log_statements("SET log_statement = 'ddl'")
        try:
            job = start(self.cluster, "rotate")
            if not job.succeeds():
                raise Unreadable(f"the rotation is not finished: see the log of the Job {job.name}")
        finally:
            self._log_statements("RESET log_statement")
        logs = ("logs", *self.cluster.pods("database"), "--since-time", begun)
        if "ALTER ROLE" not in self.cluster.kubectl(*logs):
            raise Unreadable("the database has logged no change of a role")
        self.remember()

    def _log_statements(self, setting: str) -> None:
        change = (f"ALTER SYSTEM {setting}", "SELECT pg_reload_conf()")
        self.cluster.sql(*change, login=self.reader.login())


def same(target: Target) -> Reading:
    """The Secrets of the release once more, after all places: no other value has come."""
    values = target.reader.values()
    if not all(target.needles.find(value.reveal().encode()) for value in values):
        raise Unreadable("they changed while their values were looked for: scan once more")
    yield Swept(len(values), sum(len(value.reveal()) for value in values))


#: Told only where it fails.
SAME: Final = Place("kubernetes objects", "secrets", same)


@contextmanager
def scanning(cluster: Cluster, progress: Progress | None = None) -> Iterator[Scan]:
    """Begin a scan: from here on, processes are watched, and values remembered.

    :param progress: is told of it, and of each place.
    """
    progress = progress or Progress()
    with ExitStack() as stack:
        with progress.step("read the values to look for, and watch the processes"):
            reads = stack.enter_context(reader(cluster))
            watch = stack.enter_context(Watch(cluster))
            begun = Scan(cluster, reads, watch, progress=progress)
            begun.remember()
        try:
            yield begun
        finally:
            # not before: the places read at the same time
            for job in watch.jobs:
                cluster.kubectl("delete", "job", job, "--ignore-not-found", "--wait=false")


def previous(value: Secret) -> Secret:
    """Return the same value under a name that tells that it is current no more."""
    name = value.name.removesuffix(" (previous)")
    return Secret(f"{name} (previous)", value.reveal())


def image_of(cluster: Cluster) -> str:
    """Return the image that the service's pods have."""
    (service,) = [
        one
        for one in cluster.objects("deployments", "app.kubernetes.io/component=service")
        if one["metadata"]["name"] == cluster.fullname
    ]
    return str(service["spec"]["template"]["spec"]["containers"][0]["image"])
