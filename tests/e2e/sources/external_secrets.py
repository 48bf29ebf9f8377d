"""A stand-in for External Secrets: does what the ExternalSecret says, with a manager's objects.

Which Secret it writes, and what the keys are called in it, is in its source:
https://github.com/external-secrets/external-secrets/tree/main/pkg/controllers/externalsecret
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from tests.e2e.sources.source import Source

MANAGER = "external-secrets"
PREFIX = "reconcile.external-secrets.io"


class Operator(Source):
    """Copies the objects into the Secret that belongs to the ExternalSecret."""

    values = (
        "secrets.source=external-secrets",
        "secrets.objects.session=shop/session",
        "secrets.objects.database=shop/database",
        "secrets.vault.address=https://vault.example.org:8200",
        "secrets.vault.role=shop",
    )
    waiting = "references non-existent secret key: database.DATABASE_PASSWORD"
    refused = "is missing"
    password = "database.DATABASE_PASSWORD"

    def begin(self) -> None:
        self._sync("DATABASE_PASSWORD")

    def bring(self) -> None:
        self._sync()

    def forget(self) -> None:
        """Copy a version of the object that has the key no more."""
        self._sync("DATABASE_PASSWORD")

    def end(self) -> None:
        """Do nothing: the Secret goes with its owner, which Helm removes."""

    def _sync(self, without: str = "") -> None:
        asked = self._external_secret()
        # otherwise the Secret would go when an object goes
        assert asked["spec"]["target"]["deletionPolicy"] == "Retain"
        found: dict[str, str] = {}
        for source in asked["spec"]["dataFrom"]:
            # one read for the whole object
            content = self.manager.objects(without)[source["extract"]["key"]]
            found |= rewritten(content, source.get("rewrite", []))
        self._write(asked, found)

    def _external_secret(self) -> dict[str, Any]:
        cluster = self.release.cluster
        get = ("get", "externalsecrets.external-secrets.io", cluster.fullname, "--output=json")
        found: dict[str, Any] = json.loads(cluster.kubectl(*get))
        return found

    def _write(self, asked: dict[str, Any], values: Mapping[str, str]) -> None:
        data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
        digest = hashlib.sha3_224(json.dumps(data, sort_keys=True).encode()).hexdigest()
        owner = {key: asked[key] for key in ("apiVersion", "kind")}
        owner |= {key: asked["metadata"][key] for key in ("name", "uid")}
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": asked["spec"]["target"]["name"],
                # those of the ExternalSecret, and its own
                "labels": asked["metadata"]["labels"] | {f"{PREFIX}/managed": "true"},
                "annotations": asked["metadata"]["annotations"] | {f"{PREFIX}/data-hash": digest},
                "ownerReferences": [owner | {"controller": True, "blockOwnerDeletion": True}],
            },
            "data": data,
        }
        apply = ("apply", "--server-side", f"--field-manager={MANAGER}", "--force-conflicts")
        self.release.cluster.kubectl(*apply, "--filename=-", stdin=json.dumps(secret))


def rewritten(content: Mapping[str, str], rewrites: list[dict[str, Any]]) -> dict[str, str]:
    """Return an object's values under the names that the rewrites give to them."""
    found = dict(content)
    for one in rewrites:
        source, target = one["regexp"]["source"], one["regexp"]["target"]
        found = {re.sub(source, target, key): value for key, value in found.items()}
    return found
