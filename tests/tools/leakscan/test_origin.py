"""What the service reads is looked for, whoever brings it."""

from __future__ import annotations

from typing import Any

from tools.leakscan.origin import Origin, origin_of


def deployment(volumes: list[dict[str, Any]], env: list[dict[str, Any]]) -> dict[str, Any]:
    spec = {"volumes": volumes, "containers": [{"name": "service", "env": env}]}
    return {"spec": {"template": {"spec": spec}}}


def test_a_mounted_secret_may_call_its_keys_otherwise() -> None:
    items = [
        {"key": "session-key", "path": "SECRET_KEY"},
        {"key": "user", "path": "DATABASE_USERNAME"},
    ]
    volume = {"name": "secrets", "secret": {"secretName": "shop", "items": items}}
    tls = {"name": "tls", "secret": {"secretName": "tls", "items": []}}
    assert origin_of(deployment([tls, volume], [])) == Origin(
        "shop", {"SECRET_KEY": "session-key", "DATABASE_USERNAME": "user"}
    )


def test_variables_come_from_one_secret() -> None:
    reference = {"name": "shop", "key": "session-key"}
    env: list[dict[str, Any]] = [
        {"name": "SECRET_KEY", "valueFrom": {"secretKeyRef": reference}},
        {"name": "LOG_LEVEL", "value": "INFO"},
        {"name": "BANNER", "valueFrom": {"configMapKeyRef": {"name": "banner", "key": "a"}}},
    ]
    assert origin_of(deployment([], env)) == Origin("shop", {"SECRET_KEY": "session-key"})


def test_files_that_others_write_come_from_no_secret() -> None:
    volume = {"name": "secrets", "csi": {"driver": "secrets-store.csi.k8s.io"}}
    assert origin_of(deployment([volume], [])).name == ""


def test_user_names_and_what_is_empty_are_not_looked_for() -> None:
    keys = {
        "SECRET_KEY": "session-key",
        "SECRET_KEY_FALLBACKS": "older",
        "DATABASE_USERNAME": "user",
        "DATABASE_PASSWORD": "password",
    }
    data = {"session-key": b"Zk3-signing", "older": b"", "user": b"shop", "password": b"pW-9f81"}
    found = Origin("shop", keys).confidential(data)
    assert {one.name: one.reveal() for one in found} == {
        "shop/session-key": "Zk3-signing",
        "shop/password": "pW-9f81",  # pragma: allowlist secret
    }


def test_a_key_that_is_not_brought_is_not_looked_for() -> None:
    (found,) = Origin("shop", {"SECRET_KEY": "session-key"}).confidential(
        {"session-key": b"Zk3-signing", "other": b"pW-9f81"}
    )
    assert found.name == "shop/session-key"
