"""A kind cluster of its own with the release on it, made by `make deploy` itself.

KEEP=1 leaves the cluster; the next run then upgrades the release on it.
"""

from __future__ import annotations

import base64
import json
import os
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from app.keeper.objects import PUBLIC_KEYS
from app.secret_files import Redactor, Secret

ROOT = Path(__file__).parents[2]
NAMESPACE = "flask-app"

Needles = dict[str, list[Secret]]


@dataclass(frozen=True)
class Cluster:
    """The cluster, as its administrator sees it, and the way to the service."""

    name: str
    port: str

    @property
    def state(self) -> Path:
        """The folder with what belongs to this cluster."""
        return ROOT / ".local" / "cluster" / self.name

    def run(self, *command: str, stdin: str = "", check: bool = True) -> str:
        """Run a command and return what it printed; its input and output are never shown."""
        environment = {
            # a variable on the command line of `make e2e` is not for the make in here
            **{name: value for name, value in os.environ.items() if "MAKE" not in name},
            "KUBECONFIG": str(self.state / "kubeconfig"),
            "HELM_KUBECONTEXT": f"kind-{self.name}",
            "CLUSTER": self.name,
            "HTTPS_PORT": self.port,
        }
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, cwd=ROOT, env=environment
        )
        if check and done.returncode:
            raise AssertionError(f"{command[0]} {command[1]} failed: {done.stderr[-2000:]}")
        return done.stdout if check else done.stdout + done.stderr

    def kubectl(self, *arguments: str, stdin: str = "", check: bool = True) -> str:
        """Run kubectl in the release's namespace."""
        command = ("kubectl", "--context", f"kind-{self.name}", "--namespace", NAMESPACE)
        return self.run(*command, *arguments, stdin=stdin, check=check)

    def objects(self, kind: str, selector: str = "") -> list[dict[str, Any]]:
        """Return the objects of a kind in the namespace that stay; there has to be one at least."""
        arguments = ["--selector", selector] if selector else []
        found = json.loads(self.kubectl("get", kind, "--output", "json", *arguments))["items"]
        items = [item for item in found if "deletionTimestamp" not in item["metadata"]]
        assert items, f"there is no {kind} {selector}"
        return items

    def pods(self, component: str) -> list[str]:
        """Return the names of the pods of a component."""
        selector = f"app.kubernetes.io/component={component}"
        return [pod["metadata"]["name"] for pod in self.objects("pods", selector)]

    def wait_until_ready(self) -> None:
        """Wait for the pods, and for the node's network rules, which follow them."""
        for owner in ("statefulset/flask-app-database", "deployment/flask-app"):
            self.kubectl("rollout", "status", owner, "--timeout", "180s")
        deadline = time.monotonic() + 30
        while True:
            try:
                self.request("/api/notes")
                return
            except OSError:
                assert time.monotonic() < deadline, "no request gets through"
                time.sleep(0.2)

    def request(
        self, path: str, method: str = "GET", body: object = None, verify: bool = True
    ) -> Any:
        """Ask the service over HTTPS, trusting its own certificate authority alone."""
        trusted = str(self.state / "ca.crt") if verify else None
        request = urllib.request.Request(
            f"https://localhost:{self.port}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        context = ssl.create_default_context(cafile=trusted)
        with urllib.request.urlopen(request, timeout=10, context=context) as answer:
            return json.loads(answer.read() or "null")

    def metric(self, pod: str, name: str) -> float:
        """Return a metric of one pod, scraped through the API server."""
        path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod}:9090/proxy/metrics"
        for line in self.kubectl("get", "--raw", path).splitlines():
            if line.startswith(f"{name} "):
                return float(line.rsplit(" ", 1)[1])
        raise AssertionError(f"{pod} has no metric {name}")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Deploy, and remove the cluster at the end."""
    cluster = Cluster(os.environ["CLUSTER"], os.environ["HTTPS_PORT"])
    try:
        print(cluster.run("make", "deploy"))
        yield cluster
    finally:
        if os.environ.get("KEEP") != "1":
            cluster.run("make", "destroy")


def secret_lines(encoded: str, key: str) -> list[Secret]:
    """Return a value line by line, without what every PEM file has."""
    lines = base64.b64decode(encoded).decode().splitlines()
    return [Secret(key, line) for line in lines if len(line) >= 16 and line[:5] != "-----"]


@pytest.fixture
def needles(cluster: Cluster) -> Needles:
    """Return every secret value of the release."""
    values: Needles = {
        f"{stored['metadata']['name']}/{key}": secret_lines(encoded, key)
        for stored in cluster.objects("secrets", "app.kubernetes.io/instance=flask-app")
        for key, encoded in stored["data"].items()
        if encoded and key not in PUBLIC_KEYS
    }
    assert all(values.values()), "there is nothing to look for"
    assert set(values) == {
        "flask-app-secrets/SECRET_KEY",
        "flask-app-secrets/DATABASE_PASSWORD",
        "flask-app-tls/tls.key",
        "flask-app-database-tls/tls.key",
        "flask-app-database-admin/password",
        "flask-app-ca/tls.key",
    }
    return values


def holds(text: str, secrets: list[Secret]) -> bool:
    """Tell whether one of these stands in the text, in whatever form."""
    redactor = Redactor()
    redactor.learn(secrets)
    return redactor.redact(text) != text


@pytest.fixture(scope="session")
def found() -> Callable[[Needles, str], list[str]]:
    """Return a function that names what it finds in a text, and shows none of it."""

    def found(needles: Needles, text: str) -> list[str]:
        assert text, "nothing was searched"
        return [name for name, secrets in needles.items() if holds(text, secrets)]

    return found
