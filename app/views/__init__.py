"""One file per page or API, and what all of their answers have in common."""

from flask import Flask, Response

from . import errors, health, notes, page, status

#: Nothing from another host, no inline script or style, no frame around the page.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def register(app: Flask) -> None:
    """Add every view and the security headers to `app`."""
    for module in (page, notes, status, health):
        app.register_blueprint(module.blueprint)
    errors.register(app)
    app.after_request(_add_security_headers)


def _add_security_headers(response: Response) -> Response:
    headers = response.headers
    headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    headers["Cross-Origin-Opener-Policy"] = "same-origin"
    headers["Cross-Origin-Resource-Policy"] = "same-origin"
    headers["Referrer-Policy"] = "no-referrer"
    headers["X-Content-Type-Options"] = "nosniff"
    headers.setdefault("Cache-Control", "no-store")
    return response
