"""What the containers and the node have written."""

from __future__ import annotations

import gzip
import json
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Final

from tools.poll import poll

from .archive import as_file, entries, pieces
from .engine import Reading, Sample, Unreadable, place
from .processes import statuses
from .target import Target

#: What has to be among the pods, by their label.
COMPONENTS: Final = ("service", "database", "keeper")
#: Those whose pods stay.
LASTING: Final = ("service", "database")

#: How long a request may take to be in the log, in seconds.
LOGGED: Final = 15

#: What the kubelet sends in the place of a log, as if it was one.
NO_LOG: Final = (b"unable to retrieve container logs for", b"failed to try resolving symlinks")

Pod = dict[str, Any]
#: A pod, and the status of one of its containers.
Container = tuple[Pod, dict[str, Any]]

#: Files that grow, or go, meanwhile (tar's exit status 1) are no error.
TAR_LOGS: Final = "cd /var/log/pods && tar --create --file - *; [ $? -le 1 ]"
TAR_MESSAGES: Final = """
cd /var/lib/kubelet/pods && tar --create --file - --exclude './*/volumes' \
  --exclude './*/volume-subpaths' --exclude './*/plugins' .; [ $? -le 1 ]
"""


@place("output", "logs")
def logs(target: Target) -> Reading:
    """The log of every container, and of the one before where it was restarted."""
    marker = _ask(target)
    sizes: Counter[str] = Counter()
    marked = False
    for pod, status in started(target):
        for previous in previous_too(target, status):
            tally = Tally(marker)
            which = "previous log" if previous else "log"
            yield Sample(
                f"pod {name(pod)}: {which} of {status['name']}",
                tally.through(log(target, pod, status["name"], previous)),
            )
            sizes[component(target, pod)] += tally.size
            marked |= tally.marked
    if missing := [one for one in COMPONENTS if not sizes[one]]:
        raise Unreadable(f"no line of a log of {', '.join(missing)} was read")
    if not marked:
        raise Unreadable("the request made just before is in no log that was read")


@place("output", "node's files")
def node_files(target: Target) -> Reading:
    """Every file below /var/log/pods, of all namespaces, rotated ones too."""
    missing = {
        f"{target.cluster.namespace}_{name(pod)}_{pod['metadata']['uid']}/{status['name']}"
        for pod, status in _lasting(target, started(target))
    }
    for entry in entries(as_file(target.cluster.node_stream("sh", "-c", TAR_LOGS))):
        packed = entry.name.endswith(".gz")
        content = gzip.GzipFile(fileobj=entry.content) if packed else entry.content
        yield Sample(f"/var/log/pods/{entry.name}", pieces(content))
        missing.discard(entry.name.rpartition("/")[0])
    if missing:
        raise Unreadable(f"no file was read in {', '.join(sorted(missing))}")


@place("output", "termination messages")
def termination_messages(target: Target) -> Reading:
    """The status of every container, and the file for its last message on the node."""
    found = started(target)
    for pod, status in found:
        where = f"pod {name(pod)}: status of container {status['name']}"
        yield Sample(where, json.dumps(status).encode())
    names = {pod["metadata"]["uid"]: name(pod) for pod, _ in found}
    missing = {
        f"{pod['metadata']['uid']}/containers/{status['name']}"
        for pod, status in _lasting(target, found)
        if "running" in status["state"]
    }
    for entry in entries(as_file(target.cluster.node_stream("sh", "-c", TAR_MESSAGES))):
        uid, _, path = entry.name.removeprefix("./").partition("/")
        folder, _, file = path.rpartition("/")
        if file and folder.startswith("containers/"):
            yield Sample(f"pod {names.get(uid, uid)}: {path} on the node", pieces(entry.content))
            missing.discard(f"{uid}/{folder}")
    if missing:
        raise Unreadable(f"no file was read in {', '.join(sorted(missing))}")


@place("output", "node's journal")
def journal(target: Target) -> Reading:
    """The journal of the kubelet and of containerd."""
    for unit in ("kubelet", "containerd"):
        # --all: also what can't be printed
        command = ("journalctl", "--quiet", "--no-pager", "--all", "--output", "cat")
        tally = Tally()
        chunks = target.cluster.node_stream(*command, "--unit", unit)
        yield Sample(f"journal of {unit}", tally.through(chunks))
        if not tally.size:
            raise Unreadable(f"the journal has nothing of {unit}")


class Tally:
    """Counts what passes, and tells whether a marker was in it."""

    def __init__(self, marker: str = "") -> None:
        self._marker = marker.encode()
        self.size = 0
        self.marked = False

    def through(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Give the same chunks."""
        before = b""
        for chunk in chunks:
            if not self.size and chunk.startswith(NO_LOG):
                raise Unreadable("the kubelet can't find a log")
            self.size += len(chunk)
            text = before + chunk
            self.marked |= self._marker in text
            before = text[len(text) - len(self._marker) :]
            yield chunk


def name(pod: Pod) -> str:
    """Return the name of a pod."""
    return str(pod["metadata"]["name"])


def component(target: Target, pod: Pod) -> str:
    """Return what a pod is in the release; nothing if it is none of its."""
    labels = pod["metadata"].get("labels", {})
    ours = labels.get("app.kubernetes.io/instance") == target.cluster.fullname
    return str(labels.get("app.kubernetes.io/component", "")) if ours else ""


def started(target: Target) -> list[Container]:
    """Return the status of each container in the namespace that has started, and its pod."""
    pods = json.loads(target.cluster.kubectl("get", "pods", "--output", "json"))["items"]
    return [
        (pod, status)
        for pod in pods
        for status in statuses(pod)
        if "waiting" not in status["state"] or status.get("lastState")
    ]


def _lasting(target: Target, found: list[Container]) -> list[Container]:
    """Return those whose pods stay, of which there has to be one at least."""
    lasting = [one for one in found if component(target, one[0]) in LASTING]
    if len({component(target, pod) for pod, _ in lasting}) < len(LASTING):
        raise Unreadable(f"there is no pod of {' or of '.join(LASTING)}")
    return lasting


def previous_too(target: Target, status: dict[str, Any]) -> tuple[bool, ...]:
    """Tell which logs a container has: of this run, and of the one before.

    The kubelet removes what ran before, and its log, when an init container runs again.
    """
    before = status.get("lastState", {}).get("terminated", {}).get("containerID", "")
    if not status["restartCount"] or not before:
        return (False,)
    which = f"id=={before.removeprefix('containerd://')}"
    there = target.cluster.node("ctr", "--namespace", "k8s.io", "containers", "list", "-q", which)
    return (False, True) if there else (False,)


def log(target: Target, pod: Pod, container: str, previous: bool) -> Iterator[bytes]:
    """Iterate over a container's log; that of a pod which goes meanwhile ends there."""
    arguments = ("logs", name(pod), "--container", container, "--tail=-1", f"--previous={previous}")
    try:
        yield from target.cluster.stream(*target.cluster.command(*arguments))
    except AssertionError:
        query = ("get", "pod", name(pod), "--ignore-not-found", "--output", "name")
        if target.cluster.kubectl(*query):
            raise


def _ask(target: Target) -> str:
    """Make a request, and return what the service's log has of it alone."""
    marker = f"/leak-scan-{secrets.token_hex(8)}"
    service = f"services/https:{target.cluster.fullname}:8443"
    path = f"/api/v1/namespaces/{target.cluster.namespace}/{service}/proxy{marker}"
    # there is no such page
    target.cluster.kubectl("get", "--raw", path, check=False)
    labels = "app.kubernetes.io/component=service"
    selector = f"app.kubernetes.io/instance={target.cluster.fullname},{labels}"
    newest = ("logs", "--selector", selector, "--since", "1m", "--tail", "-1")
    what = "a line of the service's log about the request made just before"
    poll(lambda: marker in target.cluster.kubectl(*newest), what, LOGGED)
    return marker
