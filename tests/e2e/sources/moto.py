"""AWS Secrets Manager and IAM, played by moto's server, which keeps everything in memory."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from tools.service import ROOT, free_port, listens

PROGRAM = ROOT / ".venv-moto/bin/moto_server"

#: The signature of a request names the service that it is for; moto reads nothing else of it.
SIGNATURE = (
    "AWS4-HMAC-SHA256 Credential=nobody/20260101/eu-central-1/secretsmanager/aws4_request, "
    "SignedHeaders=host, Signature=none"
)


@contextmanager
def moto_server(output: Path, wait_for: Callable[..., None]) -> Iterator[int]:
    """Run moto's server on a free port of this machine, without the user's environment."""
    assert PROGRAM.exists(), f"{PROGRAM} is missing: run `make .venv-moto/moto`"
    port = free_port()
    command = [str(PROGRAM), "--host", "127.0.0.1", "--port", str(port)]
    with output.open("wb") as file:
        server = subprocess.Popen(command, env={}, stdout=file, stderr=file)
    try:
        wait_for(lambda: listens(port), "moto's server")
        yield port
    finally:
        server.terminate()
        server.wait(30)


def call(port: int, action: str, **parameters: object) -> dict[str, Any]:
    """Send one request to Secrets Manager.

    Without AWS's SDK: it looks for the user's credentials, and can't be installed beside
    kubernetes. https://docs.aws.amazon.com/secretsmanager/latest/apireference/

    :raises AssertionError: the answer is an error.
    """
    headers = {
        "Content-Type": "application/x-amz-json-1.1",
        "X-Amz-Target": f"secretsmanager.{action}",
        "Authorization": SIGNATURE,
    }
    with closing(HTTPConnection("127.0.0.1", port, timeout=10)) as server:
        server.request("POST", "/", json.dumps(parameters), headers)
        answer = server.getresponse()
        content: dict[str, Any] = json.loads(answer.read())
    assert answer.status == 200, f"{action} failed: {content['__type']}"
    return content


def forget_all(port: int) -> None:
    """Remove everything that moto's server keeps, of every service."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=10)) as server:
        server.request("POST", "/moto-api/reset")
        assert server.getresponse().status == 200
