"""The service as before it had limits for the database: what those cost, and what they are for."""

from collections.abc import Iterator
from contextlib import contextmanager

from app import create_app
from app.core import connection, database
from app.settings import Settings


@contextmanager
def everybody_tries(*outages: database.Outage) -> Iterator[None]:
    """Have each request log in, also while others try."""
    assert outages
    yield


connection.LimitedConnection.limit = None  # type: ignore[assignment]
connection.LOST_HOST = {}  # type: ignore[misc]
database.USELESS = ()  # type: ignore[assignment, misc]
database.PING_SECONDS = None  # type: ignore[assignment, attr-defined]
database.Outage.attempt = everybody_tries  # type: ignore[assignment, method-assign]
application = create_app(Settings.load())
