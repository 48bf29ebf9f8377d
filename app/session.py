"""Flask sessions, signed with the keys of the store's current generation."""

from __future__ import annotations

import hashlib

from flask import Flask, Request, Response
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface, SessionMixin
from itsdangerous import URLSafeTimedSerializer

from .secret_files import SecretStore, Snapshot


class StoreSessionInterface(SecureCookieSessionInterface):
    """Signs with SECRET_KEY; verifies with it and with each of SECRET_KEY_FALLBACKS.

    `app.config` never holds a key: all of them come from one snapshot, each time.
    """

    digest_method = staticmethod(hashlib.sha256)

    def __init__(self, store: SecretStore) -> None:
        self._store = store
        self._serializer = self._new_serializer(store.current())

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        """Return the session of the request's cookie, or an empty one."""
        if "HTTP_COOKIE" in request.environ:
            return super().open_session(app, request)
        return self.session_class()  # the store is left alone: a probe must not try a new login

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        """Write the cookie, if the session was used."""
        if session or session.accessed or session.modified:
            super().save_session(app, session, response)

    def get_signing_serializer(self, app: Flask) -> URLSafeTimedSerializer:
        """Return a serializer for this moment's keys."""
        snapshot, serializer = self._serializer
        if snapshot is not self._store.current():
            self._serializer = _, serializer = self._new_serializer(self._store.current())
        return serializer

    def _new_serializer(self, snapshot: Snapshot) -> tuple[Snapshot, URLSafeTimedSerializer]:
        keys = [*snapshot.lines("SECRET_KEY_FALLBACKS"), snapshot["SECRET_KEY"]]
        return snapshot, URLSafeTimedSerializer(
            [key.reveal() for key in keys],  # itsdangerous signs with the last one
            salt=self.salt,
            serializer=self.serializer,
            signer_kwargs={
                "key_derivation": self.key_derivation,
                "digest_method": self.digest_method,
            },
        )
