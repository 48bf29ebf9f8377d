"""Which host, scheme and prefix a request is for, also behind proxies that change them."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from flask import Flask
from werkzeug.exceptions import BadRequest
from werkzeug.middleware.proxy_fix import ProxyFix

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

log = logging.getLogger(__name__)

#: A path of names without characters that a link, a cookie or a browser reads in another way.
PREFIX: Final = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]+)*/?")
#: Names, addresses, and what Docker Compose calls a host; each with a port or without.
HOST: Final = re.compile(r"(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])?(?::[0-9]*)?")
#: A request target with a host: https://www.rfc-editor.org/rfc/rfc9112#section-3.2.2
ABSOLUTE_FORM: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*)")


def register(app: Flask, trusted_proxies: int) -> None:
    """Read X-Forwarded-* as the last `trusted_proxies` proxies set them, and reject malformed ones.

    Around the app, not in a hook: that costs Flask twenty microseconds for each request.
    """
    _reject_malformed(app)
    if count := trusted_proxies:
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            app.wsgi_app, x_for=count, x_proto=count, x_host=count, x_prefix=count
        )
    _normalize_host(app)


def _normalize_host(app: Flask) -> None:
    """Take the host from the request target where it has one, and in lower case, as RFC 9112 says.

    Werkzeug does neither before it compares the host with TRUSTED_HOSTS.
    """
    answer = app.wsgi_app

    def normalized(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        target = environ.get("RAW_URI", "/")  # gunicorn's
        if target[:1] != "/" and (found := ABSOLUTE_FORM.match(target)):
            environ["HTTP_HOST"] = found[1]
        for name in ("HTTP_HOST", "HTTP_X_FORWARDED_HOST"):
            if name in environ:
                environ[name] = environ[name].lower()
        return answer(environ, start_response)

    app.wsgi_app = normalized  # type: ignore[method-assign]


def _reject_malformed(app: Flask) -> None:
    answer = app.wsgi_app

    def checked(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        problem = _problem(
            environ.get("SCRIPT_NAME", ""),
            environ["wsgi.url_scheme"],
            environ.get("HTTP_HOST", ""),
        )
        if not problem:
            return answer(environ, start_response)
        environ["SCRIPT_NAME"] = ""  # the error page starts its links with the prefix
        log.warning("rejected a request: %s", problem)
        error = BadRequest(f"The request can't be answered: {problem}.")
        with app.request_context(environ):
            rejected = app.make_response(app.handle_user_exception(error))
            return rejected(environ, start_response)

    app.wsgi_app = checked  # type: ignore[method-assign]


@lru_cache
def _problem(prefix: str, scheme: str, host: str) -> str:
    """Return what is malformed, without its text; "": nothing."""
    if not PREFIX.fullmatch(prefix):
        return "X-Forwarded-Prefix must be a path such as /shop"
    if scheme not in ("http", "https"):
        return "X-Forwarded-Proto must be http or https"
    if not HOST.fullmatch(host):
        return "the host must be a name or an address, with or without a port"
    return ""
