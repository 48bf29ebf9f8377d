"""Sessions survive a rotation in steps, and end when their key is retired."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from flask import Flask
from flask.testing import FlaskClient
from itsdangerous import URLSafeTimedSerializer

from app.settings import Settings
from tests.integration.conftest import Database
from tests.mount import SECRETS, Mount

FIRST = SECRETS["SECRET_KEY"]
SECOND = "the-second-key-9a0364b9e99bb480dd25e1f0284c8555"


@pytest.fixture
def app(
    settings: Settings, database: Database, start: Callable[[Settings], Flask], mount: Mount
) -> Flask:
    """Return a service whose session keys a test can change."""
    folder = database.root / "secrets" / "..data"
    pair = {name: (folder / name).read_text() for name in SECRETS if name.startswith("DATABASE")}
    mount.write(pair)
    return start(replace(settings, secrets_dir=mount.folder))


def visits(client: FlaskClient) -> int:
    found = re.search(r'id="visits">(\d+)<', client.get("/").text)
    assert found
    return int(found[1])


def signed_with(app: Flask, client: FlaskClient, key: str) -> bool:
    """Tell whether the browser's cookie is signed with that key alone."""
    interface = app.session_interface
    serializer = interface.get_signing_serializer(app)  # type: ignore[attr-defined]
    assert isinstance(serializer, URLSafeTimedSerializer)
    cookie = client.get_cookie("session")
    assert cookie
    alone = URLSafeTimedSerializer(
        key,
        salt=serializer.salt,
        serializer=serializer.serializer,
        signer_kwargs=serializer.signer_kwargs,
    )
    valid, _ = alone.loads_unsafe(cookie.value)
    return valid


def test_a_session_survives_each_step_of_a_rotation_and_ends_with_its_key(
    app: Flask, client: FlaskClient, mount: Mount
) -> None:
    assert visits(client) == 1
    assert signed_with(app, client, FIRST)
    mount.write({"SECRET_KEY_FALLBACKS": SECOND})  # announced: it verifies, and does not sign
    assert visits(client) == 2
    assert signed_with(app, client, FIRST)
    mount.write({"SECRET_KEY": SECOND, "SECRET_KEY_FALLBACKS": FIRST})  # promoted
    late = app.test_client()
    cookie = client.get_cookie("session")
    assert cookie
    late.set_cookie("session", cookie.value)
    assert visits(client) == 3
    assert signed_with(app, client, SECOND)
    assert not signed_with(app, client, FIRST)
    mount.write({"SECRET_KEY_FALLBACKS": ""})  # retired
    assert visits(client) == 4
    assert visits(late) == 1  # it did not come by in time


def test_the_configuration_never_holds_a_key(app: Flask, client: FlaskClient) -> None:
    assert visits(client) == 1
    assert app.secret_key is None
    assert not app.config["SECRET_KEY_FALLBACKS"]
    assert FIRST not in repr(app.config)


def test_an_answer_that_used_no_session_sets_no_cookie(client: FlaskClient) -> None:
    assert "Set-Cookie" not in client.get("/livez").headers
    assert "Vary" not in client.get("/livez").headers
    assert client.get("/").headers["Vary"] == "Cookie"
