"""A stand-in for Vault: what docs/external asks of it, over Vault's own HTTP API.

    python vault_server.py PORT NAME ...

Root is whoever asks without a token from the machine that it runs on. Everybody else logs in with
the Kubernetes auth method, and may do what the policies of the role say. The database engine makes
logins in a real PostgreSQL. All is kept in memory, a token's signature is not verified, and a path
or a parameter that is not known here is refused. It speaks HTTPS, with a certificate for the names,
whose authority is in /tmp/ca.crt. https://developer.hashicorp.com/vault/api-docs
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import ssl
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import psycopg

from keeper.certificates import new_authority, new_certificate
from secret_files import forbid_core_dumps

Body = dict[str, Any]

CAPABILITIES: Final = {"GET": "read", "PUT": "update", "POST": "update", "PATCH": "patch"}
RULE: Final = re.compile(r'path\s+"([^"*+]+)"\s*\{\s*capabilities\s*=\s*\[([^\]]*)\]\s*\}')
UNITS: Final = {"s": 1, "m": 60, "h": 3600}
LOGIN: Final = "auth/kubernetes/login"


class Refused(Exception):
    """What Vault answers instead."""

    def __init__(self, status: int, *errors: str) -> None:
        super().__init__(*errors)
        self.status = status


def check(body: Body, *required: str, optional: tuple[str, ...] = ()) -> None:
    """Refuse what is missing, and what is not known."""
    missing, unknown = {*required} - body.keys(), body.keys() - {*required, *optional}
    if missing or unknown:
        raise Refused(400, f"missing: {sorted(missing)}, unknown: {sorted(unknown)}")


def seconds(duration: str) -> int:
    """Return how long `20m` is."""
    match = re.fullmatch(r"(\d+)([smh])", duration)
    if not match:
        raise Refused(400, f"no duration: {duration!r}")
    return int(match[1]) * UNITS[match[2]]


def filled(text: str, **values: str) -> str:
    """Return a statement, or an address, with its values."""
    for name, value in values.items():
        text = text.replace(f"{{{{{name}}}}}", value)
    if "{{" in text:
        raise Refused(400, f"no value for what is left in {text!r}")
    return text


def claims_of(token: str) -> Body:
    """Return what a ServiceAccount's token says of itself."""
    try:
        payload = token.split(".")[1]
        claims: Body = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (IndexError, ValueError):
        raise Refused(403, "permission denied") from None
    return claims


@dataclass
class Connection:
    """What the database engine knows of one database."""

    config: Body

    def open(self) -> psycopg.Connection[Any]:
        """Log in as Vault's own role."""
        url = filled(
            self.config["connection_url"],
            username=quote(self.config["username"], safe=""),
            password=quote(self.config["password"], safe=""),
        )
        try:
            return psycopg.connect(url, autocommit=True, connect_timeout=5)
        except psycopg.Error as error:
            raise Refused(400, f"error verifying connection: {error}") from None

    def run(self, statements: str, user: str, password: str = "", expiration: str = "") -> None:
        """Run statements about one role; what the server gets of its password is a verifier."""
        with self.open() as connection:
            hashed = connection.pgconn.encrypt_password(
                password.encode(), user.encode(), b"scram-sha-256"
            ).decode()
            values = {"name": user, "username": user, "password": hashed, "expiration": expiration}
            try:
                connection.execute(filled(statements, **values).encode())
            except psycopg.Error as error:
                raise Refused(500, f"failed to run: {error}") from None


@dataclass
class Vault:
    """All that it knows; each method is one path of the API."""

    mounts: dict[str, str] = field(default_factory=lambda: {"secret": "kv"})
    methods: dict[str, Body] = field(default_factory=dict)
    roles: dict[str, Body] = field(default_factory=dict)
    policies: dict[str, set[tuple[str, str]]] = field(default_factory=dict)
    objects: dict[str, Body] = field(default_factory=dict)
    connections: dict[str, Connection] = field(default_factory=dict)
    logins: dict[str, Body] = field(default_factory=dict)
    #: The users that were made, by their leases.
    leases: dict[str, str] = field(default_factory=dict)
    #: The policies of each token.
    tokens: dict[str, list[str]] = field(default_factory=dict)

    def allows(self, token: str, method: str, path: str) -> bool:
        """Say whether a token may do that."""
        wanted = (path, CAPABILITIES[method])
        return any(wanted in self.policies.get(name, set()) for name in self.tokens.get(token, []))

    def enable_method(self, body: Body, path: str) -> Body:
        check(body, "type")
        if body["type"] != "kubernetes" or path != "kubernetes":
            raise Refused(400, f"there is no auth method {body['type']!r} here")
        if path in self.methods:
            raise Refused(400, f"path is already in use at {path}/")
        self.methods[path] = {}
        return {}

    def enable_engine(self, body: Body, path: str) -> Body:
        check(body, "type")
        if body["type"] != "database" or path != "database":
            raise Refused(400, f"there is no engine {body['type']!r} here")
        if path in self.mounts:
            raise Refused(400, f"path is already in use at {path}/")
        self.mounts[path] = body["type"]
        return {}

    def configure_method(self, body: Body) -> Body:
        check(body, "kubernetes_host", optional=("kubernetes_ca_cert", "token_reviewer_jwt"))
        self._method()["config"] = body
        return {}

    def write_role(self, body: Body, name: str) -> Body:
        bound = ("bound_service_account_names", "bound_service_account_namespaces")
        check(body, *bound, "audience", "token_policies", "token_ttl")
        self._method()
        self.roles[name] = body | {"token_ttl": seconds(body["token_ttl"])}
        return {}

    def log_in(self, body: Body) -> Body:
        check(body, "role", "jwt")
        if "config" not in self._method():
            raise Refused(500, "could not load backend configuration")
        role, claims = self.roles.get(body["role"]), claims_of(body["jwt"])
        if not role:
            raise Refused(400, f"invalid role name {body['role']!r}")
        accounts = {
            f"system:serviceaccount:{namespace}:{name}"
            for namespace in role["bound_service_account_namespaces"].split(",")
            for name in role["bound_service_account_names"].split(",")
        }
        if role["audience"] not in claims["aud"] or claims["sub"] not in accounts:
            raise Refused(403, "permission denied")
        token = secrets.token_urlsafe(16)
        self.tokens[token] = role["token_policies"].split(",")
        return {"auth": {"client_token": token, "lease_duration": role["token_ttl"]}}

    def write_policy(self, body: Body, name: str) -> Body:
        check(body, "policy")
        code = re.sub(r"(?m)^\s*#.*$", "", body["policy"])
        if RULE.sub("", code).strip():
            raise Refused(400, "a policy of other things than paths with capabilities")
        self.policies[name] = {
            (path, capability)
            for path, listed in RULE.findall(code)
            for capability in re.findall(r'"(\w+)"', listed)
        }
        return {}

    def put_object(self, body: Body, path: str) -> Body:
        check(body, "data", optional=("options",))
        self.objects[path] = body["data"]
        return {"data": {}}

    def patch_object(self, body: Body, path: str) -> Body:
        check(body, "data", optional=("options",))
        self.objects[path] = self._object(path) | body["data"]
        return {"data": {}}

    def get_object(self, body: Body, path: str) -> Body:
        return {"data": {"data": self._object(path), "metadata": {}}}

    def write_connection(self, body: Body, name: str) -> Body:
        names = ("plugin_name", "allowed_roles", "connection_url", "username", "password")
        check(body, *names, "password_authentication")
        self._engine()
        chosen = (body["plugin_name"], body["password_authentication"])
        if chosen != ("postgresql-database-plugin", "scram-sha-256"):
            raise Refused(400, f"not known here: {chosen}")
        connection = Connection(body)
        connection.open().close()
        self.connections[name] = connection
        return {}

    def rotate_root(self, body: Body, name: str) -> Body:
        check(body)
        connection, password = self._connection(name), secrets.token_urlsafe(24)
        user = connection.config["username"]
        connection.run("ALTER ROLE \"{{username}}\" WITH PASSWORD '{{password}}'", user, password)
        connection.config["password"] = password
        return {}

    def write_login(self, body: Body, name: str) -> Body:
        statements = ("creation_statements", "revocation_statements")
        check(body, "db_name", "default_ttl", "max_ttl", *statements)
        self._connection(body["db_name"])
        times = {key: seconds(body[key]) for key in ("default_ttl", "max_ttl")}
        self.logins[name] = body | times
        return {}

    def make_login(self, body: Body, name: str) -> Body:
        login = self.logins.get(name)
        if not login:
            raise Refused(400, f"unknown role: {name}")
        connection = self._connection(login["db_name"])
        if name not in connection.config["allowed_roles"].split(","):
            raise Refused(500, f'"{name}" is not an allowed role')
        user, password = f"v-kubernet-{name}-{secrets.token_hex(8)}", secrets.token_urlsafe(24)
        end = datetime.now(UTC) + timedelta(seconds=login["default_ttl"])
        expiration = end.strftime("%Y-%m-%d %H:%M:%S%z")
        connection.run(login["creation_statements"], user, password, expiration)
        lease = f"database/creds/{name}/{secrets.token_urlsafe(12)}"
        self.leases[lease] = user
        data = {"username": user, "password": password}
        return {"lease_id": lease, "lease_duration": login["default_ttl"], "data": data}

    def revoke(self, body: Body, prefix: str) -> Body:
        for lease in [one for one in self.leases if one.startswith(prefix)]:
            login = self.logins[lease.split("/")[2]]
            user = self.leases.pop(lease)
            self._connection(login["db_name"]).run(login["revocation_statements"], user)
        return {}

    def _method(self) -> Body:
        if "kubernetes" not in self.methods:
            raise Refused(404, "no handler for route: the auth method is not enabled")
        return self.methods["kubernetes"]

    def _engine(self) -> None:
        if "database" not in self.mounts:
            raise Refused(404, "no handler for route: the engine is not enabled")

    def _connection(self, name: str) -> Connection:
        self._engine()
        if name not in self.connections:
            raise Refused(400, f"failed to find entry for connection with name: {name!r}")
        return self.connections[name]

    def _object(self, path: str) -> Body:
        if path not in self.objects:
            raise Refused(404)
        return self.objects[path]


#: Which method answers for which path; what stands in its brackets is handed on.
ROUTES: Final[tuple[tuple[str, str, Callable[..., Body]], ...]] = (
    ("PUT POST", r"sys/auth/(\w+)", Vault.enable_method),
    ("PUT POST", r"sys/mounts/(\w+)", Vault.enable_engine),
    ("PUT POST", r"sys/policies/acl/([\w-]+)", Vault.write_policy),
    ("PUT POST", r"sys/leases/revoke-prefix/(.+)", Vault.revoke),
    ("PUT POST", r"auth/kubernetes/config", Vault.configure_method),
    ("PUT POST", r"auth/kubernetes/role/([\w-]+)", Vault.write_role),
    ("PUT POST", LOGIN, Vault.log_in),
    ("PUT POST", r"secret/data/(.+)", Vault.put_object),
    ("PATCH", r"secret/data/(.+)", Vault.patch_object),
    ("GET", r"secret/data/(.+)", Vault.get_object),
    ("PUT POST", r"database/config/([\w-]+)", Vault.write_connection),
    ("PUT POST", r"database/rotate-root/([\w-]+)", Vault.rotate_root),
    ("PUT POST", r"database/roles/([\w-]+)", Vault.write_login),
    ("GET", r"database/creds/([\w-]+)", Vault.make_login),
)


def answer(vault: Vault, method: str, path: str, body: Body) -> Body:
    """Find who answers for a path, and return what it says."""
    for methods, pattern, handler in ROUTES:
        match = re.fullmatch(pattern, path)
        if match and method in methods.split():
            return handler(vault, body, *match.groups())
    raise Refused(404, f"no handler for route {path!r}")


class Handler(BaseHTTPRequestHandler):
    """Lets in who may, one at a time."""

    vault: Final = Vault()
    lock: Final = threading.Lock()

    def do_GET(self) -> None:
        self._do()

    def do_PUT(self) -> None:
        self._do()

    def do_POST(self) -> None:
        self._do()

    def do_PATCH(self) -> None:
        self._do()

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""

    def _do(self) -> None:
        path = self.path.removeprefix("/v1/")
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}")
        try:
            with self.lock:
                if path != LOGIN and not self._may(path):
                    raise Refused(403, "permission denied")
                self._send(200, answer(self.vault, self.command, path, body))
        except Refused as refused:
            self._send(refused.status, {"errors": list(refused.args)})

    def _may(self, path: str) -> bool:
        token = self.headers.get("X-Vault-Token")
        if token:
            return self.vault.allows(token, self.command, path)
        return bool(self.client_address[0] == "127.0.0.1")

    def _send(self, status: int, content: Mapping[str, Any]) -> None:
        text = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


def certificate(names: tuple[str, ...]) -> ssl.SSLContext:
    """Make an authority and a certificate, and leave them in /tmp."""
    authority = new_authority("vault")
    pair = new_certificate(authority, names)
    files = {"ca.crt": authority.certificate, "tls.crt": pair.certificate, "tls.key": pair.key}
    for name, text in files.items():
        Path("/tmp", name).write_text(text)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain("/tmp/tls.crt", "/tmp/tls.key")
    return context


def main(port: str, *names: str) -> None:
    """Serve until it is ended."""
    forbid_core_dumps()
    server = ThreadingHTTPServer(("", int(port)), Handler)
    server.socket = certificate(names).wrap_socket(server.socket, server_side=True)
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
