"""AWS Secrets Manager as moto's server plays it, a rotation function, and what syncs from it."""

from __future__ import annotations

import json
import secrets
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from keeper.database import Login
from secret_files import Secret
from tests.conftest import Database
from tests.mount import Mount
from tests.rotation import ROLES
from tests.service import ROOT, free_port, listens

PROGRAM = ROOT / ".venv-moto/bin/moto_server"

#: A request says in its signature which service it is for; moto looks at no more of it.
SIGNATURE = (
    "AWS4-HMAC-SHA256 Credential=nobody/20260101/eu-central-1/secretsmanager/aws4_request, "
    "SignedHeaders=host, Signature=none"
)

POLL_SECONDS = 0.05


class Refused(Exception):
    """Secrets Manager says no, and this is its word for it."""


@contextmanager
def moto_server(output: Path, wait_for: Callable[..., None]) -> Iterator[int]:
    """Run moto's server on a free port of this machine, and nothing of the user's with it."""
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
    """Ask moto's server once, as AWS's SDK would.

    Without the SDK: it looks for the user's credentials, and can't be installed beside
    kubernetes. https://docs.aws.amazon.com/secretsmanager/latest/apireference/

    :raises Refused: the answer is an error.
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
    if answer.status != 200:
        raise Refused(content["__type"])
    return content


def forget_all(port: int) -> None:
    """Let moto's server forget what it has, of every service."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=10)) as server:
        server.request("POST", "/moto-api/reset")
        assert server.getresponse().status == 200


@dataclass(frozen=True)
class SecretObject:
    """One object in Secrets Manager: a JSON object with all keys of the service."""

    port: int
    name: str

    def call(self, action: str, **parameters: object) -> dict[str, Any]:
        return call(self.port, action, SecretId=self.name, **parameters)

    def version(self, stage: str) -> tuple[str, dict[str, str]]:
        """Fetch the version with a staging label: its id, and all its values at once."""
        found = self.call("GetSecretValue", VersionStage=stage)
        return found["VersionId"], json.loads(found["SecretString"])


class Manager:
    """An object in Secrets Manager and its rotation function, in which two users alternate.

    The four steps are those that Secrets Manager asks of such a function, each with the id of
    the version that is to come.
    https://docs.aws.amazon.com/secretsmanager/latest/userguide/rotate-secrets_lambda-functions.html
    """

    def __init__(self, port: int, database: Database, values: Mapping[str, str]) -> None:
        self.object = SecretObject(port, f"flask-app-{uuid.uuid4()}")
        self._database = database
        call(
            port,
            "CreateSecret",
            Name=self.object.name,
            ClientRequestToken=str(uuid.uuid4()),
            SecretString=json.dumps(dict(values)),
        )

    def current(self) -> dict[str, str]:
        return self.object.version("AWSCURRENT")[1]

    def with_other_user(self) -> dict[str, str]:
        """Return the current values, but for the other user and a new password."""
        values = self.current()
        user = ROLES[1 - ROLES.index(values["DATABASE_USERNAME"])]
        password = secrets.token_urlsafe(24)
        return {**values, "DATABASE_USERNAME": user, "DATABASE_PASSWORD": password}

    def create_secret(self, values: Mapping[str, str]) -> str:
        """Store a version that is pending, and return its id."""
        version = str(uuid.uuid4())
        self.object.call(
            "PutSecretValue",
            ClientRequestToken=version,
            SecretString=json.dumps(dict(values)),
            VersionStages=["AWSPENDING"],
        )
        return version

    def set_secret(self) -> None:
        """Give the pending user its password, unless it can log in with it already."""
        login = self._pending_login()
        if not self._database.server.accepts(login):
            password = login.password.reveal()
            self._database.execute(f"ALTER ROLE {login.user} LOGIN PASSWORD '{password}'")

    def test_secret(self) -> None:
        """Log in with what is pending.

        :raises psycopg.OperationalError: the database refuses.
        """
        self._database.server.connect(self._pending_login()).close()

    def finish_secret(self, version: str) -> None:
        """Make a version the current one; the one before becomes AWSPREVIOUS."""
        before, _ = self.object.version("AWSCURRENT")
        self.object.call(
            "UpdateSecretVersionStage",
            VersionStage="AWSCURRENT",
            MoveToVersionId=version,
            RemoveFromVersionId=before,
        )

    def prepare(self, values: Mapping[str, str]) -> str:
        """Take all steps but the last one; return the id of the version that is pending."""
        version = self.create_secret(values)
        self.set_secret()
        self.test_secret()
        return version

    def rotate(self, values: Mapping[str, str]) -> None:
        self.finish_secret(self.prepare(values))

    def _pending_login(self) -> Login:
        _, values = self.object.version("AWSPENDING")
        password = Secret("DATABASE_PASSWORD", values["DATABASE_PASSWORD"])
        return Login(values["DATABASE_USERNAME"], password)


class OperatorStandIn:
    """A stand-in for the operator's sync: it brings one object into the mounted Secret.

    It does what External Secrets does with `dataFrom.extract`: one call fetches all keys, and
    one write replaces them. With `deletionPolicy: Retain`, the Secret stays when there is
    nothing to be fetched.
    https://external-secrets.io/latest/guides/ownership-deletion-policy/
    """

    def __init__(self, source: SecretObject, mount: Mount, stage: str = "AWSCURRENT") -> None:
        self.syncs = 0
        self._source = source
        self._mount = mount
        self._stage = stage
        self._version = ""

    def sync(self) -> None:
        """Fetch the object once, and write the Secret if the version is another one."""
        try:
            version, values = self._source.version(self._stage)
        except Refused:
            version = self._version
        if version != self._version:
            self._mount.replace(values)
            self._version = version
        self.syncs += 1

    @contextmanager
    def polling(self) -> Iterator[None]:
        """Sync all the time."""
        stop = threading.Event()

        def poll() -> None:
            while not stop.wait(POLL_SECONDS):
                self.sync()

        thread = threading.Thread(target=poll)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
