"""The keeper's plan, from the environment that the chart gives to its Job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from .database import Server, check_name
from .plan import Plan, Service

#: As in app/settings.py, which the keeper does not import. With these a connection without TLS
#: fails.
TLS_MODES: Final = ("require", "verify-ca", "verify-full")
SESSION_ATTRS: Final = ("read-write", "primary", "any")
AUTH_METHODS: Final = ("scram-sha-256", "md5", "password", "gss", "sspi", "none")
CHANNEL_BINDINGS: Final = ("require", "prefer", "disable")


class SettingsError(Exception):
    """A setting is missing or malformed. The message is one line and names it."""


def plan_from(values: Mapping[str, str]) -> Plan:
    """Take the plan from environment variables.

    :raises SettingsError: one is missing or malformed.
    """
    service_secret = values.get("SERVICE_SECRET", "")
    administrator_secret = values.get("DATABASE_ADMIN_SECRET", "")
    authority = values.get("CA_SECRET", "")
    database_tls = values.get("DATABASE_TLS_SECRET", "")
    certificates = _certificates(values)
    if not (service_secret or administrator_secret or certificates):
        raise SettingsError(
            "SERVICE_SECRET is not set, nor DATABASE_ADMIN_SECRET, TLS_SECRET or "
            "DATABASE_TLS_SECRET: there is nothing to keep"
        )
    if service_secret or database_tls:
        administrator_secret = _required(values, "DATABASE_ADMIN_SECRET")
    if certificates and not authority:
        raise SettingsError("CA_SECRET is not set: it holds what signs the certificates")
    return Plan(
        service_secret=service_secret,
        administrator_secret=administrator_secret,
        administrator=values.get("DATABASE_ADMIN_USERNAME", ""),
        authority_secret=authority,
        certificates=certificates,
        database_certificate=database_tls,
        server=_server(values, is_needed=bool(administrator_secret)),
        service=_service(values),
        wait_seconds=_whole_number(values, "WAIT_SECONDS", 300),
        interval=_whole_number(values, "ROTATION_INTERVAL_SECONDS", 30 * 86400),
        own_keys=tuple(filter(None, values.get("OWN_KEYS", "").split(","))),
        tables_dir=Path(values["TABLES_DIR"]) if values.get("TABLES_DIR") else None,
        session_lifetime=_whole_number(values, "SESSION_LIFETIME_SECONDS", 86400),
    )


def _required(values: Mapping[str, str], name: str) -> str:
    if not values.get(name):
        raise SettingsError(f"{name} is not set: the chart's keeper Job sets it")
    return values[name]


def _whole_number(values: Mapping[str, str], name: str, default: int) -> int:
    text = values.get(name) or str(default)
    if not text.isascii() or not text.isdigit():
        raise SettingsError(f"{name} has to be a whole number, not {text!r}")
    return int(text)


def _certificates(values: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Return the names that each certificate is for, by its Secret."""
    return {
        secret: tuple(_required(values, names).split(","))
        for secret, names in (
            (values.get("TLS_SECRET", ""), "TLS_NAMES"),
            (values.get("DATABASE_TLS_SECRET", ""), "DATABASE_TLS_NAMES"),
        )
        if secret
    }


def _server(values: Mapping[str, str], *, is_needed: bool) -> Server:
    sslmode = values.get("DATABASE_SSLMODE") or "verify-full"
    return Server(
        host=_required(values, "DATABASE_HOST") if is_needed else "",
        port=_whole_number(values, "DATABASE_PORT", 5432),
        database=_database_name(values) if is_needed else "",
        sslmode=sslmode,
        sslrootcert=values.get("DATABASE_CA_FILE", ""),
        require_auth=_auth_methods(values),
        channel_binding=_channel_binding(values, sslmode),
        target_session_attrs=_one_of(
            values, "DATABASE_TARGET_SESSION_ATTRS", SESSION_ATTRS, SESSION_ATTRS[0]
        ),
    )


def _database_name(values: Mapping[str, str]) -> str:
    name = _required(values, "DATABASE_NAME")
    try:
        check_name(name)
    except ValueError as error:
        raise SettingsError(f"DATABASE_NAME {error}") from None
    return name


def _one_of(values: Mapping[str, str], name: str, choices: Sequence[str], default: str) -> str:
    text = values.get(name) or default
    if text not in choices:
        raise SettingsError(f"{name} must be one of {', '.join(choices)}, not {text!r}")
    return text


def _auth_methods(values: Mapping[str, str]) -> str:
    name = "DATABASE_REQUIRE_AUTH"
    methods = [method.strip() for method in (values.get(name) or AUTH_METHODS[0]).split(",")]
    for method in methods:
        if method not in AUTH_METHODS:
            raise SettingsError(
                f"{name} must list some of {', '.join(AUTH_METHODS)}, not {method!r}"
            )
    return ",".join(methods)


def _channel_binding(values: Mapping[str, str], sslmode: str) -> str:
    name, has_tls = "DATABASE_CHANNEL_BINDING", sslmode in TLS_MODES
    binding = _one_of(values, name, CHANNEL_BINDINGS, "require" if has_tls else "prefer")
    methods = _auth_methods(values)
    if binding == "require" and "scram-sha-256" not in methods.split(","):
        raise SettingsError(
            f"{name} is require, which needs scram-sha-256, and DATABASE_REQUIRE_AUTH is "
            f"{methods}: set it to prefer"
        )
    if binding == "require" and not has_tls:
        raise SettingsError(
            f"{name} is require, and DATABASE_SSLMODE {sslmode} allows a connection without TLS, "
            f"which has no channel to bind to: use one of {', '.join(TLS_MODES)}, or prefer"
        )
    return binding


def _service(values: Mapping[str, str]) -> Service:
    has_tls = bool(values.get("TLS_SECRET"))
    return Service(
        host=_required(values, "PODS_HOST"),
        metrics_port=_whole_number(values, "PODS_METRICS_PORT", 9090),
        tls_port=_whole_number(values, "PODS_TLS_PORT", 8443) if has_tls else 0,
        settle_seconds=_whole_number(values, "SETTLE_SECONDS", 35),
    )
