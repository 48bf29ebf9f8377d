"""Leaks in what the database keeps and tells."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from contextlib import suppress

from tools.leakscan.target import Target

from . import plants
from .processes import in_pod

#: Its server's process shows this statement as the last one, until the input ends.
SESSION = """
import psycopg, sys
with psycopg.connect(
    host={host!r}, dbname="flask_app", sslmode="verify-full",
    sslrootcert="/etc/database-ca/ca.crt", user={user!r}, password={password!r}, autocommit=True,
) as connection:
    connection.execute({statement!r})
    print("ready", flush=True)
    sys.stdin.read()
"""


@plants("database: server log", also=("output: logs", "output: node's files"))
def failed_statement(target: Target, canary: str) -> Iterator[None]:
    """A statement that fails, which the server logs with all that is in it."""
    with suppress(AssertionError):
        target.cluster.sql(f"SELECT 1 / 0 AS password_{canary}")
    yield


@plants("database: activity")
def idle_session(target: Target, canary: str) -> Iterator[None]:
    """A session that is idle, and whose last statement has the value."""
    admin = target.cluster.secret(f"{target.cluster.fullname}-database-admin")
    text = base64.b64encode(base64.b64encode(canary.encode())).decode()
    script = SESSION.format(
        host=f"{target.cluster.fullname}-database.{target.cluster.namespace}.svc",
        user=admin["username"].reveal(),
        password=admin["password"].reveal(),
        statement=f"SELECT '{text}'",
    )
    with in_pod(target, script):
        yield


@plants("database: verifiers")
def salt(target: Target, canary: str) -> Iterator[None]:
    """A verifier whose salt is the value."""
    salt = base64.b64encode(canary.encode()).decode()
    key = base64.b64encode(bytes(32)).decode()
    yield from _role(target, "planted_salt", f"SCRAM-SHA-256$4096:{salt}${key}:{key}")


@plants("database: verifiers", fault="role planted_md5: .* otherwise than as a verifier")
def md5_password(target: Target, canary: str) -> Iterator[None]:
    """A role whose password is kept as PostgreSQL did before it had SCRAM."""
    digest = hashlib.md5(b"planted", usedforsecurity=False).hexdigest()
    yield from _role(target, "planted_md5", f"md5{digest}")


def _role(target: Target, name: str, kept: str) -> Iterator[None]:
    """Make a role that can't log in, whose password is kept as given, and remove it."""
    # not in one that is logged as DDL
    keep = f"UPDATE pg_authid SET rolpassword = '{kept}' WHERE rolname = '{name}'"
    try:
        target.cluster.sql(f"CREATE ROLE {name} NOLOGIN", keep)
        yield
    finally:
        target.cluster.sql(f"DROP ROLE IF EXISTS {name}")
