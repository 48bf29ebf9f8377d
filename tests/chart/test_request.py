"""The pod of `helm test`, which asks the service once."""

from __future__ import annotations

import ast
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from keeper.certificates import KeyPair, new_authority, new_certificate
from tests.chart.conftest import (
    EXISTING,
    ISSUED,
    Object,
    Render,
    environment,
    pod_of,
    secret_volumes,
)

TEMPLATE = "tests/request.yaml"
NAME = "flask-app.shop.svc"
NAMED = {"extraNames": ["shop.example.org", "192.0.2.7"]}
PUBLIC = {"source": "cert-manager", "certManager": {"inClusterNames": False}}


def pod(render: Render, **values: Any) -> Object:
    (found,) = render(**values).templates[TEMPLATE]
    assert found["kind"] == "Pod"
    return found


def container(render: Render, **values: Any) -> Object:
    (found,) = pod(render, **values)["spec"]["containers"]
    assert isinstance(found, dict)
    return found


def script(render: Render) -> str:
    *python, text = container(render)["command"]
    assert python == ["python", "-c"]
    return str(text)


def test_it_is_a_test_of_helms(render: Render, variant: dict[str, Any]) -> None:
    metadata = pod(render, **variant)["metadata"]
    assert metadata["annotations"]["helm.sh/hook"] == "test"
    assert "before-hook-creation" in metadata["annotations"]["helm.sh/hook-delete-policy"]
    assert pod(render, **variant)["spec"]["restartPolicy"] == "Never"


def test_it_has_the_services_image(render: Render, variant: dict[str, Any]) -> None:
    (service,) = pod_of(render(**variant).one("Deployment"))["containers"]
    for key in ("image", "imagePullPolicy"):
        assert container(render, **variant)[key] == service[key]


def test_it_asks_the_service(render: Render, variant: dict[str, Any]) -> None:
    rendered = render(**variant)
    service = rendered.one("Service", rendered.fullname)
    variables = environment(container(render, **variant))
    assert variables["SERVICE_HOST"] == service["metadata"]["name"]
    assert variables["SERVICE_PORT"] == str(service["spec"]["ports"][0]["port"])


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({}, NAME),
        ({"tls": NAMED}, NAME),
        ({"tls": {**ISSUED["tls"], **NAMED}}, NAME),
        ({"tls": {**PUBLIC, **NAMED}}, "shop.example.org"),
        ({"tls": {**EXISTING["tls"], **NAMED}}, "shop.example.org"),
        # nobody said what it is for
        (EXISTING, NAME),
    ],
    ids=["keeper", "keeper, more", "cert-manager", "public", "existing", "existing, unknown"],
)
def test_it_asks_for_a_name_in_the_certificate(
    render: Render, values: dict[str, Any], name: str
) -> None:
    assert environment(container(render, **values))["CERTIFICATE_NAME"] == name


@pytest.mark.parametrize("tls", [ISSUED["tls"], PUBLIC], ids=["cert-manager", "public"])
def test_the_name_is_one_that_cert_manager_issues(render: Render, tls: dict[str, Any]) -> None:
    rendered = render(tls={**tls, **NAMED})
    name = environment(container(render, tls={**tls, **NAMED}))["CERTIFICATE_NAME"]
    assert name in rendered.one("Certificate", "flask-app")["spec"]["dnsNames"]


@pytest.mark.parametrize(
    ("values", "secret", "is_optional"),
    [
        ({}, "flask-app-tls", False),
        # one that somebody else issued may have no authority with it
        (ISSUED, "flask-app-tls-issued", True),
        (EXISTING, "shop-tls", True),
    ],
    ids=["keeper", "cert-manager", "existing"],
)
def test_it_sees_the_authority_and_no_key(
    render: Render, values: dict[str, Any], secret: str, is_optional: bool
) -> None:
    assert secret_volumes(pod(render, **values)["spec"]) == {
        "ca": {
            "secretName": secret,
            "defaultMode": 0o400,
            "optional": is_optional,
            "items": [{"key": "ca.crt", "path": "ca.crt"}],
        }
    }
    (mount,) = container(render, **values)["volumeMounts"]
    assert (mount["mountPath"], mount["readOnly"]) == ("/etc/tls", True)


def test_the_script_is_python(render: Render) -> None:
    assert ast.parse(script(render)).body


class Answer(BaseHTTPRequestHandler):
    """Answers `GET /readyz` with the server's status."""

    def do_GET(self) -> None:
        assert isinstance(self.server, Server)
        self.send_response(self.server.status if self.path == "/readyz" else 404)
        self.end_headers()
        self.wfile.write(b"said so\n")

    def log_message(self, *_: Any) -> None:
        """Keep the tests quiet."""


class Server(HTTPServer):
    """The service, with a certificate for its name."""

    def __init__(self, folder: Path, authority: KeyPair, status: int, name: str) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.status = status
        certificate = new_certificate(authority, [name])
        (folder / "tls.crt").write_text(certificate.certificate)
        (folder / "tls.key").write_text(certificate.key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
        self.socket = context.wrap_socket(self.socket, server_side=True)

    def handle_error(self, *_: Any) -> None:
        """Keep the tests quiet: some of them hang up."""


@contextmanager
def serving(server: HTTPServer) -> Iterator[int]:
    """Serve for a while, on the port that this yields."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


Ask = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def ask(render: Render, tmp_path: Path) -> Ask:
    """Return a function that runs the pod's script as the kubelet would."""

    def ask(port: int, authority: KeyPair | None, **more: str) -> subprocess.CompletedProcess[str]:
        text = script(render)
        for before, after in {"/etc/tls/ca.crt": str(tmp_path / "ca.crt"), "+ 30": "+ 0.2"}.items():
            assert text.count(before) == 1
            text = text.replace(before, after)
        if authority:
            (tmp_path / "ca.crt").write_text(authority.certificate)
        variables = {
            "PATH": os.environ["PATH"],
            "SERVICE_HOST": "127.0.0.1",
            "SERVICE_PORT": str(port),
            "CERTIFICATE_NAME": NAME,
            **more,
        }
        assert set(environment(container(render))) <= set(variables)
        return subprocess.run(
            [sys.executable, "-c", text],
            env=variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )

    return ask


@pytest.fixture(scope="module")
def authority() -> KeyPair:
    return new_authority("flask-app")


def test_a_service_that_is_ready_passes(ask: Ask, tmp_path: Path, authority: KeyPair) -> None:
    with serving(Server(tmp_path, authority, 200, NAME)) as port:
        ended = ask(port, authority)
    assert (ended.returncode, ended.stdout) == (0, "200 said so\n\n")


@pytest.mark.parametrize("name", ["*.example.org", "192.0.2.7", "2001:db8::7"])
def test_any_name_of_a_certificate_can_be_asked_for(
    ask: Ask, tmp_path: Path, authority: KeyPair, name: str
) -> None:
    with serving(Server(tmp_path, authority, 200, name)) as port:
        assert ask(port, authority, CERTIFICATE_NAME=name).returncode == 0


def test_a_service_that_is_not_ready_fails(ask: Ask, tmp_path: Path, authority: KeyPair) -> None:
    with serving(Server(tmp_path, authority, 503, NAME)) as port:
        ended = ask(port, authority)
    assert ended.returncode == 1
    # the log of the pod says why
    assert ended.stdout == "503 said so\n\n"


def test_a_certificate_of_another_authority_fails(
    ask: Ask, tmp_path: Path, authority: KeyPair
) -> None:
    with serving(Server(tmp_path, new_authority("flask-app"), 200, NAME)) as port:
        ended = ask(port, authority)
    assert ended.returncode == 1
    assert "CERTIFICATE_VERIFY_FAILED" in ended.stderr


def test_a_certificate_for_another_name_fails(ask: Ask, tmp_path: Path, authority: KeyPair) -> None:
    with serving(Server(tmp_path, authority, 200, "other")) as port:
        ended = ask(port, authority)
    assert ended.returncode == 1
    assert "Hostname mismatch" in ended.stderr


def test_without_an_authority_of_its_own_public_ones_count(
    ask: Ask, tmp_path: Path, authority: KeyPair
) -> None:
    with serving(Server(tmp_path, authority, 200, NAME)) as port:
        assert "CERTIFICATE_VERIFY_FAILED" in ask(port, None).stderr
        (tmp_path / "public.crt").write_text(authority.certificate)
        ended = ask(port, None, SSL_CERT_FILE=str(tmp_path / "public.crt"))
    assert ended.returncode == 0


def test_nobody_who_answers_fails(ask: Ask, tmp_path: Path, authority: KeyPair) -> None:
    with serving(Server(tmp_path, authority, 200, NAME)) as port:
        pass
    ended = ask(port, authority)
    assert ended.returncode == 1
    assert "ConnectionRefusedError" in ended.stderr
