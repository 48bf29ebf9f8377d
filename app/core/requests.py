"""What a request brings, checked: each function raises what becomes a 400, 413 or 415."""

from __future__ import annotations

import json
from typing import Any

from flask import abort, current_app, request

from .errors import InvalidField


def whole_number(name: str, default: int, most: int) -> int:
    """Return the query parameter `name`, from 1 to `most`.

    :raises InvalidField: it is something else.
    """
    given = request.args.get(name)
    if given is None:
        return default
    # 19 digits hold every id; more of them would only cost time
    if not given.isascii() or not given.isdigit() or len(given) > 19 or not 1 <= int(given) <= most:
        raise InvalidField(name, f"has to be a whole number from 1 to {most}")
    return int(given)


def json_object() -> dict[str, Any]:
    """Return the body, a JSON object.

    :raises InvalidField: it is something else.
    """
    if request.mimetype != "application/json":
        abort(415, "Send application/json.")
    content = request.get_data()
    if request.content_length is None and len(content) >= current_app.config["MAX_CONTENT_LENGTH"]:
        abort(413)  # Werkzeug cuts a chunked body there, and says nothing
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        raise InvalidField("body", "is not JSON") from None
    if not isinstance(body, dict):
        raise InvalidField("body", "has to be a JSON object")
    return body


def text(body: dict[str, Any], name: str, most: int) -> str:
    """Return the text `name` of a body: 1 to `most` characters that PostgreSQL can store.

    :raises InvalidField: it is something else.
    """
    found = body.get(name)
    if not isinstance(found, str):
        raise InvalidField(name, "has to be a string")
    if not 1 <= len(found) <= most:
        raise InvalidField(name, f"has to have 1 to {most:,} characters")
    if "\0" in found:
        raise InvalidField(name, "can't hold a NUL character")
    if any("\ud800" <= character <= "\udfff" for character in found):
        raise InvalidField(name, "holds half of a surrogate pair, which is no character")
    return found
