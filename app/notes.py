"""Notes: the example of a resource in the database, to be replaced by yours."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flask import Blueprint, Response, abort, current_app, jsonify, url_for
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
from .core.requests import json_object, text, whole_number

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
    limit = whole_number("limit", DEFAULT_LIMIT, MAX_LIMIT)
    page, more = newest(limit, whole_number("before", MAX_ID, MAX_ID))
    following = url_for(".list_notes", limit=limit, before=page[-1].id) if more else None
    return jsonify(notes=[_as_json(note) for note in page], next=following)


@blueprint.post("/api/notes")
def add_note() -> tuple[Response, int]:
    """Store ``{"text": "…"}`` and answer with the whole note."""
    content = text(json_object(), "text", MAX_CHARACTERS)
    with _database().begin() as connection:
        note = connection.execute(insert(notes).values(text=content).returning(*notes.c)).one()
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
