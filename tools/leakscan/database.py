"""What the database keeps and tells beside the notes."""

from __future__ import annotations

import json
import secrets
from typing import Any, Final

from .engine import Fault, Reading, Sample, Unreadable, place
from .output import Tally, component, log, name, previous_too, started
from .target import Target

#: What pg_authid.rolpassword has to begin with.
VERIFIER: Final = "SCRAM-SHA-256$"

ACTIVITY: Final = "SELECT json_agg(a)::text FROM pg_stat_activity a"
ROLES: Final = """
SELECT json_agg(json_build_object('role', rolname, 'password', rolpassword, 'own',
  rolname = current_user))::text FROM pg_authid
"""
#: The view of statements, where that extension is.
STATEMENTS: Final = """
SELECT coalesce(max(format('%I.pg_stat_statements', nspname)), '') FROM pg_extension
JOIN pg_namespace n ON n.oid = extnamespace WHERE extname = 'pg_stat_statements'
"""

#: What PostgreSQL shows in the place of a text that one may not see.
HIDDEN: Final = "<insufficient privilege>"


@place("database", "server log")
def server_log(target: Target) -> Reading:
    """The log of the database's containers, that of the server's start included."""
    marker = f"leak scan {secrets.token_hex(8)}"
    target.sql(f"DO $$ BEGIN RAISE LOG '{marker}'; END $$")
    marked = False
    for pod, status in started(target):
        if component(target, pod) != "database":
            continue
        for previous in previous_too(target, status):
            tally = Tally(marker)
            yield Sample(
                f"pod {name(pod)}: {'previous log' if previous else 'log'} of {status['name']}",
                tally.through(log(target, pod, status["name"], previous)),
            )
            marked |= tally.marked
    if not marked:
        raise Unreadable("what the server logged just before is in no log that was read")


@place("database", "activity")
def activity(target: Target) -> Reading:
    """pg_stat_activity whole, and pg_stat_statements where it is."""
    found = target.sql(ACTIVITY)
    queries = {row["query"] for row in json.loads(found)}
    if ACTIVITY not in queries or HIDDEN in queries:
        raise Unreadable("pg_stat_activity does not show every session's query")
    yield Sample("pg_stat_activity", found.encode())
    if view := target.sql(STATEMENTS):
        statements = target.sql(f"SELECT json_agg(s)::text FROM {view} s")
        yield Sample("pg_stat_statements", statements.encode())


@place("database", "verifiers")
def verifiers(target: Target) -> Reading:
    """pg_authid.rolpassword of every role, which is a SCRAM verifier or NULL."""
    roles: list[dict[str, Any]] = json.loads(target.sql(ROLES))
    if not any(role["own"] and (role["password"] or "").startswith(VERIFIER) for role in roles):
        raise Unreadable("pg_authid does not show the verifier of the role that reads it")
    for role in roles:
        yield Sample(f"role {role['role']}", json.dumps(role).encode())
        if role["password"] is not None and not role["password"].startswith(VERIFIER):
            yield Fault(f"role {role['role']}", "its password is kept otherwise than as a verifier")
