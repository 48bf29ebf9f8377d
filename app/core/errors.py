"""Every error: JSON for the API, a plain page for browsers, never a traceback."""

from __future__ import annotations

import logging

import sqlalchemy.exc
from flask import Flask, Response, jsonify, render_template, request
from flask.typing import ResponseReturnValue
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import (
    BadRequest,
    ClientDisconnected,
    HTTPException,
    InternalServerError,
    RequestTimeout,
    SecurityError,
    ServiceUnavailable,
)

from .database import Away

log = logging.getLogger(__name__)


class InvalidField(Exception):
    """A request names a value that it can't have.

    :param field: the JSON member or the query parameter that is wrong.
    :param problem: what is wrong with it, for people.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field} {problem}")
        self.field = field


def register(app: Flask) -> None:
    """Handle every exception that a view can raise."""
    app.register_error_handler(InvalidField, _invalid_field)
    app.register_error_handler(sqlalchemy.exc.DBAPIError, _database_error)
    app.register_error_handler(sqlalchemy.exc.TimeoutError, _database_away)
    app.register_error_handler(ParseException, _unreadable)
    app.register_error_handler(SecurityError, _untrusted_host)
    app.register_error_handler(ClientDisconnected, _incomplete)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unexpected)


def _invalid_field(error: InvalidField) -> Response:
    response = jsonify(error=str(error), field=error.field)
    response.status_code = 400
    return response


def _unreadable(error: ParseException) -> Response:
    """Answer to a malformed chunk, which gunicorn finds as the body is read."""
    return _answer(BadRequest("The body can't be read."))


def _database_error(error: sqlalchemy.exc.DBAPIError) -> Response:
    """Answer 503 where the database is at fault, and not the statement."""
    if error.connection_invalidated or isinstance(error, sqlalchemy.exc.OperationalError):
        return _database_away(error)
    return _unexpected(error)


def _untrusted_host(error: SecurityError) -> Response:
    # anybody's text: as a literal, and no more of it than a line holds
    log.warning(
        "rejected a request for the host %.100r, see TRUSTED_HOSTS", request.headers.get("Host")
    )
    return _answer(BadRequest("The service does not answer requests for this host."))


def _incomplete(error: ClientDisconnected) -> Response:
    """Answer to a body whose rest did not arrive within the limits, or at all."""
    return _answer(RequestTimeout("The rest of the body did not arrive."))


def _database_away(error: sqlalchemy.exc.SQLAlchemyError) -> Response:
    cause = getattr(error, "orig", error)
    if not isinstance(cause, Away):  # the first request of an outage logs it
        log.error("the database did not answer: %s", cause)
    return _answer(ServiceUnavailable("The database does not answer.", retry_after=5))


def _http_error(error: HTTPException) -> ResponseReturnValue:
    if error.code is None or error.code < 400:  # a redirect
        return error.get_response()
    return _answer(error)


def _unexpected(error: Exception) -> Response:
    log.exception("unexpected error")
    return _answer(InternalServerError("Something went wrong on our side."))


def _answer(error: HTTPException) -> Response:
    if _wants_json():
        response = jsonify(error=error.description)
    else:
        response = Response(render_template("error.html", error=error))
    response.status_code = error.code or 500
    for name, value in error.get_headers():
        if name != "Content-Type":  # Allow and Retry-After, for instance
            response.headers[name] = value
    return response


def _wants_json() -> bool:
    accept = request.accept_mimetypes
    return request.path.startswith("/api/") or accept["application/json"] > accept["text/html"]
