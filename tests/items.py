"""A resource of the tests' own: what the template promises holds without the example."""

from __future__ import annotations

from flask import Blueprint, Flask, Response, abort, current_app, jsonify, session, url_for
from flask.testing import FlaskClient
from sqlalchemy import BigInteger, Column, MetaData, Table, Text, delete, insert, select

import app
from app.core.requests import json_object, text, whole_number
from app.settings import Settings
from tools.local.server import Database

PATH = "/api/test-items"
#: gunicorn's configuration for a service that has it, relative to the project.
CONFIG = "tests/items.conf.py"

#: Its table, and what the keeper grants on a service's own.
SQL = """
CREATE TABLE IF NOT EXISTS public.test_items (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    text text NOT NULL
);
GRANT SELECT, INSERT, UPDATE, DELETE ON public.test_items TO {group};
"""

blueprint = Blueprint("test_items", __name__)

items = Table(
    "test_items",
    MetaData(),
    Column("id", BigInteger, primary_key=True),
    Column("text", Text, nullable=False),
)


def create_table(database: Database) -> None:
    """Create its table in a database that the keeper has prepared."""
    database.execute(SQL.format(group=f"{database.server.database}_service"))


def create_app(settings: Settings | None = None) -> Flask:
    """Build the service, with this resource beside its own."""
    service = app.create_app(settings)
    service.register_blueprint(blueprint)
    return service


@blueprint.get(PATH)
def list_items() -> Response:
    """List the oldest items, and where more of them are."""
    limit = whole_number("limit", 20, 100)
    with current_app.extensions["database"].begin() as connection:
        found = list(connection.execute(select(items).order_by(items.c.id).limit(limit + 1)))
    following = url_for(".list_items", limit=100) if len(found) > limit else None
    return jsonify(items=[row.text for row in found[:limit]], next=following)


@blueprint.post(PATH)
def add_item() -> tuple[Response, int]:
    """Store ``{"text": "…"}``."""
    content = text(json_object(), "text", 1_000)
    with current_app.extensions["database"].begin() as connection:
        connection.execute(insert(items).values(text=content))
    return jsonify(text=content), 201


@blueprint.delete(f"{PATH}/<int:item_id>")
def delete_item(item_id: int) -> tuple[str, int]:
    """Delete the item of that id."""
    with current_app.extensions["database"].begin() as connection:
        if not connection.execute(delete(items).where(items.c.id == item_id)).rowcount:
            abort(404, "There is no such item.")
    return "", 204


@blueprint.get(f"{PATH}/visits")
def count_visit() -> Response:
    """Count in the session how often its owner was here."""
    session.permanent = True
    session["visits"] = session.get("visits", 0) + 1
    return jsonify(visits=session["visits"])


def visits(client: FlaskClient) -> int:
    """Come by once more, and return how often the service saw this client."""
    counted: int = client.get(f"{PATH}/visits").get_json()["visits"]
    return counted
