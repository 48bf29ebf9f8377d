"""The service's tables: who may use them, and what becomes of a file that fails."""

from __future__ import annotations

import shutil
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from keeper.__main__ import do
from keeper.database import Administration, administer
from keeper.folder_secrets import FolderSecrets
from secret_files import Redactor
from tests.conftest import Database

PRIVILEGES = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")
USE = PRIVILEGES[:4]


@pytest.fixture
def own(database: Database, tmp_path: Path) -> Iterator[Database]:
    """Return a database with nothing in it, and a plan with a directory for files."""
    shutil.copytree(database.root / "admin", tmp_path / "admin", symlinks=True)
    (tmp_path / "tables").mkdir()
    server = replace(database.server, database="sales")
    plan = replace(database.plan, server=server, tables_dir=tmp_path / "tables")
    database.execute("CREATE DATABASE sales")
    yield Database(server, database.administrator, tmp_path, plan)
    database.execute("DROP DATABASE sales")
    database.execute("DROP ROLE IF EXISTS sales_a, sales_b, sales_service")


def write(own: Database, **files: str) -> None:
    for name, text in files.items():
        (own.root / "tables" / f"{name}.sql").write_text(text)


def run(own: Database) -> int:
    return do(Namespace(command="run"), lambda: FolderSecrets(own.root), own.plan, Redactor())


def allowed(own: Database, table: str) -> tuple[str, ...]:
    """Return what the service may do with a table."""
    columns = ", ".join(f"has_table_privilege('sales_a', '{table}', '{one}')" for one in PRIVILEGES)
    (row,) = own.execute(f"SELECT {columns}")
    return tuple(name for name, is_allowed in zip(PRIVILEGES, row, strict=True) if is_allowed)


def relations(own: Database) -> set[object]:
    found = own.execute("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace")
    return {name for (name,) in found}


NEW = {
    "a table": "CREATE TABLE IF NOT EXISTS items (id serial PRIMARY KEY)",
    "a view": "CREATE OR REPLACE VIEW items AS SELECT 1 AS id",
}


@pytest.mark.parametrize("statement", NEW.values(), ids=NEW)
def test_the_service_may_use_a_table_of_a_new_file(own: Database, statement: str) -> None:
    assert run(own) == 0
    write(own, items=statement)
    assert run(own) == 0
    assert allowed(own, "items") == USE
    assert run(own) == 0


@pytest.mark.parametrize(
    ("name", "statement"),
    [
        ("items", "CREATE TABLE IF NOT EXISTS items (id serial PRIMARY KEY)"),
        ("items", "create unlogged table\n  if not exists Public.Items (id serial)"),
        ("items", "SELECT 1; CREATE TABLE IF NOT EXISTS/* all */ items (id serial) -- of them"),
        ('"My-items"', 'CREATE TABLE IF NOT EXISTS public."My-items" (id serial)'),
    ],
)
def test_the_service_may_use_a_table_that_was_there_before(
    own: Database, name: str, statement: str
) -> None:
    own.execute(statement)
    write(own, items=statement)
    assert run(own) == 0
    assert allowed(own, f"public.{name}") == USE
    with own.server.connect(own.administrator) as connection:
        connection.execute("SET ROLE sales_a")
        connection.execute(f"INSERT INTO {name} DEFAULT VALUES".encode())


def test_the_service_may_not_use_any_other_table(own: Database) -> None:
    own.execute("CREATE TABLE salaries (id int)")
    write(
        own,
        items="CREATE TABLE IF NOT EXISTS items (id int);\n"
        "-- no more; CREATE TABLE IF NOT EXISTS salaries (id int);\n"
        "/* ;\nCREATE TABLE IF NOT EXISTS salaries (id int);\n*/",
    )
    assert run(own) == 0
    own.execute("CREATE TABLE made_later (id int)")
    assert run(own) == 0
    assert allowed(own, "items") == USE
    assert allowed(own, "salaries") == allowed(own, "made_later") == ()


@pytest.mark.parametrize("is_default", [False, True], ids=["usual", "with open defaults"])
def test_the_service_may_do_with_the_keepers_tables_what_it_does(
    own: Database, is_default: bool
) -> None:
    if is_default:
        with administer(own.server, own.administrator, 1) as administration:
            administration.prepare_group({})
        own.execute(
            "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON TABLES TO sales_service"
        )
        own.execute("DROP TABLE secret_events, secret_pods")
    assert run(own) == 0
    assert allowed(own, "secret_events") == ("SELECT", "INSERT")
    assert allowed(own, "secret_pods") == ("SELECT", "INSERT", "UPDATE")


def test_files_run_in_the_order_of_their_names(own: Database) -> None:
    write(
        own,
        b="CREATE TABLE IF NOT EXISTS b (id int REFERENCES a)",
        a="CREATE TABLE IF NOT EXISTS a (id int PRIMARY KEY)",
        c="",
    )
    (own.root / "tables" / "notes.txt").write_text("no SQL")
    assert run(own) == 0
    assert {"a", "b"} <= relations(own)


FAILING = {
    "an error": (b"CREATE TABLE b (id it);", 'type "it" does not exist'),
    "no UTF-8": (b"SELECT '\xff'", 'invalid byte sequence for encoding "UTF8": 0xff'),
}


@pytest.mark.parametrize(("content", "reason"), FAILING.values(), ids=FAILING)
def test_a_file_that_fails_is_named_and_leaves_nothing(
    own: Database, content: bytes, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    write(own, a="CREATE TABLE IF NOT EXISTS a (id int)")
    (own.root / "tables" / "b.sql").write_bytes(content)
    assert run(own) == 1
    path = own.root / "tables" / "b.sql"
    assert caplog.messages == [f"the tables in {path} can't be made: {reason}"]
    assert relations(own) == set()
    assert own.execute("SELECT 1 FROM pg_roles WHERE rolname LIKE 'sales%'") == []
    assert own.execute("SELECT 1 FROM pg_default_acl") == []
    assert not FolderSecrets(own.root).get("secrets").data


def test_a_file_that_waits_for_a_lock_is_tried_again(
    own: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write(own, a="CREATE TABLE IF NOT EXISTS a (id int); ALTER TABLE a ADD IF NOT EXISTS b int")
    assert run(own) == 0
    monkeypatch.setattr("keeper.access.PAUSE", 0)
    monkeypatch.setattr("keeper.database.LOCK_SECONDS", 0.1)
    prepare, fails = Administration.prepare, []
    with own.server.connect(own.administrator) as other, other.transaction():
        other.execute("LOCK TABLE a")

        def once_locked(self: Administration, tables: dict[Path, bytes]) -> None:
            try:
                prepare(self, tables)
            except Exception as error:
                fails.append(str(error))
                other.execute("ROLLBACK")
                raise

        monkeypatch.setattr(Administration, "prepare", once_locked)
        own = replace(own, plan=replace(own.plan, wait_seconds=60))
        assert run(own) == 0
    path = own.root / "tables" / "a.sql"
    assert fails == [f"the tables in {path} can't be made: canceling statement due to lock timeout"]


def test_a_file_that_can_not_be_read_is_named(
    own: Database, caplog: pytest.LogCaptureFixture
) -> None:
    path = own.root / "tables" / "a.sql"
    path.mkdir()
    assert run(own) == 1
    assert caplog.messages == [f"can't read the tables in {path}: Is a directory"]
    assert relations(own) == set()


def test_a_directory_that_can_not_be_read_is_named(
    own: Database, caplog: pytest.LogCaptureFixture
) -> None:
    folder = own.root / "tables" / "file"
    folder.write_text("")
    assert run(replace(own, plan=replace(own.plan, tables_dir=folder))) == 1
    assert caplog.messages == [f"can't read the tables in {folder}: Not a directory"]


@pytest.mark.parametrize("folder", [None, Path("/not/there")], ids=str)
def test_a_service_may_have_no_table(own: Database, folder: Path | None) -> None:
    assert run(replace(own, plan=replace(own.plan, tables_dir=folder))) == 0
    assert relations(own) & {"notes"} == set()
