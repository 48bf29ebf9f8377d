"""Flask sessions, signed with the keys of the store's current generation."""

from __future__ import annotations

import hashlib

from flask import Flask
from flask.sessions import SecureCookieSessionInterface
from itsdangerous import URLSafeTimedSerializer

from .secret_files import SecretStore


class StoreSessionInterface(SecureCookieSessionInterface):
    """Signs with SECRET_KEY; verifies with it and with each of SECRET_KEY_FALLBACKS.

    `app.config` never holds a key: all of them come from one snapshot, each time.
    """

    digest_method = staticmethod(hashlib.sha256)

    def __init__(self, store: SecretStore) -> None:
        self._store = store

    def get_signing_serializer(self, app: Flask) -> URLSafeTimedSerializer:
        """Return a serializer for this moment's keys."""
        snapshot = self._store.current()
        keys = [*snapshot.lines("SECRET_KEY_FALLBACKS"), snapshot["SECRET_KEY"]]
        return URLSafeTimedSerializer(
            [key.reveal() for key in keys],  # itsdangerous signs with the last one
            salt=self.salt,
            serializer=self.serializer,
            signer_kwargs={
                "key_derivation": self.key_derivation,
                "digest_method": self.digest_method,
            },
        )
