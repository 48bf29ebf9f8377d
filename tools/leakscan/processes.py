"""What the processes of the pods and of the node show of themselves."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final

from tools.cluster.job import start
from tools.poll import PollTimeout, poll

from .engine import Reading, Sample, Unreadable, place
from .target import Target
from .watch import Process

#: How long a pod may take to start, and what runs already to be seen, in seconds.
STARTED: Final = 60
SEEN: Final = 10


#: Every container in a namespace, as containerd was told to start it. One that is removed meanwhile
#: is no error.
STARTED_AS: Final = """
ctr="ctr --namespace k8s.io containers"
list() { $ctr list --quiet "labels.\\"io.kubernetes.pod.namespace\\"==$1"; }
containers=$(list "$1") || exit
for id in $containers; do
  $ctr info "$id" || ! list "$1" | grep -q "$id" || exit
done
"""

Pod = dict[str, Any]


@place("processes", "environ")
def environ(target: Target) -> Reading:
    """The environment of every process that the node had, also in the pods of Jobs."""
    for process in seen(target):
        yield Sample(_where(target, "environ", process), _lines(process.environs))


@place("processes", "cmdline")
def cmdline(target: Target) -> Reading:
    """The command line of every process that the node had, also in the pods of Jobs."""
    for process in seen(target):
        yield Sample(_where(target, "cmdline", process), _lines(process.cmdlines))


@place("processes", "open files")
def open_files(target: Target) -> Reading:
    """The names of the files that every process had open or mapped."""
    for process in seen(target):
        yield Sample(_where(target, "open files", process), _lines(process.files))


@place("processes", "started as")
def started_as(target: Target) -> Reading:
    """What every container of the namespace was started with, ended ones and init ones too."""
    pods = target.cluster.objects("pods")
    expected = {identity for pod in pods for identity, _ in containers(pod)}
    if not any(_initialised(pod) for pod in pods):
        raise Unreadable("no pod has an init container that has ended, not even the database's")
    told = target.cluster.node("sh", "-c", STARTED_AS, "sh", target.cluster.namespace)
    for container in _documents(told):
        labels = container["Labels"]
        kind = labels.get("io.kubernetes.container.name", labels.get("io.cri-containerd.kind"))
        pod = labels.get("io.kubernetes.pod.name")
        yield Sample(f"pod {pod}: container {kind}", json.dumps(container).encode())
        expected.discard(container["ID"])
    stay = {identity for pod in target.cluster.objects("pods") for identity, _ in containers(pod)}
    if missing := expected & stay:
        raise Unreadable(f"containerd does not tell of {', '.join(sorted(missing))}")


def seen(target: Target) -> list[Process]:
    """Return all processes, once those of every container that runs are among them.

    One of them is a Job of the keeper, which is started for that.
    """
    watch = target.watch
    watch.once(target.cluster.namespace, lambda: _run_job(target))
    for pod in target.cluster.objects("pods"):
        name = pod["metadata"]["name"]
        for identity, status in containers(pod):
            watch.names[identity] = f"pod {name}: {status['name']}"
            if "running" in status["state"]:
                _until_seen(target, identity)
    return watch.processes()


def containers(pod: Pod) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give the status of each of a pod's containers that was ever started, by its ID."""
    for status in statuses(pod):
        if identity := status.get("containerID"):
            yield identity.rpartition("/")[2], status


def statuses(pod: Pod) -> Iterator[dict[str, Any]]:
    """Give the status of each of a pod's containers, of all kinds."""
    for kind in ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"):
        yield from pod["status"].get(kind, [])


def _until_seen(target: Target, identity: str) -> None:
    """Wait until a container's processes were seen, unless it has just ended."""
    try:
        target.watch.until_seen(identity, SEEN)
    except PollTimeout:
        now = dict(one for pod in target.cluster.items("pods") for one in containers(pod))
        if "running" in now.get(identity, {"state": ()})["state"]:
            raise


def _run_job(target: Target) -> None:
    """Let the keeper read the state of the secrets, and see it do so."""
    job = start(target.cluster, "status")
    target.watch.jobs.append(job.name)
    identity, name = _started(target, job.name)
    target.watch.names[identity] = name
    target.watch.until_seen(identity, SEEN)
    # what it does at its end is seen, too
    job.succeeds()


def _started(target: Target, job: str) -> tuple[str, str]:
    """Wait for the container of a Job, and return its ID and its name."""

    def started() -> tuple[str, str] | None:
        for pod in target.cluster.items("pods", f"job-name={job}"):
            for identity, status in containers(pod):
                return identity, f"pod {pod['metadata']['name']}: {status['name']}"
        return None

    return poll(started, f"the start of the Job {job}", STARTED)


def _initialised(pod: Pod) -> bool:
    statuses = pod["status"].get("initContainerStatuses", [])
    return any("terminated" in status["state"] for status in statuses)


def _documents(text: str) -> Iterator[dict[str, Any]]:
    decoder = json.JSONDecoder()
    while text := text.lstrip():
        document, end = decoder.raw_decode(text)
        yield document
        text = text[end:]


def _where(target: Target, what: str, process: Process) -> str:
    unknown = f"pod {process.pod}" if process.pod else "node"
    owner = target.watch.names.get(process.container, unknown)
    return f"{owner}: {what} of {process.pid} ({process.command})"


def _lines(texts: Iterable[bytes]) -> bytes:
    return b"\n".join(sorted(texts))
