"""The keeper's requests to the API server, and what it makes of the answers.

The API server here is a double of a few lines; the real one is in tests/e2e.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from kubernetes import client, config

from keeper import kubernetes_secrets
from keeper.kubernetes_secrets import KubernetesSecrets
from keeper.objects import Conflict, Unavailable

VALUE = "value-of-a-secret-900150983cd24fb0"


class ApiServer(HTTPServer):
    """Holds one Secret, answers with `status`, and remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status = 200
        self.data: dict[str, str] | None = {"A": base64.b64encode(b"1").decode()}
        self.requests: list[tuple[str, str, Any]] = []


class Handler(BaseHTTPRequestHandler):
    server: ApiServer

    def answer(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = json.loads(self.rfile.read(length)) if length else None
        self.server.requests.append((self.command, self.path, body))
        answer: dict[str, Any] = {"metadata": {"name": "x", "resourceVersion": "8"}}
        if body:
            self.server.data = {**(self.server.data or {}), **body["data"]}
        # an error repeats the request, as an admission webhook's may
        answer = (
            {"message": body} if self.server.status >= 400 else {**answer, "data": self.server.data}
        )
        self.send_response(self.server.status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    do_GET = do_PATCH = answer

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def api_server() -> Iterator[ApiServer]:
    with ApiServer() as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def objects(
    api_server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[KubernetesSecrets]:
    def load() -> None:
        configuration = client.Configuration()
        configuration.host = f"http://127.0.0.1:{api_server.server_port}"
        configuration.retries = False
        client.Configuration.set_default(configuration)

    (tmp_path / "namespace").write_text("shop\n")
    monkeypatch.setattr(kubernetes_secrets, "NAMESPACE_FILE", tmp_path / "namespace")
    monkeypatch.setattr(config, "load_incluster_config", load)
    objects = KubernetesSecrets()
    yield objects
    objects._api.api_client.rest_client.pool_manager.clear()
    client.Configuration.set_default(None)


def test_reads_one_secret_by_name(objects: KubernetesSecrets, api_server: ApiServer) -> None:
    stored = objects.get("tls")
    assert (stored.version, stored.text("A")) == ("8", "1")
    assert api_server.requests == [("GET", "/api/v1/namespaces/shop/secrets/tls", None)]


def test_a_secret_without_data_is_empty(objects: KubernetesSecrets, api_server: ApiServer) -> None:
    api_server.data = None
    assert not objects.get("tls").has("A")


def test_a_value_that_is_not_utf8_is_a_clear_problem(
    objects: KubernetesSecrets, api_server: ApiServer
) -> None:
    api_server.data = {"A": base64.b64encode(b"Xq7\xff").decode()}
    with pytest.raises(Unavailable, match="A in the Secret tls is not UTF-8") as caught:
        objects.get("tls")
    assert "0xff" not in str(caught.value)
    assert not caught.value.transient


def test_a_patch_names_the_version_that_it_is_for(
    objects: KubernetesSecrets, api_server: ApiServer
) -> None:
    patched = objects.patch(objects.get("tls"), {"B": VALUE})
    assert patched.text("B") == VALUE
    encoded = base64.b64encode(VALUE.encode()).decode()
    assert api_server.requests[-1] == (
        "PATCH",
        "/api/v1/namespaces/shop/secrets/tls",
        {"metadata": {"resourceVersion": "8", "annotations": {}}, "data": {"B": encoded}},
    )


def test_another_version_is_a_conflict(objects: KubernetesSecrets, api_server: ApiServer) -> None:
    stored = objects.get("tls")
    api_server.status = 409
    with pytest.raises(Conflict, match="the Secret tls was changed by somebody else"):
        objects.patch(stored, {"B": VALUE})


@pytest.mark.parametrize(
    ("status", "transient"), [(401, False), (403, False), (404, False), (429, True), (503, True)]
)
def test_what_may_pass_is_told_from_what_may_not(
    objects: KubernetesSecrets, api_server: ApiServer, status: int, transient: bool
) -> None:
    stored = objects.get("tls")
    api_server.status = status
    with pytest.raises(Unavailable, match=f"can't patch the Secret tls: {status}") as caught:
        objects.patch(stored, {"B": VALUE})
    assert caught.value.transient is transient
    assert VALUE not in str(caught.value)
    assert base64.b64encode(VALUE.encode()).decode() not in str(caught.value)


def test_an_api_server_that_is_away_may_come_back(
    objects: KubernetesSecrets, api_server: ApiServer
) -> None:
    api_server.shutdown()
    api_server.server_close()
    with pytest.raises(Unavailable, match="can't get the Secret tls") as caught:
        objects.get("tls")
    assert caught.value.transient


def test_outside_of_a_pod_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(Unavailable, match="this is no pod with a token"):
        KubernetesSecrets()
