"""Where the service has its secrets from: a Secret, whoever fills it, or files of others."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from app.secret_keys import KEYS
from secret_files import Secret
from tools.cluster.client import Cluster

FOLDER: Final = "/etc/secrets"

#: What nobody may see of the service's files.
CONFIDENTIAL: Final = tuple(key.name for key in KEYS if not key.public)

READ: Final = """
import base64, json, sys
from pathlib import Path
folder, *names = sys.argv[1:]
files = {name: Path(folder, name) for name in names}
print(json.dumps({
    name: base64.b64encode(file.read_bytes()).decode()
    for name, file in files.items() if file.exists()
}))
"""


@dataclass(frozen=True)
class Origin:
    """A Secret, and what the service's files are called in it; no name: there is no Secret."""

    name: str
    keys: Mapping[str, str]

    def confidential(self, data: Mapping[str, bytes]) -> list[Secret]:
        """Return what nobody may see of the Secret's data.

        Each is named as `flask-app-secrets/SECRET_KEY` is.
        """
        keys = [self.keys[file] for file in CONFIDENTIAL if file in self.keys]
        named = {key: data.get(key) for key in keys}
        return [
            Secret(f"{self.name}/{key}", value.decode()) for key, value in named.items() if value
        ]


def origin_of(deployment: Mapping[str, Any]) -> Origin:
    """Return where the pods of a Deployment get their secrets."""
    spec = deployment["spec"]["template"]["spec"]
    for volume in spec["volumes"]:
        if volume["name"] == "secrets" and "secret" in volume:
            items = {item["path"]: item["key"] for item in volume["secret"]["items"]}
            return Origin(volume["secret"]["secretName"], items)
    variables = {
        one["name"]: one["valueFrom"]["secretKeyRef"]
        for container in spec["containers"]
        for one in container.get("env", [])
        if "secretKeyRef" in one.get("valueFrom", {})
    }
    if not variables:
        return Origin("", {})
    (name,) = {reference["name"] for reference in variables.values()}
    return Origin(name, {file: reference["key"] for file, reference in variables.items()})


def from_files(cluster: Cluster) -> list[Secret]:
    """Return what nobody may see of the files in a pod of the service."""
    found = json.loads(cluster.python(READ, FOLDER, *CONFIDENTIAL))
    values = {name: base64.b64decode(text).decode() for name, text in found.items()}
    return [Secret(f"{FOLDER}/{name}", value) for name, value in values.items() if value]
