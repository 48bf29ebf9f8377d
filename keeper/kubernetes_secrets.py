"""The Secrets of a namespace, through the Kubernetes API."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from secret_files import Secret

from .objects import NO_NOTES, Conflict, StoredSecret, Unavailable

NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")

#: What the names of the keeper's annotations begin with.
PREFIX: Final = "keeper.flask-app/"


class KubernetesSecrets:
    """The Secrets of the pod's own namespace, with the rights of its ServiceAccount."""

    def __init__(self) -> None:
        try:
            config.load_incluster_config()  # type: ignore[no-untyped-call]
            self._namespace = NAMESPACE_FILE.read_text().strip()
        except (config.ConfigException, OSError) as error:
            raise Unavailable(f"this is no pod with a token: {error}", transient=False) from None
        self._api = client.CoreV1Api()

    def get(self, name: str) -> StoredSecret:
        """Return the Secret as it is now."""
        return self._call("get", name, self._api.read_namespaced_secret)

    def patch(
        self, secret: StoredSecret, data: Mapping[str, str], notes: Mapping[str, str] = NO_NOTES
    ) -> StoredSecret:
        """Set keys and annotations at once, if the Secret still has the version of `secret`."""
        body = {
            "metadata": {
                # a patch that names another resourceVersion than the object's is refused
                "resourceVersion": secret.version,
                "annotations": {f"{PREFIX}{name}": value for name, value in notes.items()},
            },
            "data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()},
        }
        return self._call("patch", secret.name, self._api.patch_namespaced_secret, body=body)

    def _call(self, verb: str, name: str, method: Any, **arguments: Any) -> StoredSecret:
        try:
            found = method(name, self._namespace, _request_timeout=10, **arguments)
        except ApiException as error:
            # only the status is told: the body of an answer can repeat what was sent
            status, reason = error.status or 0, error.reason
        except (HTTPError, OSError) as error:
            status, reason = 0, type(error).__name__
        else:
            return _stored(name, found)
        if status == 409:
            raise Conflict(f"the Secret {name} was changed by somebody else")
        transient = status in (0, 429) or status >= 500
        raise Unavailable(f"can't {verb} the Secret {name}: {status} {reason}", transient=transient)


def _stored(name: str, found: Any) -> StoredSecret:
    data = {}
    for key, value in (found.data or {}).items():
        try:
            data[key] = Secret(key, base64.b64decode(value).decode())
        except UnicodeDecodeError:  # its message would show a byte
            problem = f"{key} in the Secret {name} is not UTF-8: remove it, and it is filled anew"
            raise Unavailable(problem, transient=False) from None
    notes = {
        annotation.removeprefix(PREFIX): value
        for annotation, value in (found.metadata.annotations or {}).items()
        if annotation.startswith(PREFIX)
    }
    return StoredSecret(name, found.metadata.resource_version, data, notes)
