"""The TLS context, made anew when the certificate's files are."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from pathlib import Path

from secret_files import folder_version

log = logging.getLogger(__name__)

FILES = ("tls.crt", "tls.key")


class ServerContext:
    """Gives gunicorn a context for each connection, from a cache.

    gunicorn would load the certificate for every connection. The cached context
    lives as long as the files do; a pair that does not fit together, as in the
    middle of a swap, leaves the last good one in place.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._context: ssl.SSLContext | None = None
        self._version = ""

    def get(self, build: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
        """Return the current context; `build` reads the files and makes one.

        :raises OSError: there is no usable certificate to begin with.
        """
        try:
            version = folder_version(self._folder, FILES)
            if self._context is None or version != self._version:
                self._context, self._version = build(), version
                log.info("certificate loaded")
        except OSError as error:  # ssl.SSLError is one
            if self._context is None:
                raise
            log.error("certificate not loaded, the last good one stays: %s", error)
        return self._context
