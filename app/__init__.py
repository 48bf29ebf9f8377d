"""A Flask microservice whose secrets come from mounted files, one generation at a time."""

from __future__ import annotations

from datetime import timedelta

from flask import Flask

from secret_files import Environment, Folder, SecretStore

from . import logs, session, views
from .database import Database
from .journal import Journal
from .keys import KEYS, SECRET_NAMES
from .metrics import Metrics
from .settings import Settings

#: A note of 1,000 characters, each escaped in JSON as a surrogate pair, and some room.
MAX_BODY_BYTES = 16 * 1024


def create_app(settings: Settings | None = None) -> Flask:
    """Build the whole service.

    :raises SettingsError: a setting is malformed.
    :raises SecretError: a secret is missing or unfit.
    """
    settings = settings or Settings.load()
    app = Flask(__name__)
    app.config.update(
        MAX_CONTENT_LENGTH=MAX_BODY_BYTES,
        PERMANENT_SESSION_LIFETIME=timedelta(seconds=settings.session_lifetime_seconds),
        PROPAGATE_EXCEPTIONS=False,
        SECRET_NAMES=SECRET_NAMES,
        SESSION_COOKIE_SECURE=settings.tls_dir is not None,
        TRUSTED_HOSTS=list(settings.trusted_hosts) or None,
    )
    logs.configure(settings.log_level)
    from_files = settings.secrets_from == "files"
    source = Folder(settings.secrets_dir, KEYS) if from_files else Environment(KEYS)
    store = SecretStore(source, settings.secrets_check_seconds)
    logs.redact(store)
    metrics = Metrics()
    metrics.watch(store, logs.redactor)
    if settings.database_ca_file:
        metrics.watch_authorities(settings.database_ca_file)
    if settings.tls_dir:
        metrics.watch_certificate(settings.tls_dir / "tls.crt")
    session.register(app, store, on_future=metrics.signatures_from_future.inc)
    database = Database(
        settings,
        store,
        on_login_failure=metrics.database_login_failures.inc,
        on_lost=lambda reason: metrics.database_connections_lost.labels(reason).inc(),
    )
    journal = Journal(store, database)
    app.extensions.update(secrets=store, database=database, metrics=metrics, journal=journal)
    views.register(app, settings.trusted_proxies)
    metrics.measure(app)
    return app
