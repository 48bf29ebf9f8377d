"""The keeper fills what is empty, once, and puts right what no longer fits."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from app.secret_keys import KEYS
from keeper import access, rotation
from keeper.certificates import is_for
from keeper.database import Administration, Login, Server
from keeper.fill import login_of
from keeper.folder_secrets import FolderSecrets
from keeper.keeper import Keeper
from keeper.objects import NO_NOTES, Conflict, StoredSecret, Unavailable
from keeper.plan import PARTS, Contradiction
from secret_files import Folder, Redactor, Secret
from tests.conftest import Database
from tests.mount import SECRETS


@pytest.fixture
def fresh(database: Database, tmp_path: Path) -> Iterator[Database]:
    """Return a database of its own on the same server, for which nothing is filled yet."""
    shutil.copytree(database.root / "admin", tmp_path / "admin", symlinks=True)
    server = replace(database.server, database="sales")
    yield Database(server, database.administrator, tmp_path, replace(database.plan, server=server))
    with database.server.connect(database.administrator) as connection:
        connection.execute("DROP DATABASE IF EXISTS sales")
        connection.execute("DROP ROLE IF EXISTS sales_a, sales_b, sales_service, sales")


def run(database: Database, redactor: Redactor | None = None) -> None:
    Keeper(FolderSecrets(database.root), database.plan, redactor or Redactor()).run()


def service_login(database: Database) -> Login:
    return login_of(FolderSecrets(database.root).get("secrets"))


def test_fills_what_is_empty_and_changes_nothing_when_it_runs_again(fresh: Database) -> None:
    run(fresh)
    snapshot = Folder(fresh.root / "secrets", KEYS).read()
    assert snapshot["DATABASE_USERNAME"].reveal() == "sales_a"
    version = FolderSecrets(fresh.root).get("secrets").version
    run(fresh)
    assert FolderSecrets(fresh.root).get("secrets").version == version
    assert fresh.server.accepts(service_login(fresh))
    # two roles, of which one logs in, with a verifier
    roles = fresh.execute(
        "SELECT rolname, rolcanlogin, left(rolpassword, 14) FROM pg_authid "
        "WHERE rolname LIKE 'sales%' ORDER BY rolname"
    )
    assert roles == [
        ("sales_a", True, "SCRAM-SHA-256$"),
        ("sales_b", False, None),
        ("sales_service", False, None),
    ]


def test_finishes_what_was_interrupted_before_the_secret_was_written(fresh: Database) -> None:
    class Killed(Exception):
        pass

    class DiesOnPatch(FolderSecrets):
        def patch(
            self, secret: StoredSecret, data: Mapping[str, str], notes: Mapping[str, str] = NO_NOTES
        ) -> StoredSecret:
            raise Killed

    with pytest.raises(Killed):
        Keeper(DiesOnPatch(fresh.root), fresh.plan, Redactor()).run()
    run(fresh)
    assert fresh.server.accepts(service_login(fresh))


def test_lets_the_secret_in_again_after_the_database_lost_it(fresh: Database) -> None:
    run(fresh)
    fresh.execute("ALTER ROLE sales_a NOLOGIN PASSWORD NULL")
    assert not fresh.server.accepts(service_login(fresh))
    run(fresh)
    assert fresh.server.accepts(service_login(fresh))


def test_a_server_that_takes_nobody_is_no_refusal(fresh: Database) -> None:
    run(fresh)
    fresh.execute("ALTER ROLE sales_a CONNECTION LIMIT 0")
    before = service_login(fresh)
    with pytest.raises(psycopg.OperationalError, match="too many connections"):
        run(fresh)
    fresh.execute("ALTER ROLE sales_a CONNECTION LIMIT -1")
    assert service_login(fresh) == before


@pytest.mark.parametrize("command", [(), ("database",)], ids=["fill", "rotate"])
def test_a_server_that_nobody_reaches_any_more_is_no_refusal(
    fresh: Database, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    """One that ends still serves those who are in, when its name or the way to it is gone."""
    if command:
        run(fresh)
    left, connect, let_in = 0, Server.connect, Administration.let_in

    def set_password(self: Administration, login: Login) -> None:
        nonlocal left
        let_in(self, login)
        left = 3 if left == 0 else left

    def refuse(self: Server, login: Login, database: str = "") -> psycopg.Connection:
        nonlocal left
        if left > 0:
            left = left - 1 or -1
            raise psycopg.OperationalError("connection refused")
        return connect(self, login, database)

    monkeypatch.setattr(Administration, "let_in", set_password)
    monkeypatch.setattr(Server, "connect", refuse)
    monkeypatch.setattr(access, "PAUSE", 0)
    plan = replace(fresh.plan, wait_seconds=60)
    Keeper(FolderSecrets(fresh.root), plan, Redactor()).run(command)
    assert left == -1, "nobody was refused"
    assert fresh.server.accepts(service_login(fresh))


def test_the_second_of_two_keepers_gives_way(fresh: Database) -> None:
    class Slow(FolderSecrets):
        def patch(
            self, secret: StoredSecret, data: Mapping[str, str], notes: Mapping[str, str] = NO_NOTES
        ) -> StoredSecret:
            FolderSecrets.patch(self, secret, {"GENERATION": "1"})
            return FolderSecrets.patch(self, secret, data, notes)

    with pytest.raises(Conflict):
        Keeper(Slow(fresh.root), fresh.plan, Redactor()).run()


def test_a_foreign_role_in_the_secret_is_a_clear_problem(fresh: Database) -> None:
    run(fresh)
    objects = FolderSecrets(fresh.root)
    objects.patch(objects.get("secrets"), {"DATABASE_USERNAME": "somebody"})
    with pytest.raises(Contradiction, match="none of the two roles sales_a and sales_b"):
        run(fresh)


def test_a_missing_administrator_of_ones_own_is_a_clear_problem(fresh: Database) -> None:
    plan = replace(fresh.plan, administrator="", administrator_secret="not-there")
    with pytest.raises(Contradiction, match="the Secret not-there has no username and password"):
        Keeper(FolderSecrets(fresh.root), plan, Redactor()).run()


def test_waits_for_the_api_server(
    fresh: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failures = 3

    class Away(FolderSecrets):
        def get(self, name: str) -> StoredSecret:
            nonlocal failures
            failures -= 1
            if failures >= 0:
                raise Unavailable("it is away", transient=True)
            return FolderSecrets.get(self, name)

    monkeypatch.setattr(access, "PAUSE", 0)
    with caplog.at_level(logging.INFO):
        Keeper(Away(fresh.root), replace(fresh.plan, wait_seconds=60), Redactor()).run()
    waits = [r.getMessage() for r in caplog.records if "waiting" in r.getMessage()]
    assert waits == ["waiting for the API server: it is away"]


def test_a_database_that_stays_away_is_told(fresh: Database, tmp_path: Path) -> None:
    plan = replace(fresh.plan, server=replace(fresh.server, host=str(tmp_path)))
    with pytest.raises(psycopg.OperationalError, match="No such file"):
        Keeper(FolderSecrets(fresh.root), plan, Redactor()).run()


def test_no_password_reaches_the_server_or_the_log(
    fresh: Database, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    database.execute("ALTER SYSTEM SET log_statement = 'all'")
    database.execute("SELECT pg_reload_conf()")
    learnt: list[Secret] = []

    class Spy(Redactor):
        def learn(self, secrets: Iterable[Secret]) -> None:
            learnt.extend(secret for secret in secrets if secret.reveal())

    try:
        with caplog.at_level(logging.DEBUG):
            run(fresh, Spy())
    finally:
        database.execute("ALTER SYSTEM RESET log_statement")
        database.execute("SELECT pg_reload_conf()")
    server_log = (database.root / "postgres" / "log").read_text()
    assert 'ALTER ROLE "sales_a" LOGIN PASSWORD \'SCRAM-SHA-256$' in server_log
    names = {"password", "SECRET_KEY", "DATABASE_PASSWORD", *fresh.plan.own_keys}
    assert {secret.name for secret in learnt} == names
    for secret in learnt:
        assert secret.reveal() not in server_log
        assert secret.reveal() not in caplog.text


def test_an_administrator_without_superuser_is_enough(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the chart asks of a database of one's own: owner, and what it takes to rotate."""
    monkeypatch.setattr(rotation, "GRACE_SECONDS", 0)
    password = Secret("password", "owner-pw-8277e0910d750195b448797616e091ad")
    database.execute(f"CREATE ROLE owner LOGIN CREATEROLE PASSWORD '{password.reveal()}'")
    database.execute("GRANT pg_read_all_stats, pg_signal_backend TO owner")
    database.execute("CREATE DATABASE theirs OWNER owner")
    objects = FolderSecrets(tmp_path)
    objects.patch(objects.get("admin"), {"username": "owner", "password": password.reveal()})
    server = replace(database.server, database="theirs")
    own = Database(
        server, Login("owner", password), tmp_path, replace(database.plan, server=server)
    )
    try:
        run(own)
        run(own)
        before = service_login(own)
        with server.connect(before):
            Keeper(objects, own.plan, Redactor()).run(PARTS)
        assert server.accepts(service_login(own))
        assert not server.accepts(before)
    finally:
        database.execute("DROP DATABASE theirs")
        database.execute("DROP ROLE theirs_a, theirs_b, theirs_service, owner")


def test_what_can_not_be_read_is_not_tried_again(fresh: Database) -> None:
    class Forbidden(FolderSecrets):
        def get(self, name: str) -> StoredSecret:
            raise Unavailable(f"can't get the Secret {name}: 403 Forbidden", transient=False)

    plan = replace(fresh.plan, wait_seconds=3600)
    with pytest.raises(Unavailable, match="403"):
        Keeper(Forbidden(fresh.root), plan, Redactor()).run()


def test_makes_certificates_and_makes_them_anew_for_other_names(
    fresh: Database,
) -> None:
    plan = replace(fresh.plan, authority_secret="ca", certificates={"tls": ("localhost", "::1")})
    objects = FolderSecrets(fresh.root)

    def filled() -> dict[str, str]:
        Keeper(objects, plan, Redactor()).run()
        return {name: objects.get(name).version for name in ("ca", "tls")}

    first = filled()
    assert filled() == first
    assert is_for(objects.get("tls").text("tls.crt"), ["0:0::1", "localhost"])
    plan = replace(plan, certificates={"tls": ("localhost", "shop.example.org")})
    assert filled()["ca"] == first["ca"]
    assert is_for(objects.get("tls").text("tls.crt"), ["localhost", "shop.example.org"])
    assert objects.get("tls").text("ca.crt") == objects.get("ca").text("tls.crt")
    objects.patch(objects.get("tls"), {"tls.crt": "something else"})
    with pytest.raises(Contradiction, match="holds something else than a certificate"):
        filled()


def test_fills_only_what_is_missing(fresh: Database) -> None:
    objects = FolderSecrets(fresh.root)
    given = {"SECRET_KEY": SECRETS["SECRET_KEY"], "GENERATION": SECRETS["GENERATION"]}
    objects.patch(objects.get("secrets"), given)
    run(fresh)
    assert objects.get("secrets").text("GENERATION") > SECRETS["GENERATION"]
    assert objects.get("secrets").text("SECRET_KEY") == SECRETS["SECRET_KEY"]
    login = service_login(fresh)
    for name in ("SECRET_KEY_FALLBACKS", "GENERATION"):
        (fresh.root / "secrets" / "..data" / name).unlink()
    run(fresh)
    assert set(objects.get("secrets").data) == set(SECRETS)
    assert service_login(fresh) == login


def test_an_owner_with_the_databases_name_gives_the_service_none_of_its_rights(
    fresh: Database, database: Database
) -> None:
    database.execute("CREATE ROLE sales LOGIN")
    database.execute("CREATE DATABASE sales OWNER sales")
    run(fresh)
    assert fresh.execute("SELECT pg_has_role('sales_a', 'sales', 'MEMBER')") == [(False,)]
