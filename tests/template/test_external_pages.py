"""What the pages of docs/external say to type, without a cluster: psql, vault and aws.

The commands are read from the pages, and so run as they stand there, but for the words of REPLACED.
PostgreSQL and its psql are real, and so is the AWS CLI; Secrets Manager and IAM are moto's, Vault
and its command line are stand-ins. What needs kubectl or helm runs in tests/e2e, with all the rest.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlencode

import psycopg
import pytest

from keeper.database import Login, Server
from secret_files import Secret
from tests.aws import SIGNATURE, call, forget_all, moto_server
from tests.conftest import hurry
from tests.external import (
    NEEDED,
    Shell,
    psql_of_the_wheel,
    shell,
    skip_without,
    steps,
    vault_server,
)
from tests.pages import ROOT, Block, blocks
from tests.service import free_port, listens
from tools.local.postgres import Postgres

README = "docs/external/README.md"
EXTERNAL_SECRETS = "docs/external/external-secrets.md"
VAULT_AGENT = "docs/external/vault-agent.md"
CSI = "docs/external/csi.md"

#: The wheel's server listens on a Unix socket, without TLS.
REPLACED = {
    "PGHOST=db.example.org": "PGHOST={socket}",
    "PGSSLMODE=verify-full": "PGSSLMODE=disable",
    "server='db.example.org:5432": "server='{quoted}:5432",
    "sslmode=verify-full&": "sslmode=disable&",
}

OWNER, SUPERUSER = "owner", "postgres"
PASSWORD = Secret("password", "of-owner-and-postgres")


@dataclass(frozen=True)
class Place:
    """A shell that has made the database of the pages, and what it spoke to."""

    shell: Shell
    server: Server
    log: Path
    vault: str
    moto: int

    def execute(self, statement: str) -> list[tuple[object, ...]]:
        """Run a statement as the superuser."""
        with self.server.connect(Login(SUPERUSER, PASSWORD)) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def ask_vault(self, method: str, path: str, body: object = None, token: str = "") -> Any:
        request = urllib.request.Request(
            f"{self.vault}/v1/{path}",
            data=None if body is None else json.dumps(body).encode(),
            method=method,
            headers={"X-Vault-Token": token} if token else {},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read())

    def kept_by_vault(self, path: str) -> dict[str, str]:
        found: dict[str, str] = self.ask_vault("GET", f"secret/data/{path}")["data"]["data"]
        return found

    def kept_by_aws(self, name: str) -> dict[str, str]:
        text = call(self.moto, "GetSecretValue", SecretId=name)["SecretString"]
        found: dict[str, str] = json.loads(text)
        return found

    def log_in_to_vault(self, role: str, account: str) -> str:
        """Log in with a ServiceAccount's token, and return Vault's token."""
        claims = {"aud": ["vault"], "sub": f"system:serviceaccount:flask-app:{account}"}
        jwt = f".{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode()}."
        answer = self.ask_vault("PUT", "auth/kubernetes/login", {"role": role, "jwt": jwt})
        return str(answer["auth"]["client_token"])


def prepare(server: Server, administrator: Login) -> None:
    """Make the database that the pages are given, and who owns it."""
    password = PASSWORD.reveal()
    with server.connect(administrator) as connection:
        connection.execute(f"CREATE ROLE {OWNER} LOGIN CREATEROLE PASSWORD '{password}'".encode())
        connection.execute(f"CREATE DATABASE flask_app OWNER {OWNER}".encode())


@pytest.fixture(scope="module")
def place(
    tmp_path_factory: pytest.TempPathFactory, wait_for: Callable[..., None]
) -> Iterator[Place]:
    """Start servers and a shell, and take the page's first steps."""
    skip_without(**NEEDED)
    root = tmp_path_factory.mktemp("external")
    postgres = Postgres(root / "postgres", SUPERUSER, PASSWORD.reveal())
    postgres.start()
    try:
        every = Server(postgres.host, postgres.port, "postgres", "disable")
        hurry(every, Login(SUPERUSER, PASSWORD))
        prepare(every, Login(SUPERUSER, PASSWORD))
        home = root / "home"
        home.mkdir()
        words = {"socket": postgres.host, "quoted": postgres.host.replace("/", "%2F")}
        replaced = {word: other.format(**words) for word, other in REPLACED.items()}
        (home / ".pgpass").write_text(f"*:*:*:*:{PASSWORD.reveal()}\n")
        (home / ".pgpass").chmod(0o600)
        with (
            vault_server(root / "vault", free_port(), wait_for, listens) as vault,
            moto_server(root / "moto", wait_for) as moto,
            shell(home, replaced, environment(vault, moto)) as started,
        ):
            server = Server(postgres.host, postgres.port, "flask_app", "disable")
            place = Place(started, server, root / "postgres" / "log", vault, moto)
            for block in under(README, "The database"):
                started.run(block)
            for block in under(README, "Vault's Kubernetes auth method"):
                started.run(block)
            yield place
    finally:
        postgres.stop()


def environment(vault: str, moto: int) -> dict[str, str]:
    return {
        "PATH": psql_of_the_wheel(os.environ["PATH"]),
        "VAULT_ADDR": vault,
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{moto}",
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nothing",
    }


def under(page: str, heading: str) -> list[Block]:
    """Return the blocks under a heading that need no cluster."""
    found = [
        block
        for block in blocks(page)
        if block.heading == heading and not {"kubectl", "helm"} & set(block.text.split())
    ]
    assert found, f"no commands under {heading}"
    return found


@pytest.fixture
def password(place: Place) -> str:
    """Give `notes_1` a new password, as the page says, and return it; the shell has it, too."""
    place.shell.run(under(README, "The database")[1])
    return place.shell.value("password")


def accepts(place: Place, user: str, password: str) -> bool:
    return place.server.accepts(Login(user, Secret("password", password)))


def members(place: Place) -> set[object]:
    statement = (
        "SELECT m.rolname FROM pg_auth_members JOIN pg_roles m ON m.oid = member "
        "JOIN pg_roles g ON g.oid = roleid WHERE g.rolname = 'flask_app_service'"
    )
    return {row[0] for row in place.execute(statement)}


def test_the_owner_makes_tables_and_two_logins(place: Place, password: str) -> None:
    tables = {row[0] for row in place.execute("SELECT tablename FROM pg_tables")}
    assert {"notes", "secret_events", "secret_pods"} <= tables
    assert {"notes_1", "notes_2"} <= members(place)
    assert accepts(place, "notes_1", password)
    assert not accepts(place, "notes_1", "of-owner-and-postgres")
    assert not accepts(place, "notes_2", password)
    login = Login("notes_1", Secret("password", password))
    with place.server.connect(login) as connection:
        connection.execute("INSERT INTO notes (text) VALUES ('mine')")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("DROP TABLE notes")


def test_the_server_sees_a_verifier(place: Place, password: str) -> None:
    """Its log has every statement, and its catalogue what it keeps."""
    place.execute("ALTER SYSTEM SET log_statement = 'all'")
    place.execute("SELECT pg_reload_conf()")
    place.shell.run("new_password notes_2")
    log = place.log.read_text(errors="replace")
    assert """ALTER USER "notes_2" PASSWORD 'SCRAM-SHA-256$""" in log
    assert place.shell.value("password") not in log
    kept = place.execute("SELECT rolpassword FROM pg_authid WHERE rolname = 'notes_1'")
    assert str(kept[0][0]).startswith("SCRAM-SHA-256$")
    assert accepts(place, "notes_2", place.shell.value("password"))


def test_the_old_login_is_locked_and_its_sessions_end(place: Place, password: str) -> None:
    place.execute("GRANT pg_signal_backend TO owner")
    login = Login("notes_1", Secret("password", password))
    with place.server.connect(login) as connection:
        (block,) = under(README, "To rotate the database's login")
        place.shell.run(block)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    kept = "SELECT rolcanlogin, rolpassword FROM pg_authid WHERE rolname = 'notes_1'"
    assert place.execute(kept) == [(False, None)]
    # as the page says that the next rotation begins
    place.shell.run("psql --command 'ALTER ROLE notes_1 LOGIN'")
    place.shell.run("new_password notes_1")
    assert accepts(place, "notes_1", place.shell.value("password"))


#: Each page with Vault's KV engine: the heading, and the role and the account that it names.
WITH_VAULT = {
    EXTERNAL_SECRETS: ("With Vault", "flask-app-external-secrets", "flask-app-secrets"),
    VAULT_AGENT: ("With the KV engine", "flask-app", "flask-app"),
    CSI: ("With Vault", "flask-app", "flask-app"),
}


@pytest.mark.parametrize("page", WITH_VAULT)
def test_vault_keeps_both_objects_and_lets_the_account_read_them(
    place: Place, password: str, page: str
) -> None:
    heading, role, account = WITH_VAULT[page]
    for block in under(page, heading):
        place.shell.run(block)
    session = place.kept_by_vault("flask-app/session")
    assert session.keys() == {"SECRET_KEY", "SECRET_KEY_FALLBACKS"}
    assert len(session["SECRET_KEY"]) == 64
    assert session["SECRET_KEY_FALLBACKS"] == ""
    database = {"DATABASE_USERNAME": "notes_1", "DATABASE_PASSWORD": password}
    assert place.kept_by_vault("flask-app/database") == database
    assert place.shell.value("password") == ""

    token = place.log_in_to_vault(role, account)
    for path in ("flask-app/session", "flask-app/database"):
        place.ask_vault("GET", f"secret/data/{path}", token=token)
        with pytest.raises(urllib.error.HTTPError, match="403"):
            place.ask_vault("PUT", f"secret/data/{path}", {"data": {}}, token=token)
    with pytest.raises(urllib.error.HTTPError, match="403"):
        place.log_in_to_vault(role, "default")


@pytest.mark.parametrize("page", [EXTERNAL_SECRETS, VAULT_AGENT])
def test_the_session_key_rotates_in_vault(place: Place, password: str, page: str) -> None:
    heading = WITH_VAULT[page][0]
    place.shell.run(under(page, heading)[0])
    rotates(
        under(page, "How it rotates")[0],
        place.shell,
        lambda: place.kept_by_vault("flask-app/session"),
    )


def rotates(block: Block, shell: Shell, kept: Callable[[], dict[str, str]]) -> None:
    """Take the three steps one by one, and see after each what is there."""
    *before, announce, promote, retire = steps(block)
    for step in before:
        shell.run(step)
    old = kept()["SECRET_KEY"]
    assert announce.startswith("# announce")
    shell.run(announce)
    # the service drops a line break at the end
    assert kept()["SECRET_KEY"] == old
    new = kept()["SECRET_KEY_FALLBACKS"].strip()
    assert len(new) == 64
    assert promote.startswith("# promote")
    shell.run(promote)
    assert {name: value.strip() for name, value in kept().items()} == {
        "SECRET_KEY": new,
        "SECRET_KEY_FALLBACKS": old,
    }
    assert retire.startswith("# retire")
    shell.run(retire)
    assert kept()["SECRET_KEY"].strip() == new
    assert kept()["SECRET_KEY_FALLBACKS"] == ""


@pytest.mark.parametrize(
    "words",
    [
        "kv putt -mount=secret object key=value",
        "kv put -muont=secret object key=value",
        "kv put -mount=secert object key=value",
        "kv put -mount=secret object",
        "kv patch -mount=secret none key=value",
        "kv get -mount=secret -format=json none",
        "policy write name docs/external/none.hcl",
        "write auth/kubernetes/role/name audience=vault",
        "write database/rotate-root/none",
        "secrets enable databases",
    ],
)
def test_the_stand_in_for_vaults_command_line_refuses_what_is_wrong(
    place: Place, words: str
) -> None:
    """Otherwise a misspelt command of a page would pass."""
    command = [sys.executable, str(ROOT / "tests" / "vault_cli.py"), *words.split()]
    environment = {"VAULT_ADDR": place.vault}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert re.fullmatch(r"vault: .+\n", done.stderr)


@pytest.fixture(scope="module")
def first_password(place: Place) -> str:
    """Let Vault have a login of its own, and return the password that it had at first."""
    first, *others = under(VAULT_AGENT, "With the database engine")
    before, unset, after = first.text.partition("unset password\n")
    assert unset
    place.shell.run(before)
    password = place.shell.value("password")
    place.shell.run(unset + after)
    for block in others:
        place.shell.run(block)
    return password


def test_nobody_but_vault_knows_its_password(place: Place, first_password: str) -> None:
    verifier = place.execute("SELECT rolpassword FROM pg_authid WHERE rolname = 'vault'")
    assert str(verifier[0][0]).startswith("SCRAM-SHA-256$")
    assert len(first_password) == 48
    assert not accepts(place, "vault", first_password)


def test_vaults_database_engine_makes_logins_and_ends_them(
    place: Place, first_password: str
) -> None:
    # the role, which the KV engine's pages make, too
    place.shell.run(under(VAULT_AGENT, "With the database engine")[-1])
    token = place.log_in_to_vault("flask-app", "flask-app")
    place.ask_vault("GET", "secret/data/flask-app/session", token=token)
    made = place.ask_vault("GET", "database/creds/flask-app", token=token)
    assert made["lease_duration"] == 3600
    user = made["data"]["username"]
    login = Login(user, Secret("password", made["data"]["password"]))
    assert user in members(place)
    with place.server.connect(login) as connection:
        connection.execute("SELECT count(*) FROM notes")
        place.ask_vault("PUT", "sys/leases/revoke-prefix/database/creds/flask-app", {})
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    assert place.execute(f"SELECT 1 FROM pg_roles WHERE rolname = '{user}'") == []


#: Each page with AWS: the role that it makes, and what the files for it are called.
WITH_AWS = {
    EXTERNAL_SECRETS: ("flask-app-external-secrets", ""),
    CSI: ("flask-app", "-csi"),
}


def asked_of_iam(moto: int, action: str, **parameters: str) -> Any:
    """Return the document in what IAM answers.

    https://docs.aws.amazon.com/IAM/latest/APIReference/API_GetRole.html
    """
    body = urlencode({"Action": action, "Version": "2010-05-08", **parameters}).encode()
    headers = {"Authorization": SIGNATURE.replace("/secretsmanager/", "/iam/")}
    request = urllib.request.Request(f"http://127.0.0.1:{moto}/", body, headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        document = re.search("Document>(.*?)</", answer.read().decode(), re.DOTALL)
    assert document
    return json.loads(unquote(document[1]))


@pytest.mark.parametrize("page", WITH_AWS)
def test_aws_keeps_both_objects_and_has_the_role(place: Place, password: str, page: str) -> None:
    forget_all(place.moto)
    role, suffix = WITH_AWS[page]
    for block in under(page, "With AWS Secrets Manager"):
        place.shell.run(block)
    session = place.kept_by_aws("flask-app/session")
    assert session.keys() == {"SECRET_KEY", "SECRET_KEY_FALLBACKS"}
    assert len(session["SECRET_KEY"]) == 64
    database = {"username": "notes_1", "password": password}
    assert place.kept_by_aws("flask-app/database") == database
    assert place.shell.value("password") == ""

    folder = place.shell.work / "docs" / "external"
    trust = json.loads((folder / f"iam-trust-policy{suffix}.json").read_text())
    assert asked_of_iam(place.moto, "GetRole", RoleName=role) == trust
    policy = json.loads((folder / f"iam-policy{suffix}.json").read_text())
    name = {"RoleName": role, "PolicyName": "read-secrets"}
    assert asked_of_iam(place.moto, "GetRolePolicy", **name) == policy


def test_the_session_key_rotates_in_aws(place: Place) -> None:
    forget_all(place.moto)
    place.shell.run("export AWS_DEFAULT_REGION=eu-central-1")
    values = {"SECRET_KEY": "0" * 64, "SECRET_KEY_FALLBACKS": ""}
    name = {"Name": "flask-app/session", "ClientRequestToken": str(uuid.uuid4())}
    call(place.moto, "CreateSecret", **name, SecretString=json.dumps(values))
    rotates(
        under(EXTERNAL_SECRETS, "How it rotates")[1],
        place.shell,
        lambda: place.kept_by_aws("flask-app/session"),
    )
