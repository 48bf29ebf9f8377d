"""What the pages of docs/external say to type, all of it, on a cluster.

The commands are read from the pages, and run as they stand there, but for the words of `replaced`.
Real are kubectl, helm, jq, openssl, psql, its database with TLS, and the AWS CLI. Vault and its
command line are stand-ins, Secrets Manager is moto's, and the External Secrets operator, the
injector with its agent, and the CSI driver are those of test_sources.py: each logs in to Vault with
a token of the account that the chart made, so that it gets what the page's policy and role grant.
"""

from __future__ import annotations

import json
import re
import secrets
import ssl
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from keeper.certificates import new_authority
from secret_files import Secret
from tests.e2e.release import Release
from tests.e2e.sources import database, vault
from tests.e2e.sources.csi import Driver
from tests.e2e.sources.definitions import defined
from tests.e2e.sources.external_secrets import Operator
from tests.e2e.sources.manager import Manager
from tests.e2e.sources.moto import call, forget_all, moto_server
from tests.e2e.sources.tunnel import tunnel
from tests.e2e.sources.user_shell import NEEDED, Shell, shell, skip_without, steps
from tests.e2e.sources.vault_agent import Agent
from tests.pages import Block, Walk
from tools.cluster.client import Cluster, namespace
from tools.leakscan.run import image_of

WaitFor = Callable[..., None]

README = "docs/external/README.md"
EXISTING = "docs/external/existing.md"
EXTERNAL_SECRETS = "docs/external/external-secrets.md"
VAULT_AGENT = "docs/external/vault-agent.md"
CSI = "docs/external/csi.md"

#: Where the release is, and what is the user's own.
HERE, OUTSIDE = "pages", "outside"

PAGES = (README, EXISTING, EXTERNAL_SECRETS, VAULT_AGENT, CSI)
OBJECTS = ("flask-app/session", "flask-app/database")

SERVICE = "app.kubernetes.io/component=service"
STORES, EXTERNAL = "secretstores.external-secrets.io", "externalsecrets.external-secrets.io"
CLASSES = "secretproviderclasses.secrets-store.csi.x-k8s.io"

SUPERUSER = Secret("password", secrets.token_urlsafe(24))


def replaced(cluster: Cluster, image: str) -> dict[str, str]:
    """Return every word of the pages that is another one here, and the one that it is."""
    repository, _, tag = image.partition(":")
    node = json.loads(cluster.kubectl("get", "nodes", "--output=json"))["items"][0]
    pods = node["spec"]["podCIDR"]
    return {
        # the release of `make deploy` has the pages' namespace
        "namespace flask-app": f"namespace {HERE}",
        "namespaces/flask-app/": f"namespaces/{HERE}/",
        "account_namespaces=flask-app": f"account_namespaces={HERE}",
        # the user's own
        "registry.example.org/flask-app": repository,
        "--set image.tag=0.2.0": f"--set-string image.tag={tag}",
        "db.example.org": f"{database.NAME}.{OUTSIDE}.svc",
        "vault.example.org": f"{vault.NAME}.{OUTSIDE}.svc",
        "10.1.2.0/24": pods,
        "10.1.3.0/24": pods,
    }


@dataclass
class InVault(Manager):
    """What Vault has for an account and its role; whoever reads it logs in anew each time."""

    place: Place | None = None
    account: str = ""
    role: str = ""

    def objects(self, without: str = "") -> dict[str, dict[str, str]]:
        assert self.place
        jwt = self.cluster.kubectl("create", "token", self.account, "--audience=vault").strip()
        login = {"role": self.role, "jwt": jwt}
        token = self.place.ask_vault("auth/kubernetes/login", login)["auth"]["client_token"]
        return {name: self.place.kept_by_vault(name, token) for name in OBJECTS}


@dataclass
class InAws(Manager):
    """What Secrets Manager has."""

    port: int = 0

    def objects(self, without: str = "") -> dict[str, dict[str, str]]:
        found = {
            name: call(self.port, "GetSecretValue", SecretId=name, VersionStage="AWSCURRENT")
            for name in OBJECTS
        }
        return {name: json.loads(one["SecretString"]) for name, one in found.items()}


@dataclass
class Place:
    """A shell, the release that it installs, and those who bring the secrets."""

    release: Release
    shell: Shell
    vault: str
    moto: int
    wait_for: WaitFor
    walks: dict[str, Walk] = field(default_factory=lambda: {page: Walk(page) for page in PAGES})

    @property
    def cluster(self) -> Cluster:
        return self.release.cluster

    def under(self, page: str, heading: str) -> list[Block]:
        return self.walks[page].under(heading)

    def run(self, page: str, heading: str) -> str:
        """Run every block under a heading, and return what they printed."""
        return "".join(self.shell.run(block) for block in self.under(page, heading))

    def ask_vault(self, path: str, body: object = None, token: str = "") -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"X-Vault-Token": token} if token else {}
        request = urllib.request.Request(f"{self.vault}/v1/{path}", data=data, headers=headers)
        context = ssl.create_default_context(cafile=self.shell.work / "vault-ca.crt")
        with urllib.request.urlopen(request, timeout=10, context=context) as answer:
            return json.loads(answer.read())

    def kept_by_vault(self, name: str, token: str = "") -> dict[str, str]:
        found: dict[str, str] = self.ask_vault(f"secret/data/{name}", token=token)["data"]["data"]
        return found

    def install(self, page: str, heading: str, act: Callable[[], None] | None = None) -> None:
        """Go through a heading; while helm waits for the pods, a stand-in does its part."""
        self.forget()
        installed = False
        for block in self.under(page, heading):
            if not block.text.startswith("helm upgrade"):
                self.shell.run(block)
                continue
            with ThreadPoolExecutor(1) as pool:
                installing = pool.submit(self.shell.run, block)
                try:
                    if act:
                        act()
                except BaseException:
                    self.shell.kill()
                    raise
                installing.result()
            installed = True
        assert installed
        assert self.shell.value("password") == ""

    def forget(self) -> None:
        """Remove what a stand-in changed, and what it would take for the next one."""
        delete = ("delete", "--namespace", HERE, "--ignore-not-found")
        self.cluster.kubectl(*delete, "deployment/flask-app", "--cascade=foreground")
        self.cluster.kubectl(*delete, f"{STORES},{EXTERNAL},{CLASSES}", "--all")

    def made(self, kind: str) -> dict[str, Any]:
        """Wait until helm has made an object of the release's name, and return it."""
        get = ("get", kind, "flask-app", "--output=json", "--ignore-not-found")
        self.wait_for(lambda: self.cluster.kubectl(*get) != "", f"the {kind}", 60)
        found: dict[str, Any] = json.loads(self.cluster.kubectl(*get))
        return found

    def operator(self) -> Operator:
        """Wait for what External Secrets is told, and return the stand-in for it."""
        self.made(EXTERNAL)
        provider = self.made(STORES)["spec"]["provider"]
        if "aws" in provider:
            return Operator(self.release, InAws(self.cluster, port=self.moto))
        login = provider["vault"]["auth"]["kubernetes"]
        account, role = login["serviceAccountRef"]["name"], login["role"]
        return Operator(self.release, InVault(self.cluster, place=self, account=account, role=role))

    def driver(self) -> Driver:
        """Wait for what the CSI driver is told, and return the stand-in for it."""
        spec = self.made(CLASSES)["spec"]
        if spec["provider"] == "aws":
            return Driver(self.release, InAws(self.cluster, port=self.moto))
        role = spec["parameters"]["roleName"]
        account = self.made("deployment")["spec"]["template"]["spec"]["serviceAccountName"]
        return Driver(self.release, InVault(self.cluster, place=self, account=account, role=role))

    def inject(self) -> None:
        """Wait for the Deployment, and do what the injector does."""
        self.made("deployment")
        Agent(self.release, Manager(self.cluster)).inject()

    def statuses(self) -> list[dict[str, Any]]:
        """Return what the page's `statuses` prints of both pods."""
        names = ("get", "pods", "--selector", SERVICE, "--output=name")
        self.wait_for(
            lambda: len(self.cluster.kubectl(*names).split()) == 2, "the end of the old pods", 60
        )
        found = [json.loads(line) for line in self.shell.run("statuses").splitlines()]
        assert len(found) == 2
        assert len({one["pod"] for one in found}) == 2
        return found

    def until(self, what: str, seen: Callable[[dict[str, Any]], bool]) -> None:
        """Wait until each pod says so."""
        self.wait_for(lambda: all(seen(one) for one in self.statuses()), what, 90)
        assert [one["refused"] for one in self.statuses()] == [None, None]

    def rotate_key(self, block: Block, bring: Callable[[], None] = lambda: None) -> None:
        """Take the three steps, each when every pod has the one before."""
        *before, announce, promote, retire = steps(block)
        for step in before:
            self.shell.run(step)
        old, _ = self.session_keys()
        self.shell.run(announce)
        bring()
        self.until("the announced key", lambda one: one["keys"] == 2)
        signs, new = self.session_keys()
        assert signs == old != new
        adopted = {one["adopted"] for one in self.statuses()}
        self.shell.run(promote)
        bring()
        self.until("the new key", lambda one: one["adopted"] not in adopted and one["keys"] == 2)
        assert self.session_keys() == [new, old]
        self.shell.run(retire)
        bring()
        self.until("the end of the old key", lambda one: one["keys"] == 1)
        assert self.session_keys() == [new, ""]

    def session_keys(self) -> list[str]:
        """Return SECRET_KEY and SECRET_KEY_FALLBACKS as one pod's files have them."""
        names = ("SECRET_KEY", "SECRET_KEY_FALLBACKS")
        script = f"for name in {names}: print(open('/etc/secrets/' + name).read().strip())"
        return self.cluster.python(script).splitlines()

    def new_login(self, role: str = "notes_1") -> None:
        """Let a role log in with a new password, as at the end of the page's chapter."""
        self.shell.run(f"psql --command 'ALTER ROLE {role} LOGIN'")
        self.shell.run(f"new_password {role}")

    def sql(self, query: str) -> str:
        """Return the one value that a query of the owner's has."""
        return self.shell.run(f'psql --tuples-only --no-align --command "{query}"').strip()


def prepare(connection: psycopg.Connection[Any], password: Secret) -> None:
    """Make the database that the pages are given, and who owns it."""
    text = password.reveal()
    connection.execute(f"CREATE ROLE owner LOGIN CREATEROLE PASSWORD '{text}'".encode())
    connection.execute("GRANT pg_signal_backend TO owner")
    connection.execute("CREATE DATABASE flask_app OWNER owner")


@pytest.fixture(scope="module")
def place(
    cluster: Cluster, tmp_path_factory: pytest.TempPathFactory, wait_for: WaitFor
) -> Iterator[Place]:
    """Start what is the user's own, and take the first steps of the pages."""
    skip_without(**NEEDED, psql="postgresql-client")
    image, folder = image_of(cluster), tmp_path_factory.mktemp("pages")
    authority = new_authority("db.example.org")
    with ExitStack() as stack:
        stack.enter_context(defined(cluster))
        outside = stack.enter_context(namespace(cluster, OUTSIDE))
        allow(outside)
        ca = f"--from-literal=ca.crt={authority.certificate}"
        outside.kubectl("create", "configmap", "db-ca", ca)
        database.start(outside, authority, SUPERUSER)
        vault.start(outside, image)
        to_database = stack.enter_context(tunnel(outside, database.NAME, database.PORT))
        # root is who comes from there
        to_vault = stack.enter_context(tunnel(outside, "127.0.0.1", vault.PORT))
        moto = stack.enter_context(moto_server(folder / "moto", wait_for))
        environment = environment_of(cluster, folder, to_database, to_vault, moto)
        started = stack.enter_context(shell(folder, replaced(cluster, image), environment))
        files = {"db-ca.crt": authority.certificate}
        files["vault-ca.crt"] = outside.kubectl("exec", vault.NAME, "--", "cat", "/tmp/ca.crt")
        for name, text in files.items():
            (started.work / name).write_text(text)
        (folder / ".pgpass").write_text(f"*:*:*:*:{SUPERUSER.reveal()}\n")
        (folder / ".pgpass").chmod(0o600)
        with psycopg.connect(
            host=f"{database.NAME}.{OUTSIDE}.svc",
            hostaddr="127.0.0.1",
            port=to_database,
            user="postgres",
            password=SUPERUSER.reveal(),
            sslmode="verify-full",
            sslrootcert=str(started.work / "db-ca.crt"),
            autocommit=True,
        ) as connection:
            prepare(connection, SUPERUSER)
        release = Release(replace(cluster, namespace=HERE), image)
        gone = ("delete", "namespace", HERE, "--ignore-not-found")
        cluster.kubectl(*gone, "--wait")
        stack.callback(cluster.kubectl, *gone, "--wait=false")
        place = Place(release, started, environment["VAULT_ADDR"], moto, wait_for)
        for heading in FIRST:
            place.run(README, heading)
        yield place


#: The chapters with which every walk begins.
FIRST = (
    "The database",
    "The certificate authorities",
    "Vault's Kubernetes auth method",
    "To see that every pod has it",
)


def allow(outside: Cluster) -> None:
    """Ask less of the pods than a hardened one has."""
    label = "pod-security.kubernetes.io/enforce=baseline"
    outside.kubectl("label", "namespace", outside.namespace, label, "--overwrite")


def environment_of(
    cluster: Cluster, folder: Path, database: int, vault: int, aws: int
) -> dict[str, str]:
    """Return what the user of the pages has set before: the ways to what is the user's own."""
    kept = {name: cluster.environment()[name] for name in ("PATH", "KUBECONFIG")}
    return {
        **kept,
        "HELM_KUBECONTEXT": f"kind-{cluster.name}",
        "PGHOSTADDR": "127.0.0.1",
        "PGPORT": str(database),
        "VAULT_ADDR": f"https://localhost:{vault}",
        "VAULT_CACERT": str(folder / "work" / "vault-ca.crt"),
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{aws}",
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nothing",
    }


def test_the_database_server_gets_a_verifier_and_no_password(place: Place) -> None:
    """Its log has every statement."""
    log = replace(place.cluster, namespace=OUTSIDE).kubectl("logs", database.NAME)
    assert re.search(r"""ALTER USER "?notes_1"? PASSWORD 'SCRAM-SHA-256\$""", log)
    password = place.shell.value("password")
    assert len(password) == 48
    assert password not in log


def test_the_sessions_of_a_locked_login_end(place: Place) -> None:
    place.new_login()
    sleep = "psql --command 'SELECT pg_sleep(600)' & asleep=$!"
    place.shell.run(f"PGUSER=notes_1 PGPASSWORD=$password {sleep}")
    sessions = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'notes_1'"
    place.wait_for(lambda: place.sql(sessions) == "1", "a session")
    place.run(README, "To rotate the database's login")
    assert place.shell.run("wait $asleep || echo ended") == "ended\n"


#: Commands with a mistake each.
MISTAKES = (
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
)


def test_the_stand_in_for_vaults_command_line_rejects_mistakes(place: Place) -> None:
    """Otherwise a misspelt command of a page would pass."""
    for words in MISTAKES:
        said = place.shell.run(f"vault {words} || echo failed")
        assert re.fullmatch(r"vault: .+\nfailed\n", said), words


def test_a_secret_that_somebody_else_makes(place: Place) -> None:
    place.new_login()
    place.run(EXISTING, "Make the Secret")
    place.install(EXISTING, "Install")
    place.until("the first values", lambda one: one["role"] == "notes_1" and one["keys"] == 1)
    told = place.run(EXISTING, "To see that it works")
    assert "shop-credentials" in told
    assert told.count("\nName:") + told.startswith("Name:") == 2
    key, login = place.under(EXISTING, "How it rotates")
    place.rotate_key(key)
    place.shell.run(login)
    place.until("the other login", lambda one: one["role"] == "notes_2")
    place.run(README, "To rotate the database's login")
    assert place.sql("SELECT rolcanlogin FROM pg_roles WHERE rolname = 'notes_1'") == "f"
    place.release.write("without the old login")
    assert "without the old login" in place.release.notes()


def test_external_secrets_with_vault(place: Place) -> None:
    place.new_login()
    place.install(EXTERNAL_SECRETS, "With Vault", lambda: place.operator().bring())
    place.until("the first values", lambda one: one["role"] == "notes_1" and one["keys"] == 1)
    told = place.run(EXTERNAL_SECRETS, "To see that it works")
    assert "flask-app/session" in told
    place.run(EXTERNAL_SECRETS, "How fast a change arrives")
    assert "force-sync" in place.made(EXTERNAL)["metadata"]["annotations"]
    key = place.under(EXTERNAL_SECRETS, "How it rotates")[0]
    place.rotate_key(key, lambda: place.operator().bring())


def test_external_secrets_with_aws(place: Place) -> None:
    place.new_login()
    heading = "With AWS Secrets Manager"
    place.install(EXTERNAL_SECRETS, heading, lambda: place.operator().bring())
    place.until("the first values", lambda one: one["role"] == "notes_1" and one["keys"] == 1)
    # a rotation function stores a login, and labels it when it has tried it
    place.new_login("notes_2")
    login = {"username": "notes_2", "password": place.shell.value("password")}
    pending = str(uuid.uuid4())
    name = {"SecretId": "flask-app/database"}
    current = call(place.moto, "GetSecretValue", **name)["VersionId"]
    version = {"ClientRequestToken": pending, "VersionStages": ["AWSPENDING"]}
    call(place.moto, "PutSecretValue", **name, **version, SecretString=json.dumps(login))
    key = place.under(EXTERNAL_SECRETS, "How it rotates")[1]
    place.rotate_key(key, lambda: place.operator().bring())
    assert {one["role"] for one in place.statuses()} == {"notes_1"}
    moved = {"MoveToVersionId": pending, "RemoveFromVersionId": current}
    call(place.moto, "UpdateSecretVersionStage", **name, **moved, VersionStage="AWSCURRENT")
    place.operator().bring()
    place.until("the login that was pending", lambda one: one["role"] == "notes_2")


def test_vaults_agent_with_the_kv_engine(place: Place) -> None:
    place.new_login()
    place.install(VAULT_AGENT, "With the KV engine", place.inject)
    place.until("the first values", lambda one: one["role"] == "notes_1" and one["keys"] == 1)
    pods, logs = (place.shell.run(step) for step in commands(place, VAULT_AGENT))
    assert pods.count("2/2") == 2
    assert "rendered SECRET_KEY" in logs
    (key,) = place.under(VAULT_AGENT, "How it rotates")
    place.rotate_key(key)


def commands(place: Place, page: str) -> list[str]:
    """Return the commands of the block with which one sees that it works."""
    (block,) = place.under(page, "To see that it works")
    joined = block.text.replace("\\\n", " ")
    return [line for line in joined.splitlines() if line]


def test_vaults_agent_with_the_database_engine(place: Place) -> None:
    place.install(VAULT_AGENT, "With the database engine", place.inject)
    place.until("a login of Vault's", lambda one: one["role"].startswith("v-kubernet-flask-app-"))
    assert len({one["role"] for one in place.statuses()}) == 2
    # at the end of their leases
    place.ask_vault("sys/leases/revoke-prefix/database/creds/flask-app", {})
    assert place.sql("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'v-kubernet-%'") == "0"
    left = "SELECT count(*) FROM pg_stat_activity WHERE usesysid > 0 AND usename IS NULL"
    place.wait_for(lambda: place.sql(left) == "0", "the end of their sessions")


@pytest.mark.parametrize("manager", ["Vault", "AWS Secrets Manager"])
def test_the_csi_driver(place: Place, manager: str) -> None:
    place.new_login()
    forget_all(place.moto)

    def act() -> None:
        driver = place.driver()
        driver.begin()
        driver.bring()

    place.install(CSI, f"With {manager}", act)
    place.until("the first values", lambda one: one["role"] == "notes_1" and one["keys"] == 1)
    assert "Succeeded" in place.run(CSI, "To see that it works")
    key = place.under(EXTERNAL_SECRETS, "How it rotates")[manager != "Vault"]
    place.rotate_key(key, lambda: place.driver().bring())
    place.driver().end()


def test_sessions_live_on_when_vault_has_the_keepers_key(place: Place, cluster: Cluster) -> None:
    """As it stands in the page: the release of `make deploy` has what the keeper made."""
    (block,) = place.under(README, "From the keeper to another source, and back")
    place.shell.run(block, as_it_stands=True)
    kept = cluster.secret("flask-app-secrets")
    assert place.kept_by_vault("flask-app/session") == {
        name: kept[name].reveal() for name in ("SECRET_KEY", "SECRET_KEY_FALLBACKS")
    }


def test_no_command_was_left_out(place: Place) -> None:
    """The last one in this file."""
    assert [str(block) for walk in place.walks.values() for block in walk.left] == []
