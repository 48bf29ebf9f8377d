"""The keeper's plan comes from the environment, and a wrong one is named in a sentence."""

from __future__ import annotations

import pytest

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


@pytest.mark.parametrize("name", ["SERVICE_SECRET", "DATABASE_HOST", "TLS_NAMES", "CA_SECRET"])
def test_what_is_missing_is_named(name: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name} is not set"):
        plan_from({key: value for key, value in ENVIRONMENT.items() if key != name})


@pytest.mark.parametrize("name", ["DATABASE_PORT", "WAIT_SECONDS"])
def test_what_is_malformed_is_named(name: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name} has to be a whole number, not 'x'"):
        plan_from({**ENVIRONMENT, name: "x"})
