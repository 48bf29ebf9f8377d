"""One file per page or API, and what all of their answers have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from flask import Flask

from . import errors, forwarded, health, notes, page, panel, status

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

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


def register(app: Flask, trusted_proxies: int = 0) -> None:
    """Add every view and the security headers to `app`."""
    for module in (page, panel, notes, status, health):
        app.register_blueprint(module.blueprint)
    errors.register(app)
    forwarded.register(app, trusted_proxies)
    _add_headers(app)


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
