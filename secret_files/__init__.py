"""Secrets that are read from mounted files, as one generation, and never printed.

This package needs the standard library only and knows nothing of Flask or of
the packages beside it: copy it into a service of your own.

    from secret_files import Folder, Key, SecretStore

    store = SecretStore(Folder("/etc/secrets", [Key("API_TOKEN", min_bytes=20)]))
    token = store.current()["API_TOKEN"].reveal()

docs/secret-files.md has the rest.
"""

from .core_dumps import forbid_core_dumps
from .environment import Environment
from .folder import Folder, folder_version
from .hints import hint
from .key import Key, SecretError
from .redaction import RedactingFormatter, Redactor, log_uncaught
from .snapshot import Snapshot
from .store import Refused, SecretStore, Source
from .value import Secret

__all__ = [
    "Environment",
    "Folder",
    "Key",
    "RedactingFormatter",
    "Redactor",
    "Refused",
    "Secret",
    "SecretError",
    "SecretStore",
    "Snapshot",
    "Source",
    "folder_version",
    "forbid_core_dumps",
    "hint",
    "log_uncaught",
]
