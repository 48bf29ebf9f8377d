"""Leaks into what Helm keeps: revisions of the release, written as Helm writes them."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any
from urllib.parse import quote

from tools.cluster.client import created, made
from tools.leakscan.helm import STORED, unpacked
from tools.leakscan.target import Target

from . import plants

Release = dict[str, Any]


@plants("helm: revisions")
def file(target: Target, canary: str) -> Iterator[None]:
    """Put a file into the chart, which `helm get` does not show."""
    release = current(target)
    text = base64.b64encode(f"password: {canary}\n".encode())
    release["chart"]["files"].append(
        {"name": "files/leak.yaml", "data": base64.b64encode(text).decode()}
    )
    with stored(target, 1001, release):
        yield


@plants("helm: helm get", also=("helm: revisions",))
def value(target: Target, canary: str) -> Iterator[None]:
    """Leave a value as `--set` does."""
    release = current(target)
    release["config"]["podAnnotations"] = {"url": quote(f"a:{canary}@b")}
    with stored(target, 1002, release):
        yield


@plants("helm: helm get", also=("helm: revisions",))
def notes(target: Target, canary: str) -> Iterator[None]:
    """Leave it in the notes that Helm prints after an upgrade."""
    release = current(target)
    release["info"]["notes"] = f"The password, in hex: {canary.encode().hex().upper()}"
    with stored(target, 1003, release):
        yield


def current(target: Target) -> Release:
    """Return the release, as it was first stored."""
    prefix = f"{STORED}{target.cluster.fullname}.v"
    found = {key: one for key, one in target.reader.others().items() if key.startswith(prefix)}
    name = min(found)
    release: Release = unpacked(name, found[name])
    return release


def stored(target: Target, version: int, release: Release) -> AbstractContextManager[None]:
    """Store it as another revision, one that was superseded."""
    release["version"] = version
    release["info"]["status"] = "superseded"
    packed = base64.b64encode(gzip.compress(json.dumps(release).encode())).decode()
    name = target.cluster.fullname
    labels = {"owner": "helm", "name": name, "status": "superseded", "version": str(version)}
    secret = made("v1", "Secret", f"{STORED}{name}.v{version}", stringData={"release": packed})
    secret["metadata"]["labels"] = labels
    return created(target.cluster, {**secret, "type": "helm.sh/release.v1"})
