"""The keeper's plan comes from the environment, and a wrong one is named in a sentence."""

from __future__ import annotations

import pytest

from app.keeper.plan import Service
from app.keeper.settings import SettingsError, plan_from

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
    "name", ["SERVICE_SECRET", "DATABASE_HOST", "TLS_NAMES", "CA_SECRET", "PODS_HOST"]
)
def test_what_is_missing_is_named(name: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name} is not set"):
        plan_from({key: value for key, value in ENVIRONMENT.items() if key != name})


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
