"""Leaks into the audit log, and what is missing in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tools.cluster.client import created, made
from tools.leakscan.audit import FOLDER
from tools.leakscan.target import Target

from . import plants


@plants("audit log: events")
def address(target: Target, canary: str) -> Iterator[None]:
    """Ask for a Secret of that name, which is in the URI, and not there."""
    wanted = json.dumps(made("v1", "Secret", canary))
    target.cluster.kubectl("get", "--filename", "-", stdin=wanted, check=False)
    yield


@plants("audit log: events", fault="events of level Request: 1")
def level(target: Target, canary: str) -> Iterator[None]:
    """Log an event that has the request's body."""
    event = {"level": "Request", "verb": "patch", "user": {"username": "leak"}}
    with logged(target, "audit-level.log", {**event, "requestObject": {"data": {}}}):
        yield


@plants("audit log: events", fault="events without who: 1")
def nobody(target: Target, canary: str) -> Iterator[None]:
    """Log an event that does not tell who it was."""
    secrets = {"resource": "secrets", "namespace": target.cluster.namespace, "name": "leak"}
    event = {"level": "Metadata", "verb": "get", "objectRef": secrets}
    with logged(target, "audit-nobody.log", event):
        yield


@plants("audit log: events", fault="of secrets leak-unwritten by")
def unwritten(target: Target, canary: str) -> Iterator[None]:
    """Make a Secret of the release that the keeper did not write."""
    secret = made("v1", "Secret", "leak-unwritten")
    secret["metadata"]["labels"] = {"app.kubernetes.io/instance": target.cluster.fullname}
    with created(target.cluster, secret):
        yield


@contextmanager
def logged(target: Target, name: str, event: dict[str, Any]) -> Iterator[None]:
    """Write an event into another file of the log, and remove that."""
    file = f"{FOLDER}/{name}"
    try:
        target.cluster.node("cp", "/dev/stdin", file, stdin=json.dumps(event) + "\n")
        yield
    finally:
        target.cluster.node("rm", "--force", file)
