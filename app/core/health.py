"""The kubelet's probes; the management port has the same."""

from __future__ import annotations

from flask import Blueprint, Response, current_app, jsonify

from .database import Database
from .management import Answer, Probes

blueprint = Blueprint("health", __name__)


@blueprint.get("/livez")
def livez() -> tuple[Response, int]:
    """Answer as the management port does; here, a request thread has to be free."""
    answer, status = liveness()
    return jsonify(answer), status


@blueprint.get("/readyz")
def readyz() -> tuple[Response, int]:
    """Answer as the management port does."""
    answer, status = readiness(current_app.extensions["database"])
    return jsonify(answer), status


def probes(database: Database) -> Probes:
    """Return what the management port answers, by path."""
    return {"/livez": liveness, "/readyz": lambda: readiness(database)}


def liveness() -> Answer:
    """Say that this process answers.

    It doesn't ask whether requests are accepted: gunicorn's first process replaces a worker
    whose main loop has been silent for 30 s. A restart would not help anything else.
    """
    return {"status": "ok"}, 200


def readiness(database: Database) -> Answer:
    """Say whether the secrets are loaded and the database was reached once.

    Once is enough: if a shared database goes away later, taking every pod out
    of service would turn some errors into a refused connection for everybody.
    """
    if database.reached():
        return {"status": "ok"}, 200
    return {"status": "the database has not been reached yet"}, 503
