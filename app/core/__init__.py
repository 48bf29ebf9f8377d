"""The template's part of the service: secrets, sessions, database, metrics, probes, the panel.

`init_app` adds all of it to a Flask app; a clone changes nothing here, and takes later versions.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Flask

from secret_files import Environment, Folder, Key, SecretStore

from . import errors, forwarded, health, logs, panel, session, status
from .database import Database
from .events import Journal
from .metrics import Metrics
from .settings import CoreSettings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

#: The longest body that a request may have, in bytes.
MAX_BODY_BYTES = 16 * 1024

#: Nothing from another host, no inline script or style, no frame around the page.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

HEADERS = [
    ("Content-Security-Policy", CONTENT_SECURITY_POLICY),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
]
UNCACHED = [*HEADERS, ("Cache-Control", "no-store")]


def init_app(app: Flask, settings: CoreSettings, keys: Sequence[Key]) -> None:
    """Add the template's part to `app`: its extensions, its views, its error pages, its headers.

    :param keys: the secrets that the service needs.
    :raises SecretError: one of them is missing or unfit.
    """
    app.config.update(
        MAX_CONTENT_LENGTH=MAX_BODY_BYTES,
        PERMANENT_SESSION_LIFETIME=timedelta(seconds=settings.session_lifetime_seconds),
        PROPAGATE_EXCEPTIONS=False,
        SECRET_NAMES=settings.secret_names,
        SESSION_COOKIE_SECURE=settings.tls_dir is not None,
        TRUSTED_HOSTS=list(settings.trusted_hosts) or None,
    )
    logs.configure(settings.log_level)
    from_files = settings.secrets_from == "files"
    source = Folder(settings.secrets_dir, keys) if from_files else Environment(keys)
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
    for module in (panel, status, health):
        app.register_blueprint(module.blueprint)
    errors.register(app)
    forwarded.register(app, settings.trusted_proxies)
    _add_headers(app)
    metrics.measure(app)


def blueprints(package: str, without: str) -> Iterator[Blueprint]:
    """Yield the `blueprint` of each module of a package that has one, in the order of their names.

    :param without: the module that is not to be loaded, since it builds the app itself.
    """
    path = importlib.import_module(package).__path__
    for module in sorted(found.name for found in pkgutil.iter_modules(path) if not found.ispkg):
        if module != without:
            blueprint = getattr(importlib.import_module(f"{package}.{module}"), "blueprint", None)
            if isinstance(blueprint, Blueprint):
                yield blueprint


def _add_headers(app: Flask) -> None:
    """Add `HEADERS` to every answer; around the app, where it costs a tenth."""
    answer = app.wsgi_app

    def with_headers(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        def start(
            status: str, headers: list[tuple[str, str]], *error: Any
        ) -> Callable[[bytes], object]:
            cached = any(name == "Cache-Control" for name, _ in headers)
            return start_response(status, headers + (HEADERS if cached else UNCACHED), *error)

        return answer(environ, start)

    app.wsgi_app = with_headers  # type: ignore[method-assign]
