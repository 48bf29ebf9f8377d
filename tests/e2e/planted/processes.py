"""Leaks into what processes show of themselves."""

from __future__ import annotations

import base64
import hashlib
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Final

from tools.cluster.client import created, made
from tools.leakscan.network import RUN
from tools.leakscan.target import Target

from . import plants
from .pods import container as service_container
from .pods import spec_of

#: What a container does until it is removed.
WAIT: Final = "ulimit -c 0; exec sleep 600"

#: How long a command may take to end after its input, in seconds.
ENDED: Final = 10

#: A process within a pod, until the input ends.
CHILD: Final = """
import subprocess, sys
child = subprocess.Popen({command}, env={{"NOTE": {note!r}}})
print("ready", flush=True)
sys.stdin.read()
child.kill()
child.wait()
"""

#: A file that is open, of which only a process knows: it has no name any more.
OPEN: Final = """
import pathlib, sys
path = pathlib.Path("/dev/shm", {name!r})
with path.open("w"):
    path.unlink()
    print("ready", flush=True)
    sys.stdin.read()
"""

#: A container that never runs, with the variables that stand in the input.
CREATE: Final = """
ctr --namespace k8s.io containers create --rootfs --env-file /dev/stdin \
  --label "io.kubernetes.pod.namespace=$1" --label io.kubernetes.pod.name=planted \
  --label io.kubernetes.container.name=planted / planted true
"""

#: Where there is one, also of a run that was killed.
REMOVE: Final = """
ctr="ctr --namespace k8s.io containers"
! $ctr list --quiet | grep -qx planted || $ctr delete planted
"""


@plants("processes: environ")
def environ(target: Target, canary: str) -> Iterator[None]:
    """A variable of one process in a pod of the service."""
    note = base64.b64encode(f"password={canary}".encode()).decode()
    with in_pod(target, CHILD.format(command=["sleep", "600"], note=note)):
        yield


@plants("processes: cmdline")
def cmdline(target: Target, canary: str) -> Iterator[None]:
    """An argument."""
    command = ["python3", "-c", "import time; time.sleep(600)", canary.encode().hex().upper()]
    with in_pod(target, CHILD.format(command=command, note="")):
        yield


@plants("processes: open files")
def open_file(target: Target, canary: str) -> Iterator[None]:
    """The name of an open file."""
    name = hashlib.md5(canary.encode(), usedforsecurity=False).hexdigest()
    with in_pod(target, OPEN.format(name=name)):
        yield


@plants("processes: started as", also=("node: disks",))
def container(target: Target, canary: str) -> Iterator[None]:
    """A variable that a container is created with, which containerd keeps on disk."""
    node = target.cluster.node
    node("sh", "-c", REMOVE)
    node("sh", "-c", CREATE, "sh", target.cluster.namespace, stdin=f"NOTE={canary}\n")
    try:
        yield
    finally:
        node("sh", "-c", REMOVE)


@plants("processes: environ")
def init_container(target: Target, canary: str) -> Iterator[None]:
    """A variable of a process of an init container, whose pod has gone."""
    spec = spec_of(service_container(target, "true", "later"))
    spec["initContainers"] = [service_container(target, WAIT)]
    script = CHILD.format(command=["sleep", "600"], note=canary)
    with created(target.cluster, made("v1", "Pod", "planted-init", spec=spec)):
        _leave(target, "pod/planted-init", ".status.initContainerStatuses[0].started=true", script)
    yield


@plants("processes: cmdline")
def job(target: Target, canary: str) -> Iterator[None]:
    """An argument of a process of a Job that has gone."""
    digest = hashlib.sha1(canary.encode(), usedforsecurity=False).hexdigest()
    script = CHILD.format(command=["python3", "-c", "input()", digest], note="")
    spec = {**spec_of(service_container(target, WAIT)), "restartPolicy": "Never"}
    made_job = made("batch/v1", "Job", "planted-job", spec={"template": {"spec": spec}})
    with created(target.cluster, made_job):
        _leave(target, "job/planted-job", ".status.ready=1", script)
    yield


def in_pod(target: Target, script: str) -> AbstractContextManager[None]:
    """Run a script in a pod of the service, as `held` does."""
    command = ("exec", "--stdin", target.cluster.pods("service")[0], "--", "python", "-c", RUN)
    return held(target, script, *target.cluster.command(*command))


def _leave(target: Target, owner: str, runs: str, script: str) -> None:
    """Run a script in a container until its processes were seen, and end them."""
    field, _, value = runs.partition("=")
    target.cluster.kubectl("wait", owner, f"--for=jsonpath={{{field}}}={value}", "--timeout=60s")
    command = ("exec", "--stdin", owner, "--container", "planted", "--", "python", "-c", RUN)
    with held(target, script, *target.cluster.command(*command)):
        target.watch.processes()


@contextmanager
def held(target: Target, script: str, *command: str) -> Iterator[None]:
    """Give a script to a command, wait until it is ready, and end its input at last."""
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=target.cluster.environment(),
        text=True,
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(f"{script!r}\n")
        process.stdin.flush()
        assert process.stdout.readline() == "ready\n", "what is planted does not start"
        try:
            yield
        finally:
            process.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                process.wait(ENDED)
            process.kill()
