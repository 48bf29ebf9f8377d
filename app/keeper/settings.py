"""The keeper's plan, from the environment that the chart gives to its Job."""

from __future__ import annotations

from collections.abc import Mapping

from .database import Server
from .plan import Plan, Service


class SettingsError(Exception):
    """A setting is missing or malformed. The message is one line and names it."""


def plan_from(values: Mapping[str, str]) -> Plan:
    """Take the plan from environment variables.

    :raises SettingsError: one is missing or malformed.
    """

    def required(name: str) -> str:
        if not values.get(name):
            raise SettingsError(f"{name} is not set: the chart's keeper Job sets it")
        return values[name]

    def whole_number(name: str, default: int) -> int:
        text = values.get(name) or str(default)
        if not text.isascii() or not text.isdigit():
            raise SettingsError(f"{name} has to be a whole number, not {text!r}")
        return int(text)

    authority = values.get("CA_SECRET", "")
    service_tls = values.get("TLS_SECRET", "")
    database_tls = values.get("DATABASE_TLS_SECRET", "")
    certificates = {}
    if service_tls:
        certificates[service_tls] = tuple(required("TLS_NAMES").split(","))
    if database_tls:
        certificates[database_tls] = tuple(required("DATABASE_TLS_NAMES").split(","))
    service_secret = values.get("SERVICE_SECRET", "")
    administrator_secret = values.get("DATABASE_ADMIN_SECRET", "")
    if not (service_secret or administrator_secret or certificates):
        raise SettingsError(
            "SERVICE_SECRET is not set, nor DATABASE_ADMIN_SECRET, TLS_SECRET or "
            "DATABASE_TLS_SECRET: there is nothing to keep"
        )
    if service_secret or database_tls:
        administrator_secret = required("DATABASE_ADMIN_SECRET")
    if certificates and not authority:
        raise SettingsError("CA_SECRET is not set: it holds what signs the certificates")
    return Plan(
        service_secret=service_secret,
        administrator_secret=administrator_secret,
        administrator=values.get("DATABASE_ADMIN_USERNAME", ""),
        authority_secret=authority,
        certificates=certificates,
        database_certificate=database_tls,
        server=Server(
            host=required("DATABASE_HOST") if administrator_secret else "",
            port=whole_number("DATABASE_PORT", 5432),
            database=required("DATABASE_NAME") if administrator_secret else "",
            sslmode=values.get("DATABASE_SSLMODE") or "verify-full",
            sslrootcert=values.get("DATABASE_CA_FILE", ""),
        ),
        service=Service(
            host=required("PODS_HOST"),
            metrics_port=whole_number("PODS_METRICS_PORT", 9090),
            tls_port=whole_number("PODS_TLS_PORT", 8443) if service_tls else 0,
            settle_seconds=whole_number("SETTLE_SECONDS", 35),
        ),
        wait_seconds=whole_number("WAIT_SECONDS", 300),
        interval=whole_number("ROTATION_INTERVAL_SECONDS", 30 * 86400),
        own_keys=tuple(filter(None, values.get("OWN_KEYS", "").split(","))),
        session_lifetime=whole_number("SESSION_LIFETIME_SECONDS", 86400),
    )
