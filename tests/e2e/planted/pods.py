"""Pods that do nothing by themselves, with what is planted in them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tools.cluster.client import HARDENED, Object, created, made
from tools.leakscan.run import image_of
from tools.leakscan.target import Target


@contextmanager
def pod(target: Target, name: str, command: str, token: bool = False) -> Iterator[str]:
    """Start a pod of the service's image that runs a shell command, and remove it.

    :param token: whether it has one of its account.
    """
    spec = spec_of(container(target, command), token)
    with created(target.cluster, made("v1", "Pod", name, spec=spec)):
        ready = ("--for", "condition=Ready", "--timeout", "60s")
        target.cluster.kubectl("wait", f"pod/{name}", *ready)
        yield name


def container(target: Target, command: str, name: str = "planted") -> Object:
    """Return a container of the service's image that runs a shell command."""
    return {
        "name": name,
        "image": image_of(target.cluster),
        "command": ["sh", "-c", command],
        "securityContext": HARDENED,
    }


def spec_of(container: Object, token: bool = False) -> Object:
    """Return the specification of a pod with this container, which ends at once."""
    return {
        "automountServiceAccountToken": token,
        "terminationGracePeriodSeconds": 0,
        "containers": [container],
    }


def write(target: Target, pod: str, file: str, text: str) -> None:
    """Write a text into a file of a pod; it stands in no command line."""
    command = ("exec", "--stdin", pod, "--", "sh", "-c", f"cat >{file}")
    target.cluster.kubectl(*command, stdin=text)
