"""What this process knows about its secrets: names, generation and times, never a value."""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, current_app, jsonify

from secret_files import Refused, SecretStore

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
            "refused": _refused(store.refused),
        },
        session_keys={"sign": 1, "verify": 1 + len(snapshot.lines("SECRET_KEY_FALLBACKS"))},
        database={
            "role": snapshot["DATABASE_USERNAME"].reveal(),
            "reached": current_app.extensions["database"].reached(),
        },
    )


def _refused(refused: Refused | None) -> dict[str, Any] | None:
    if not refused:
        return None
    return {"key": refused.key, "reason": refused.summary, "since": _time(refused.since)}


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
