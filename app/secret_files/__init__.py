"""Secrets that are read from mounted files, as one generation, and never printed.

This package needs the standard library only and knows nothing of Flask or of
the rest of `app`: copy it into a service of your own.

    from pathlib import Path
    from secret_files import Key, SecretStore

    store = SecretStore(Path("/etc/secrets"), [Key("API_TOKEN", min_bytes=20)])
    token = store.current()["API_TOKEN"].reveal()
"""

from .redaction import RedactingFormatter, Redactor
from .snapshot import Key, SecretError, Snapshot, folder_version, read_snapshot
from .store import SecretStore
from .value import Secret

__all__ = [
    "Key",
    "RedactingFormatter",
    "Redactor",
    "Secret",
    "SecretError",
    "SecretStore",
    "Snapshot",
    "folder_version",
    "read_snapshot",
]
