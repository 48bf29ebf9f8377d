"""Leaks into the database of Kubernetes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace

from tools.cluster.client import created, made
from tools.leakscan.target import Target

from . import plants
from .objects import IN_ETCD


@plants("etcd: stored values", also=(IN_ETCD, "audit log: events"))
def name(target: Target, canary: str) -> Iterator[None]:
    """Name a Secret so: the API server would not stand a value that is not encrypted."""
    elsewhere = replace(target.cluster, namespace="default")
    digest = hashlib.sha256(canary.encode()).hexdigest()
    with created(elsewhere, made("v1", "Secret", digest)):
        yield


@plants(IN_ETCD)
def deleted(target: Target, canary: str) -> Iterator[None]:
    """Make a ConfigMap, and delete it: it is in older revisions alone."""
    text = canary.encode().hex()
    with created(target.cluster, made("v1", "ConfigMap", "leak-deleted", data={"key": text})):
        pass
    yield
