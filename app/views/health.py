"""The kubelet's probes."""

from __future__ import annotations

from flask import Blueprint, Response, current_app, jsonify

blueprint = Blueprint("health", __name__)


@blueprint.get("/livez")
def livez() -> Response:
    """Say that this process answers; a restart would not help anything else."""
    return jsonify(status="ok")


@blueprint.get("/readyz")
def readyz() -> tuple[Response, int]:
    """Say whether the secrets are loaded and the database was reached once.

    Once is enough: if a shared database goes away later, taking every pod out
    of service would turn some errors into a refused connection for everybody.
    """
    if current_app.extensions["database"].reached():
        return jsonify(status="ok"), 200
    return jsonify(status="the database has not been reached yet"), 503
