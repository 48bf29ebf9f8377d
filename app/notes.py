"""Notes: the example of a resource in the database, to be replaced by yours."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from flask import Blueprint, Response, abort, current_app, jsonify, request, url_for
from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    MetaData,
    Row,
    Table,
    Text,
    delete,
    insert,
    select,
)

from .core.database import Database
from .core.errors import InvalidField

blueprint = Blueprint("notes", __name__)

MAX_CHARACTERS = 1_000
DEFAULT_LIMIT = 20
MAX_LIMIT = 100
MAX_ID = 2**63 - 1

#: The keeper makes it: app/tables/notes.sql.
notes = Table(
    "notes",
    MetaData(),
    Column("id", BigInteger, primary_key=True),
    Column("text", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
)


@blueprint.get("/api/notes")
def list_notes() -> Response:
    """List the newest notes: `limit` of them, older than the id `before`."""
    limit = _whole_number("limit", DEFAULT_LIMIT, MAX_LIMIT)
    page, more = newest(limit, _whole_number("before", MAX_ID, MAX_ID))
    following = url_for(".list_notes", limit=limit, before=page[-1].id) if more else None
    return jsonify(notes=[_as_json(note) for note in page], next=following)


@blueprint.post("/api/notes")
def add_note() -> tuple[Response, int]:
    """Store ``{"text": "…"}`` and answer with the whole note."""
    text = _text(_json_object())
    with _database().begin() as connection:
        note = connection.execute(insert(notes).values(text=text).returning(*notes.c)).one()
    return jsonify(_as_json(note)), 201


@blueprint.delete("/api/notes/<int:note_id>")
def delete_note(note_id: int) -> tuple[str, int]:
    """Delete the note of that id."""
    if note_id > MAX_ID:
        abort(404, "There is no such note.")
    with _database().begin() as connection:
        found = connection.execute(delete(notes).where(notes.c.id == note_id)).rowcount
    if not found:
        abort(404, "There is no such note.")
    return "", 204


@blueprint.app_template_global("newest_notes")
def newest(limit: int = DEFAULT_LIMIT, before: int = MAX_ID) -> tuple[list[Row[Any]], bool]:
    """Return up to `limit` notes older than the id `before`, and whether there are more.

    The primary key's index gives them, so that the number of notes does not matter.
    """
    query = select(notes).where(notes.c.id < before).order_by(notes.c.id.desc()).limit(limit + 1)
    with _database().begin() as connection:
        rows = list(connection.execute(query))
    return rows[:limit], len(rows) > limit


def _database() -> Database:
    database: Database = current_app.extensions["database"]
    return database


def _as_json(note: Row[Any]) -> dict[str, Any]:
    created_at: datetime = note.created_at
    return {"id": note.id, "text": note.text, "created_at": created_at.isoformat()}


def _whole_number(name: str, default: int, most: int) -> int:
    given = request.args.get(name)
    if given is None:
        return default
    # 19 digits hold every id; more of them would only cost time
    if not given.isascii() or not given.isdigit() or len(given) > 19 or not 1 <= int(given) <= most:
        raise InvalidField(name, f"has to be a whole number from 1 to {most}")
    return int(given)


def _json_object() -> dict[str, Any]:
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


def _text(body: dict[str, Any]) -> str:
    text = body.get("text")
    if not isinstance(text, str):
        raise InvalidField("text", "has to be a string")
    if not 1 <= len(text) <= MAX_CHARACTERS:
        raise InvalidField("text", f"has to have 1 to {MAX_CHARACTERS:,} characters")
    if "\0" in text:
        raise InvalidField("text", "can't hold a NUL character")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise InvalidField("text", "holds half of a surrogate pair, which is no character")
    return text
