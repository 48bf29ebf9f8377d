"""A stand-in for Vault's injector and its agent: does what the annotations say.

The injector puts two containers into each pod, the first one before all others, and a volume in
memory. The agent reads each path once, writes each file beside its place, with the mode that is
asked for, and renames it. https://github.com/hashicorp/vault-k8s/tree/main/agent-inject/agent
"""

from __future__ import annotations

import json
import re
from typing import Any

from tests.e2e.cluster import HARDENED
from tests.e2e.sources import vault
from tests.e2e.sources.source import Source

PREFIX = "vault.hashicorp.com/"
FIELD = re.compile(r'index \.Data\.data "([^"]+)"')
TOKEN = "/var/run/secrets/vault.hashicorp.com/serviceaccount"

#: What the injector gives to its containers: https://github.com/hashicorp/vault-k8s, agent.go.
SECURITY = HARDENED | {"runAsUser": 100, "runAsGroup": 1000, "readOnlyRootFilesystem": True}

AGENT = r"""
import json, os, signal, ssl, sys, tempfile, time, urllib.error, urllib.request
from app.secret_files import forbid_core_dumps

forbid_core_dumps()
# as the first process of a container it would not end otherwise
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
folder, files = sys.argv[1], json.loads(sys.argv[2])
is_init = sys.argv[3] == "init"
context = ssl._create_unverified_context()
before = None

def read(path):
    token = open(f"{os.environ['TOKEN']}/token").read()
    request = urllib.request.Request(
        f"https://vault:8200/v1/{path}", headers={"Authorization": f"Bearer {token}"}
    )
    with urllib.request.urlopen(request, timeout=5, context=context) as answer:
        return json.load(answer)["data"]["data"]

def write(name, text, mode):
    handle, temporary = tempfile.mkstemp(dir=folder)
    with open(handle, "w") as file:
        file.write(text)
    os.chmod(temporary, mode)
    os.rename(temporary, f"{folder}/{name}")

while True:
    try:
        found = {path: read(path) for path in {one["path"] for one in files}}
    except (OSError, urllib.error.URLError):
        found = before
    if found != before:
        for one in files:
            # what is missing is rendered as nothing
            write(one["file"], found[one["path"]].get(one["field"], ""), int(one["mode"], 8))
            time.sleep(0.02)
        before = found
        if is_init:
            sys.exit()
    time.sleep(0.5)
"""


class Agent(Source):
    """The injector, and what Vault has."""

    values = (
        "secrets.source=vault-agent",
        "secrets.objects.session=shop/session",
        "secrets.objects.database=shop/database",
        # where the stand-in is: the network policy opens its port
        f"secrets.vault.address=https://{vault.NAME}:{vault.PORT}",
        "secrets.vault.role=shop",
    )
    waiting = "DATABASE_PASSWORD in /etc/secrets/DATABASE_PASSWORD is empty"
    refused = "is empty"

    def begin(self) -> None:
        self._write("DATABASE_PASSWORD")
        self._inject()

    def bring(self) -> None:
        self._write()

    def forget(self) -> None:
        self._write("DATABASE_PASSWORD")

    def end(self) -> None:
        self.remove()

    def _write(self, without: str = "") -> None:
        objects = self.manager.objects(without)
        vault.write(
            self.release.cluster, {f"secret/data/{name}": one for name, one in objects.items()}
        )

    def _inject(self) -> None:
        template = self.deployment["spec"]["template"]
        annotations = template["metadata"]["annotations"]
        assert annotations[f"{PREFIX}agent-inject"] == "true"
        folder = annotations[f"{PREFIX}secret-volume-path"]
        shared = {"name": "vault-secrets", "mountPath": folder}
        token = annotations[f"{PREFIX}agent-service-account-token-volume-name"]
        mounts = [shared, {"name": token, "mountPath": TOKEN, "readOnly": True}]

        def container(name: str, kind: str) -> dict[str, Any]:
            return {
                "name": name,
                "image": self.release.image,
                "command": ["python", "-c", AGENT, folder, json.dumps(files_of(annotations)), kind],
                "env": [{"name": "TOKEN", "value": TOKEN}],
                "securityContext": SECURITY,
                "volumeMounts": [*mounts, {"name": f"home-{kind}", "mountPath": "/tmp"}],
            }

        memory = {"emptyDir": {"medium": "Memory"}}
        homes = [{"name": f"home-{kind}"} | memory for kind in ("init", "sidecar")]
        self.patch(
            {
                "initContainers": [container("vault-agent-init", "init")],
                "containers": [
                    {
                        "name": annotations[f"{PREFIX}agent-inject-containers"],
                        "volumeMounts": [shared],
                    },
                    container("vault-agent", "sidecar"),
                ],
                "volumes": [{"name": "vault-secrets"} | memory, *homes],
            }
        )


def files_of(annotations: dict[str, str]) -> list[dict[str, str]]:
    """Return what the annotations ask for: file, path, field and mode of each."""
    found = []
    for name, path in annotations.items():
        if name.startswith(f"{PREFIX}agent-inject-secret-"):
            file = name.removeprefix(f"{PREFIX}agent-inject-secret-")
            field = FIELD.search(annotations[f"{PREFIX}agent-inject-template-{file}"])
            assert field, file
            mode = annotations[f"{PREFIX}agent-inject-perms-{file}"]
            found.append({"file": file, "path": path, "field": field[1], "mode": mode})
    assert found
    return found
