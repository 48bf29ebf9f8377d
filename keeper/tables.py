"""The service's tables: SQL files of the service's own, which the keeper runs each time."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import sql

#: What the service may do with each table of these files; it can't change or drop one.
TABLE_PRIVILEGES: Final = "SELECT, INSERT, UPDATE, DELETE"
SEQUENCE_PRIVILEGES: Final = "USAGE"

_COMMENT: Final = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_TABLE: Final = re.compile(
    r'(?i)(?:^|;)\s*CREATE\s+(?:UNLOGGED\s+)?TABLE\s+IF\s+NOT\s+EXISTS\s+((?:[\w$.]|"[^"]+")+)'
)

#: The tables and sequences of a name in a CREATE TABLE, as they are written in a GRANT.
_RELATIONS: Final = """
    SELECT relkind = 'S', oid::regclass::text
    FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND (
        oid = to_regclass(%(name)s) OR relkind = 'S' AND oid IN (
            SELECT objid FROM pg_depend WHERE refobjid = to_regclass(%(name)s) AND deptype = 'a'
        )
    )
"""


class TablesUnreadable(Exception):
    """A file with tables can't be read; the message is one sentence and names it."""


def read_tables(folder: Path | None) -> dict[Path, bytes]:
    """Return the content of each `*.sql` file in `folder`, in the order of their names.

    None, or a directory that is missing, as git keeps no empty one, has no files.

    :raises TablesUnreadable: a file can't be read.
    """
    if folder is None or not folder.exists():
        return {}
    place = folder
    try:
        found = {}
        for place in sorted(path for path in folder.iterdir() if path.suffix == ".sql"):
            found[place] = place.read_bytes()
        return found
    except OSError as error:
        raise TablesUnreadable(f"can't read the tables in {place}: {error.strerror}") from None


def make_tables(
    connection: psycopg.Connection[Any], files: Mapping[Path, bytes], group: str
) -> None:
    """Run the files in a transaction that is open, and let `group` use the tables in them.

    Nothing else is granted, neither now nor later: a table that is made in another way is closed.

    :raises psycopg.OperationalError: a file may succeed in a moment; the message names it.
    :raises psycopg.Error: a file fails; the message names it.
    """
    _set_defaults(connection, "GRANT {} ON {} TO {}", group)
    for path, content in files.items():
        try:
            connection.execute(content)
            for name in _names(content):
                _grant(connection, name, group)
        except psycopg.Error as error:
            is_transient = isinstance(error, psycopg.OperationalError)
            kind = psycopg.OperationalError if is_transient else psycopg.Error
            reason = error.diag.message_primary or error
            raise kind(f"the tables in {path} can't be made: {reason}") from None
    _set_defaults(connection, "REVOKE {} ON {} FROM {}", group)


def _set_defaults(connection: psycopg.Connection[Any], statement: str, group: str) -> None:
    """Set what `group` may do with what is made from now on."""
    for privileges, kind in ((TABLE_PRIVILEGES, "TABLES"), (SEQUENCE_PRIVILEGES, "SEQUENCES")):
        connection.execute(
            sql.SQL("ALTER DEFAULT PRIVILEGES IN SCHEMA public " + statement).format(
                sql.SQL(privileges), sql.SQL(kind), sql.Identifier(group)
            )
        )


def _names(content: bytes) -> Iterator[str]:
    """Iterate over the names of the tables that a file makes, where they are missing."""
    code = _COMMENT.sub(" ", content.decode(errors="replace"))
    return (found[1] for found in _TABLE.finditer(code))


def _grant(connection: psycopg.Connection[Any], name: str, group: str) -> None:
    """Let `group` use a table that may be there for long, and its sequences."""
    for is_sequence, relation in connection.execute(_RELATIONS, {"name": name}).fetchall():
        allowed = f"{SEQUENCE_PRIVILEGES} ON SEQUENCE" if is_sequence else f"{TABLE_PRIVILEGES} ON"
        connection.execute(
            sql.SQL("GRANT {} {} TO {}").format(
                sql.SQL(allowed), sql.SQL(relation), sql.Identifier(group)
            )
        )
