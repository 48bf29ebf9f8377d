"""Leaks in what containers and the node write."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from tools.cluster.client import WAIT
from tools.leakscan.target import Target
from tools.poll import poll

from . import plants
from .pods import pod, write

#: How long a container may take to start again, in seconds.
RESTART = 30


@plants("output: logs", also=("output: node's files",))
def log(target: Target, canary: str) -> Iterator[None]:
    """A line of a container's log."""
    with pod(target, "planted-log", WAIT) as name:
        encoded = base64.b64encode(f"key={canary}".encode()).decode()
        write(target, name, "/proc/1/fd/1", f"{encoded}\n")
        yield


@plants("output: logs", also=("output: node's files",))
def previous_log(target: Target, canary: str) -> Iterator[None]:
    """A line of the log that a container wrote before it was restarted."""
    with pod(target, "planted-previous-log", WAIT) as name:
        write(target, name, "/proc/1/fd/1", quote(f"password: {canary}") + "\n")
        # the container can end before this command does
        target.cluster.kubectl("exec", name, "--", "sh", "-c", "kill 1", check=False)
        poll(lambda: _has_restarted(target, name), f"the restart of {name}", RESTART)
        yield


@plants("output: node's files")
def rotated_log(target: Target, canary: str) -> Iterator[None]:
    """A log that the kubelet has rotated away and packed, which `kubectl logs` does not show."""
    with pod(target, "planted-rotated-log", WAIT) as name:
        packed = base64.b64encode(gzip.compress(f"stdout F token {canary}\n".encode())).decode()
        folder = f"/var/log/pods/{target.cluster.namespace}_{name}_{_uid(target, name)}/planted"
        unpack = 'base64 -d >"$1"/0.log.20260101-000000.gz'
        target.cluster.node("sh", "-c", unpack, "sh", folder, stdin=packed)
        yield


@plants("output: termination messages", also=("node: disks",))
def termination_message(target: Target, canary: str) -> Iterator[None]:
    """A last message, of a container that has not ended yet."""
    with pod(target, "planted-message", WAIT) as name:
        digest = hashlib.sha256(canary.encode()).hexdigest()
        write(target, name, "/dev/termination-log", digest)
        yield


@plants("output: node's journal")
def journal(target: Target, canary: str) -> Iterator[None]:
    """A line about the kubelet. It stays in the journal, which forgets nothing line by line."""
    send = """
    { cat; echo; echo "OBJECT_PID=$(systemctl show --property MainPID --value kubelet)"; } |
      logger --journald
    """
    target.cluster.node("sh", "-c", send, stdin=f"MESSAGE=planted {canary.encode().hex()}")
    yield


def _get(target: Target, pod: str) -> Any:
    return json.loads(target.cluster.kubectl("get", "pod", pod, "--output", "json"))


def _uid(target: Target, pod: str) -> str:
    return str(_get(target, pod)["metadata"]["uid"])


def _has_restarted(target: Target, pod: str) -> bool:
    (status,) = _get(target, pod)["status"]["containerStatuses"]
    return bool(status["restartCount"] and "running" in status["state"])
