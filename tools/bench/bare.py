"""What the service is compared with: one Flask route, and the same libraries imported."""

# What the service imports from other packages, so that only its own code makes a difference.
import cryptography.x509  # noqa: F401
import dotenv  # noqa: F401
import prometheus_client
import psycopg  # noqa: F401
import sqlalchemy.dialects.postgresql.psycopg  # noqa: F401
from flask import Flask, Response, jsonify
from pythonjsonlogger.json import JsonFormatter  # noqa: F401

application = Flask(__name__)


@application.get("/livez")
def livez() -> Response:
    """Answer as the service does."""
    return jsonify(status="ok")


class NoMetrics:
    """Has what app/gunicorn.conf.py uses in each worker."""

    registry = prometheus_client.CollectorRegistry()

    def count_slow_client(self, limit: str) -> None:
        """Count nobody."""


class NoJournal:
    """Has the method that app/gunicorn.conf.py calls as a worker ends."""

    def close(self) -> None:
        """Close nothing."""


application.extensions.update(metrics=NoMetrics(), database=None, journal=NoJournal())
