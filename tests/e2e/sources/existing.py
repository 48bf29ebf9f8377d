"""A Secret that somebody else makes, with names of its own."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

from tests.e2e.sources.source import Source
from tests.mount import OWN

NAME = "shop-credentials"

#: What the keys are called there.
KEYS: Mapping[str, str] = {
    "SECRET_KEY": "session-key",
    "SECRET_KEY_FALLBACKS": "session-key-fallbacks",
    "DATABASE_USERNAME": "username",
    "DATABASE_PASSWORD": "password",
    **{name: name for name in OWN},
}


class OwnSecret(Source):
    """Its owner, who is neither Helm nor the keeper."""

    values = (
        "secrets.source=existing",
        f"secrets.existingSecret={NAME}",
        *(f"secrets.keys.{name}={key}" for name, key in KEYS.items()),
    )
    waiting = "references non-existent secret key: password"
    refused = "is missing"
    password = KEYS["DATABASE_PASSWORD"]

    def begin(self) -> None:
        self._write("DATABASE_PASSWORD")

    def bring(self) -> None:
        self._write()

    def forget(self) -> None:
        """Remove not one key, but all of it."""
        self.release.cluster.kubectl("delete", "secret", NAME)

    def end(self) -> None:
        self.release.cluster.kubectl("delete", "secret", NAME)

    def _write(self, without: str = "") -> None:
        data = {
            KEYS[name]: base64.b64encode(value.encode()).decode()
            for name, value in self.manager.values.items()
            if name != without
        }
        metadata = {"name": NAME, "labels": {"app.kubernetes.io/managed-by": "somebody"}}
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}
        # on the server: otherwise it would keep a copy in an annotation
        apply = ("apply", "--server-side", "--field-manager=somebody")
        self.release.cluster.kubectl(*apply, "--filename=-", stdin=json.dumps(secret))
