"""The keeper's plan comes from the environment, and a wrong one is named in a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.core import convert, settings
from app.settings import Settings
from keeper.plan import CERTIFICATES, PARTS, Plan, Service
from keeper.settings import SettingsError, plan_from
from tools.local import place
from tools.problem import Problem

ENVIRONMENT = {
    "SERVICE_SECRET": "flask-app-secrets",
    "DATABASE_ADMIN_SECRET": "flask-app-database-admin",
    "DATABASE_HOST": "database",
    "DATABASE_NAME": "flask_app",
    "PODS_HOST": "flask-app-metrics",
    "CA_SECRET": "flask-app-ca",
    "TLS_SECRET": "flask-app-tls",
    "TLS_NAMES": "flask-app,localhost",
}


def test_the_whole_plan() -> None:
    plan = plan_from(ENVIRONMENT)
    assert plan.service_secret == "flask-app-secrets"
    assert plan.certificates == {"flask-app-tls": ("flask-app", "localhost")}
    assert plan.administrator == ""
    assert (plan.server.port, plan.server.sslmode) == (5432, "verify-full")
    assert plan.service == Service("flask-app-metrics", 9090, 8443, 35)
    assert (plan.wait_seconds, plan.interval, plan.session_lifetime) == (300, 2_592_000, 86_400)


def test_every_number_has_its_place() -> None:
    numbers = ("PODS_METRICS_PORT", "PODS_TLS_PORT", "SETTLE_SECONDS", "WAIT_SECONDS")
    more = ("ROTATION_INTERVAL_SECONDS", "SESSION_LIFETIME_SECONDS", "DATABASE_PORT")
    values = {name: str(number) for number, name in enumerate((*numbers, *more), 1)}
    plan = plan_from({**ENVIRONMENT, **values})
    assert plan.service == Service("flask-app-metrics", 1, 2, 3)
    assert (plan.wait_seconds, plan.interval, plan.session_lifetime) == (4, 5, 6)
    assert plan.server.port == 7


def test_without_a_certificate_the_pods_are_asked_for_none() -> None:
    plain = {key: value for key, value in ENVIRONMENT.items() if not key.startswith("TLS_")}
    service = plan_from(plain).service
    assert service
    assert service.tls_port == 0


@pytest.mark.parametrize(
    "name", ["DATABASE_ADMIN_SECRET", "DATABASE_HOST", "TLS_NAMES", "CA_SECRET", "PODS_HOST"]
)
def test_what_is_missing_is_named(name: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name} is not set"):
        plan_from({key: value for key, value in ENVIRONMENT.items() if key != name})


def plan_without(*names: str, **more: str) -> Plan:
    kept = {name: value for name, value in ENVIRONMENT.items() if name not in names}
    return plan_from({**kept, **more})


def test_without_a_secret_of_the_service_its_content_is_somebody_elses() -> None:
    for plan in (plan_without("SERVICE_SECRET"), plan_without(SERVICE_SECRET="")):
        assert plan.service_secret == ""
        assert plan.administrator_secret == "flask-app-database-admin"
        assert plan.server.host == "database"
        assert plan.parts == (CERTIFICATES,)
    assert plan_from(ENVIRONMENT).parts == PARTS
    assert plan_without("SERVICE_SECRET", "TLS_SECRET").parts == ()


def test_without_an_administrator_the_database_needs_no_name() -> None:
    theirs = [name for name in ENVIRONMENT if name.startswith("DATABASE_")]
    plan = plan_without("SERVICE_SECRET", *theirs)
    assert (plan.service_secret, plan.administrator_secret) == ("", "")
    assert plan.certificates == {"flask-app-tls": ("flask-app", "localhost")}


def test_a_certificate_of_the_database_needs_its_administrator_who_lets_it_be_read() -> None:
    own = {"DATABASE_TLS_SECRET": "flask-app-database-tls", "DATABASE_TLS_NAMES": "database"}
    with pytest.raises(SettingsError, match=r"^DATABASE_ADMIN_SECRET is not set"):
        plan_without("SERVICE_SECRET", "DATABASE_ADMIN_SECRET", **own)


def test_an_administrator_needs_a_database() -> None:
    for name in ("DATABASE_HOST", "DATABASE_NAME"):
        with pytest.raises(SettingsError, match=f"^{name} is not set"):
            plan_without("SERVICE_SECRET", name)


def test_where_nothing_is_the_keepers_it_says_so() -> None:
    with pytest.raises(SettingsError, match=r"there is nothing to keep$"):
        plan_without("SERVICE_SECRET", "DATABASE_ADMIN_SECRET", "TLS_SECRET")


@pytest.mark.parametrize(
    "name",
    [
        "DATABASE_PORT",
        "PODS_METRICS_PORT",
        "PODS_TLS_PORT",
        "ROTATION_INTERVAL_SECONDS",
        "SESSION_LIFETIME_SECONDS",
        "SETTLE_SECONDS",
        "WAIT_SECONDS",
    ],
)
def test_what_is_malformed_is_named(name: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name} has to be a whole number, not 'x'"):
        plan_from({**ENVIRONMENT, name: "x"})


@pytest.mark.parametrize(
    ("text", "keys"),
    [("", ()), ("INVITE_KEY", ("INVITE_KEY",)), ("A_KEY,B_KEY", ("A_KEY", "B_KEY"))],
)
def test_the_services_own_keys_are_named(text: str, keys: tuple[str, ...]) -> None:
    assert plan_from({**ENVIRONMENT, "OWN_KEYS": text}).own_keys == keys


@pytest.mark.parametrize(("text", "folder"), [("", None), ("/srv/tables", Path("/srv/tables"))])
def test_the_services_tables_have_a_directory_or_are_none(text: str, folder: Path | None) -> None:
    assert plan_from({**ENVIRONMENT, "TABLES_DIR": text}).tables_dir == folder


def test_the_servers_login_is_strict_by_default() -> None:
    server = plan_from(ENVIRONMENT).server
    assert server.require_auth == "scram-sha-256"
    assert server.channel_binding == "require"
    assert server.target_session_attrs == "read-write"


@pytest.mark.parametrize(
    "values",
    [
        {"DATABASE_SSLMODE": sslmode, "DATABASE_CHANNEL_BINDING": binding}
        for sslmode in settings.SSL_MODES
        for binding in ("", *settings.CHANNEL_BINDINGS, "always")
    ]
    + [{"DATABASE_TARGET_SESSION_ATTRS": one} for one in (*settings.SESSION_ATTRS, "standby")]
    + [
        {"DATABASE_REQUIRE_AUTH": one} for one in (*convert.AUTH_METHODS, "md5 , gss", "!md5", "x,")
    ],
)
def test_the_keeper_takes_what_the_service_takes(values: dict[str, str]) -> None:
    try:
        theirs = Settings.from_mapping(values)
    except settings.SettingsError as error:
        name = str(error).split()[0]
        with pytest.raises(SettingsError, match=f"^{name} "):
            plan_from({**ENVIRONMENT, **values})
    else:
        server = plan_from({**ENVIRONMENT, **values}).server
        assert server.sslmode == theirs.database_sslmode
        assert server.require_auth == theirs.database_require_auth
        assert server.channel_binding == theirs.database_channel_binding
        assert server.target_session_attrs == theirs.database_target_session_attrs


def test_several_hosts_are_taken() -> None:
    hosts = "db-1.example,db-2.example"
    assert plan_from({**ENVIRONMENT, "DATABASE_HOST": hosts}).server.host == hosts


def test_a_name_that_makes_roles_too_long_is_refused() -> None:
    sentence = "^DATABASE_NAME must have at most 55 bytes, not 62: .*use a shorter name$"
    with pytest.raises(SettingsError, match=sentence):
        plan_from({**ENVIRONMENT, "DATABASE_NAME": "x" * 62})
    with pytest.raises(Problem, match=sentence):
        place.plan(Settings.from_mapping({"DATABASE_NAME": "x" * 62}), "")
    assert plan_without("SERVICE_SECRET", "DATABASE_ADMIN_SECRET", DATABASE_NAME="x" * 62)
