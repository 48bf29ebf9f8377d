"""A service in which everything is turned on that has a metric."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask import Flask

import app.core.logs
from app import create_app
from app.settings import Settings
from keeper.certificates import new_authority, new_certificate
from secret_files import Redactor
from tests.mount import Mount


def whole_service(
    folder: Path, mount: Mount, monkeypatch: pytest.MonkeyPatch, **turned: str
) -> Flask:
    """Return it after one request; its database is away, and the logs stay as they are.

    :param turned: settings that are others.
    """
    monkeypatch.setattr(app.core.logs, "configure", lambda level: None)
    monkeypatch.setattr(app.core.logs, "redactor", Redactor())
    authority = new_authority("test CA")
    pair = new_certificate(authority, ["localhost"])
    for name, text in (("ca.crt", authority.certificate), ("tls.crt", pair.certificate)):
        (folder / name).write_text(text)
    settings = {
        "SECRETS_DIR": str(mount.folder),
        "DATABASE_HOST": str(folder),
        "DATABASE_CA_FILE": str(folder / "ca.crt"),
        "TLS_DIR": str(folder),
    }
    service = create_app(Settings.from_mapping(settings | turned))
    service.test_client().get("/livez")
    return service
