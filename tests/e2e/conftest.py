"""A kind cluster of its own with the release on it, made by `make deploy` itself.

KEEP=1 leaves the cluster; the next run then upgrades the release on it.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterator

import pytest

from app.keeper.objects import PUBLIC_KEYS
from app.secret_files import Redactor, Secret
from tests.e2e.cluster import SUSPENDED, Cluster

Needles = dict[str, list[Secret]]


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Deploy, and remove the cluster at the end."""
    cluster = Cluster(os.environ["CLUSTER"], os.environ["HTTPS_PORT"])
    try:
        print(cluster.run("make", "deploy"))
        # the tests say when the keeper runs
        cluster.kubectl("patch", "cronjob", "flask-app-keeper", "--patch", SUSPENDED)
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
    assert set(values) - {"flask-app-secrets/SECRET_KEY_FALLBACKS"} == {
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
