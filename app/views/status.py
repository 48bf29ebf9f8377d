"""What this process knows about its secrets: names, generation and times, never a value."""

from __future__ import annotations

import socket
from datetime import UTC, datetime

from flask import Blueprint, Response, current_app, jsonify

from ..secret_files import SecretStore

blueprint = Blueprint("status", __name__)


@blueprint.get("/status")
def status() -> Response:
    """Describe the current generation of the secrets."""
    store: SecretStore = current_app.extensions["secrets"]
    snapshot = store.current()
    return jsonify(
        pod=socket.gethostname(),
        secrets={
            "names": list(snapshot),
            "source": str(store.source),
            "generation": snapshot.generation,
            "made": snapshot.generation and _time(snapshot.generation),
            "adopted": _time(store.adopted_at),
        },
        session_keys={"sign": 1, "verify": 1 + len(snapshot.lines("SECRET_KEY_FALLBACKS"))},
        database={
            "role": snapshot["DATABASE_USERNAME"].reveal(),
            "reached": current_app.extensions["database"].reached(),
        },
    )


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
