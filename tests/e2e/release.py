"""Releases of the chart beside the one that `make deploy` makes, each as its user sees it."""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.cluster.client import ROOT, Cluster

#: A pod asks itself: there is nobody to verify, and `kubectl create --raw` can't send JSON.
WRITE = """
import json, ssl, sys, urllib.request
request = urllib.request.Request(
    "https://localhost:8443/api/notes",
    data=json.dumps({"text": sys.argv[1]}).encode(),
    headers={"Content-Type": "application/json"},
)
urllib.request.urlopen(request, timeout=10, context=ssl._create_unverified_context()).read()
"""

#: Known to this run alone: nobody can try values against what a failed test prints.
KEY = secrets.token_bytes(32)


def seal(value: str) -> str:
    """Return the same text for the same value, from which nothing of it can be learnt."""
    return hashlib.blake2b(value.encode(), key=KEY, digest_size=16).hexdigest()


@dataclass(frozen=True)
class State:
    """What an upgrade has to leave as it is: of a Secret's values, what `seal` makes of them."""

    secrets: dict[str, str]
    volumes: dict[str, str]
    selectors: dict[str, Any]


@dataclass(frozen=True)
class Release:
    """A release in a namespace of the cluster."""

    cluster: Cluster
    image: str

    def helm(self, *arguments: str) -> str:
        """Run helm in the release's namespace."""
        return self.cluster.run("helm", *arguments, "--namespace", self.cluster.namespace)

    def upgrade(self, *values: str, chart: Path = ROOT / "chart", wait: bool = True) -> None:
        """Install or upgrade it, with some values turned, and the image that is there.

        :param wait: until its pods are ready and the keeper is done.
        """
        repository, _, tag = self.image.partition(":")
        # the tests say when the keeper runs
        turned = (f"image.repository={repository}", "keeper.rotation.suspend=true", *values)
        self.helm(
            *("upgrade", "--install", self.cluster.fullname, str(chart)),
            *("--values", str(ROOT / "tests" / "e2e" / "values.yaml")),
            *("--set-string", f"image.tag={tag}", *(f"--set={value}" for value in turned)),
            *(("--wait", "--wait-for-jobs", "--timeout", "4m") if wait else ()),
        )

    def state(self) -> State:
        """Return what an upgrade has to leave as it is."""
        values = {
            f"{one['metadata']['name']}/{key}": seal(value)
            for one in json.loads(self.objects("secrets"))["items"]
            for key, value in one.get("data", {}).items()
        }
        volumes = {
            claim["metadata"]["name"]: claim["spec"]["volumeName"] + claim["metadata"]["uid"]
            for claim in json.loads(self.objects("persistentvolumeclaims"))["items"]
        }
        selectors = {
            f"{one['kind']}/{one['metadata']['name']}": one["spec"]["selector"]
            for one in json.loads(self.objects("deployments,statefulsets,services"))["items"]
        }
        return State(values, volumes, selectors)

    def write(self, text: str) -> None:
        """Write a note, from within a pod of the service."""
        self.cluster.python(WRITE, text)

    def notes(self) -> list[str]:
        """Return the notes' texts."""
        return [note["text"] for note in self.ask("api/notes")["notes"]]

    def ask(self, path: str) -> Any:
        """Ask the service, through the API server."""
        return json.loads(self.cluster.get(self._path(path)))

    def test(self) -> str:
        """Return what `helm test` prints."""
        return self.helm("test", self.cluster.fullname)

    def objects(self, kinds: str) -> str:
        selector = f"app.kubernetes.io/instance={self.cluster.fullname}"
        return self.cluster.kubectl("get", kinds, "--selector", selector, "--output", "json")

    def _path(self, path: str) -> str:
        service = f"https:{self.cluster.fullname}:8443"
        return f"/api/v1/namespaces/{self.cluster.namespace}/services/{service}/proxy/{path}"
