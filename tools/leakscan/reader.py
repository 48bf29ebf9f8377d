"""Reads Secrets, with an identity that exists for it, and only while a scan runs."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

from kubernetes.client import ApiClient, ApiException, Configuration, CoreV1Api
from kubernetes.config import new_client_from_config

from keeper.objects import PUBLIC_KEYS
from secret_files import Secret
from tools.cluster.client import Cluster
from tools.poll import poll

from .origin import Origin, from_files, origin_of

#: The name of its ServiceAccount, which is outside of the release's namespace, and of its Role.
IDENTITY: Final = "leak-scan"
HOME: Final = "default"
#: Its name for the API server, and in the audit log.
USER: Final = f"system:serviceaccount:{HOME}:{IDENTITY}"

#: How long its token is valid, in minutes: longer than a scan takes.
TOKEN_MINUTES: Final = 20

#: Of another scan that ended first, too.
GONE: Final = ("--ignore-not-found",)

#: In seconds.
TIMEOUT: Final = 30

#: How long the API server may take to know a new account, in seconds.
ALLOWED: Final = 10


class Reader:
    """Reads the Secrets in the namespace of a release.

    :param api: the API, as the identity of the scan.
    """

    def __init__(self, cluster: Cluster, api: CoreV1Api) -> None:
        self._cluster = cluster
        self._api = api

    def values(self) -> list[Secret]:
        """Return every value of the release that is secret, wherever it is from.

        Each is named as `flask-app-tls/tls.key` is.
        """
        origin = self._origin()
        found = [
            Secret(f"{name}/{key}", value.decode())
            for name, data in self._data(f"app.kubernetes.io/instance={self._cluster.fullname}")
            for key, value in data.items()
            if name != origin.name and value and key not in PUBLIC_KEYS
        ]
        if not origin.name:
            return found + from_files(self._cluster)
        for _, data in self._data(fields=f"metadata.name={origin.name}"):
            found += origin.confidential(data)
        return found

    def login(self) -> dict[str, Secret]:
        """Return the user name and the password of the database's administrator."""
        name = f"{self._cluster.fullname}-database-admin"
        ((_, data),) = self._data(fields=f"metadata.name={name}")
        return {key: Secret(f"{name}/{key}", value.decode()) for key, value in data.items()}

    def others(self) -> dict[str, bytes]:
        """Return every value of the Secrets that are not the release's, by name and key."""
        origin = self._origin()
        return {
            f"{name}/{key}": value
            for name, data in self._data(f"app.kubernetes.io/instance!={self._cluster.fullname}")
            for key, value in data.items()
            if name != origin.name
        }

    def metadata(self) -> dict[str, bytes]:
        """Return what the Secrets have beside their values, as JSON, by their names."""
        return {
            item["metadata"]["name"]: json.dumps(
                {key: value for key, value in item.items() if key not in ("data", "stringData")}
            ).encode()
            for item in self._list()
        }

    def _origin(self) -> Origin:
        found = self._cluster.kubectl("get", "deployment", self._cluster.fullname, "--output=json")
        return origin_of(json.loads(found))

    def _data(
        self, selector: str = "", fields: str = ""
    ) -> Iterator[tuple[str, Mapping[str, bytes]]]:
        for item in self._list(selector, fields):
            data = item.get("data") or {}
            yield (
                item["metadata"]["name"],
                {key: base64.b64decode(text) for key, text in data.items()},
            )

    def _list(self, selector: str = "", fields: str = "") -> list[dict[str, Any]]:
        answer: Any = self._api.list_namespaced_secret(
            self._cluster.namespace,
            label_selector=selector,
            field_selector=fields,
            _preload_content=False,
            _request_timeout=TIMEOUT,
        )
        items: list[dict[str, Any]] = json.loads(answer.data)["items"]
        return items


@contextmanager
def reader(cluster: Cluster) -> Iterator[Reader]:
    """Make the identity, give what reads with it, and remove it."""
    objects = json.dumps(_objects(cluster.namespace))
    at_home = replace(cluster, namespace=HOME)
    try:
        # what a scan that was killed has left is taken
        cluster.kubectl("apply", "--namespace", "", "--filename", "-", stdin=objects)
        token = at_home.kubectl("create", "token", IDENTITY, "--duration", f"{TOKEN_MINUTES}m")
        reads = Reader(cluster, CoreV1Api(_client(cluster, token.strip())))
        _wait_until_allowed(reads)
        yield reads
    finally:
        cluster.kubectl("delete", f"rolebinding/{IDENTITY}", f"role/{IDENTITY}", *GONE)
        at_home.kubectl("delete", f"serviceaccount/{IDENTITY}", *GONE)


def _wait_until_allowed(reads: Reader) -> None:
    """Wait for the API server to know the new account and what it may do."""

    def is_allowed() -> bool:
        try:
            reads.metadata()
        except ApiException as problem:
            if problem.status in (401, 403):
                return False
            raise
        return True

    poll(is_allowed, f"the right of {USER} to list Secrets", ALLOWED)


def _client(cluster: Cluster, token: str) -> ApiClient:
    """Return a client that has the server's address from the kubeconfig, and only the token."""
    kubeconfig, context = str(cluster.state / "kubeconfig"), f"kind-{cluster.name}"
    known = new_client_from_config(kubeconfig, context=context)  # type: ignore[no-untyped-call]
    configuration = Configuration()
    configuration.host = known.configuration.host
    configuration.ssl_ca_cert = known.configuration.ssl_ca_cert
    configuration.api_key = {"authorization": f"Bearer {token}"}
    return ApiClient(configuration)


def _objects(namespace: str) -> dict[str, Any]:
    rbac = "rbac.authorization.k8s.io"
    here = {"name": IDENTITY, "namespace": namespace}
    account = {"kind": "ServiceAccount", "name": IDENTITY, "namespace": HOME}
    return {
        "apiVersion": "v1",
        "kind": "List",
        "items": [
            {
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": {"name": IDENTITY, "namespace": HOME},
                "automountServiceAccountToken": False,
            },
            {
                "apiVersion": f"{rbac}/v1",
                "kind": "Role",
                "metadata": here,
                "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["list"]}],
            },
            {
                "apiVersion": f"{rbac}/v1",
                "kind": "RoleBinding",
                "metadata": here,
                "roleRef": {"apiGroup": rbac, "kind": "Role", "name": IDENTITY},
                "subjects": [account],
            },
        ],
    }
