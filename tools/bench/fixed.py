"""The service with its secrets fixed at the start: no request asks the store."""

from sqlalchemy import URL, create_engine

from app import create_app
from app.core.connection import libpq_options
from app.core.database import POOL
from app.core.session import StoreSessionInterface, TimedSignatures
from app.settings import Settings
from secret_files import SecretStore, Snapshot


class FixedStore(SecretStore):
    """Has one generation for ever."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def current(self) -> Snapshot:
        """Return it."""
        return self._snapshot


settings = Settings.load()
application = create_app(settings)
secrets = application.extensions["secrets"].current()
application.session_interface = StoreSessionInterface(
    FixedStore(secrets), TimedSignatures(on_future=lambda: None)
)
# the notes need nothing of a Database but begin(), which an engine has, too
application.extensions["database"] = create_engine(
    URL.create(
        "postgresql+psycopg",
        secrets["DATABASE_USERNAME"].reveal(),
        secrets["DATABASE_PASSWORD"].reveal(),
    ),
    connect_args=libpq_options(settings),
    hide_parameters=True,
    pool_pre_ping=True,  # as Database does itself
    **POOL,
)
