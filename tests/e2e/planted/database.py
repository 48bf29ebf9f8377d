"""Leaks in what the database keeps and tells."""

from __future__ import annotations

import base64
import hashlib
import subprocess
from collections.abc import Iterator
from contextlib import suppress

from tests.e2e.leakscan.target import Target

from . import plants

#: Its server's process shows this statement as the last one, until it is told to end.
SESSION = """
import psycopg
with psycopg.connect(
    host={host!r}, dbname="flask_app", sslmode="verify-full", application_name="planted",
    sslrootcert="/etc/database-ca/ca.crt", user={user!r}, password={password!r}, autocommit=True,
) as connection:
    connection.execute({statement!r})
    print("idle", flush=True)
    for _ in connection.notifies():
        pass
"""

END = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'planted'
"""

#: How long the session may take to end, in seconds.
ENDED = 10


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
    workload = f"deployment/{target.cluster.fullname}"
    command = target.cluster.command("exec", "--stdin", workload, "--", "python", "-")
    with subprocess.Popen(
        command,
        env=target.cluster.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(script)
        process.stdin.close()
        try:
            assert process.stdout.readline() == "idle\n", "the session did not begin"
            yield
        finally:
            target.cluster.sql(END)
            with suppress(subprocess.TimeoutExpired):
                process.wait(ENDED)
            process.kill()


@plants("database: verifiers")
def salt(target: Target, canary: str) -> Iterator[None]:
    """A verifier whose salt is the value."""
    salt = base64.b64encode(canary.encode()).decode()
    key = base64.b64encode(bytes(32)).decode()
    yield from _role(target, "planted_salt", f"SCRAM-SHA-256$4096:{salt}${key}:{key}")


@plants("database: verifiers", fault="kept otherwise than as a verifier")
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
