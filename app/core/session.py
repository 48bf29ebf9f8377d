"""Flask sessions, signed with the keys of the store's current generation."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from flask import Flask, Request, Response, request
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface, SessionMixin
from itsdangerous import SignatureExpired, TimestampSigner, URLSafeTimedSerializer

from secret_files import Secret, SecretStore, Snapshot

log = logging.getLogger(__name__)

#: A signature may be dated so many seconds in the future: the clock of the pod that signed is
#: ahead of this one's, or this one's was set back.
CLOCK_SKEW_SECONDS: Final = 5
#: The log reports a larger difference once in so many seconds, not per request.
REPORT_SECONDS: Final = 60


def register(app: Flask, store: SecretStore, on_future: Callable[[], object]) -> None:
    """Sign the sessions of `app` with the keys in `store`, and let views sign with other ones.

    :param on_future: called for each genuine signature from too far in the future.
    """
    app.config["SESSION_COOKIE_SAMESITE"] = "Lax"
    app.extensions["signatures"] = TimedSignatures(on_future)
    app.session_interface = StoreSessionInterface(store, app.extensions["signatures"])


class SkewTolerantSigner(TimestampSigner):
    """Accepts signatures that are dated up to `CLOCK_SKEW_SECONDS` in the future.

    itsdangerous rejects an age below 0, and counts in whole seconds: of two pods whose clocks
    differ by 0.1 s, one rejects what the other has just signed.
    """

    def __init__(self, *arguments: Any, on_future: Callable[[int], object], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._on_future = on_future

    def unsign(
        self,
        signed_value: str | bytes,
        max_age: int | None = None,
        return_timestamp: bool = False,
    ) -> Any:
        """Return the value, and when it was signed with `return_timestamp`.

        :param max_age: in seconds; None: any age, and any time in the future.
        :raises BadSignature: the signature is not genuine.
        :raises SignatureExpired: it is, and too old or from too far in the future.
        """
        value, signed_at = super().unsign(signed_value, return_timestamp=True)
        if max_age is not None:
            age = self.get_timestamp() - int(signed_at.timestamp())
            if age < -CLOCK_SKEW_SECONDS:
                self._on_future(-age)
            if not -CLOCK_SKEW_SECONDS <= age <= max_age:
                raise SignatureExpired(
                    f"the signature's age, {age} s, is not from -{CLOCK_SKEW_SECONDS} to {max_age}",
                    payload=value,
                    date_signed=signed_at,
                )
        return (value, signed_at) if return_timestamp else value


class TimedSignatures:
    """Makes the serializers of whatever is signed with a time: sessions, and tokens of yours."""

    def __init__(self, on_future: Callable[[], object]) -> None:
        """Take what to call for each genuine signature from too far in the future."""
        self._on_future = on_future
        self._next_report = 0.0

    def serializer(
        self, keys: Iterable[Secret], salt: str, serializer: Any = None, **options: Any
    ) -> URLSafeTimedSerializer:
        """Return a serializer that signs with the first of `keys` and verifies with each.

        :param salt: separates one use of a key from another.
        :param serializer: what turns a value into text; None: JSON.
        :param options: of itsdangerous' `Signer`.
        """
        return URLSafeTimedSerializer(
            [key.reveal() for key in keys][::-1],  # itsdangerous signs with the last one
            salt=salt,
            serializer=serializer,
            signer=SkewTolerantSigner,
            signer_kwargs={"on_future": self._report, **options},
        )

    def _report(self, seconds: int) -> None:
        self._on_future()
        now = time.monotonic()
        if now < self._next_report:
            return
        self._next_report = now + REPORT_SECONDS
        log.warning(
            "rejected a signature that is dated %d s in the future, and accepts %d s: the clock of "
            "another pod is ahead of this one's, or this one's was set back; check the time "
            "synchronization of the nodes",
            seconds,
            CLOCK_SKEW_SECONDS,
        )


class StoreSessionInterface(SecureCookieSessionInterface):
    """Signs with SECRET_KEY; verifies with it and with each of SECRET_KEY_FALLBACKS.

    `app.config` never holds a key: all of them come from one snapshot, each time.
    """

    digest_method = staticmethod(hashlib.sha256)

    def __init__(self, store: SecretStore, signatures: TimedSignatures) -> None:
        self._store = store
        self._signatures = signatures
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

    def get_cookie_path(self, app: Flask) -> str:
        """Return the prefix of the service: another one on the same host has its own session."""
        return request.root_path or super().get_cookie_path(app)

    def get_cookie_secure(self, app: Flask) -> bool:
        """Tell whether the browser came by HTTPS, to the pod or to the proxy in front of it."""
        return request.is_secure or super().get_cookie_secure(app)

    def get_signing_serializer(self, app: Flask) -> URLSafeTimedSerializer:
        """Return a serializer for this moment's keys."""
        snapshot, serializer = self._serializer
        if snapshot is not self._store.current():
            self._serializer = _, serializer = self._new_serializer(self._store.current())
        return serializer

    def _new_serializer(self, snapshot: Snapshot) -> tuple[Snapshot, URLSafeTimedSerializer]:
        return snapshot, self._signatures.serializer(
            [snapshot["SECRET_KEY"], *snapshot.lines("SECRET_KEY_FALLBACKS")],
            self.salt,
            self.serializer,
            key_derivation=self.key_derivation,
            digest_method=self.digest_method,
        )
