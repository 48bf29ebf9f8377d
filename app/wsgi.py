"""What gunicorn loads: the service, or one line that says why it can't start."""

from gunicorn.errors import AppImportError

from secret_files import SecretError, log_uncaught

from . import create_app
from .settings import SettingsError

log_uncaught()
try:
    application = create_app()
except (SecretError, SettingsError) as problem:
    # gunicorn prints this one without a traceback, and stops instead of trying again
    raise AppImportError(f"can't start: {problem}") from None
