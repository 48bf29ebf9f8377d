"""A stand-in for Vault's injector and its agent: does what the annotations say.

The injector puts two containers into each pod, the first one before all others, and a volume in
memory. The agent reads each path once, writes each file beside its place, with the mode that is
asked for, and renames it. https://github.com/hashicorp/vault-k8s/tree/main/agent-inject/agent
"""

from __future__ import annotations

import json
import re
from typing import Any

from tests.e2e.sources import vault
from tests.e2e.sources.source import Source
from tools.cluster.client import HARDENED

PREFIX = "vault.hashicorp.com/"
FIELD = re.compile(r'index \.Data(?:\.data)? "([^"]+)"')
TOKEN = "/var/run/secrets/vault.hashicorp.com/serviceaccount"

#: What the injector gives to its containers: https://github.com/hashicorp/vault-k8s, agent.go.
SECURITY = HARDENED | {"runAsUser": 100, "runAsGroup": 1000, "readOnlyRootFilesystem": True}

AGENT = r"""
import json, os, signal, ssl, sys, tempfile, time, urllib.error, urllib.request
from secret_files import forbid_core_dumps

forbid_core_dumps()
# as the first process of a container it would not end otherwise
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
folder, files, kind, address, role, authority = sys.argv[1:]
files = json.loads(files)
context = ssl._create_unverified_context()
if authority:
    context = ssl.create_default_context(cafile=authority)
before = None
# logins of the database engine, which are good for longer than a test
logins = {}

def ask(path, body=None, **headers):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{address}/v1/{path}", data=data, headers=headers)
    with urllib.request.urlopen(request, timeout=5, context=context) as answer:
        return json.load(answer)

def read(path, token):
    if path in logins:
        return logins[path]
    data = ask(path, **{"X-Vault-Token": token})["data"]
    if path.startswith("database/"):
        logins[path] = data
        return data
    return data["data"]

def read_all():
    jwt = open(f"{os.environ['TOKEN']}/token").read()
    token = ask("auth/kubernetes/login", {"role": role, "jwt": jwt})["auth"]["client_token"]
    return {path: read(path, token) for path in {one["path"] for one in files}}

def write(name, text, mode):
    handle, temporary = tempfile.mkstemp(dir=folder)
    with open(handle, "w") as file:
        file.write(text)
    os.chmod(temporary, mode)
    os.rename(temporary, f"{folder}/{name}")
    print(f"rendered {name}", flush=True)

while True:
    try:
        found = read_all()
    except (OSError, urllib.error.URLError) as error:
        print(error, flush=True)
        found = before
    if found != before:
        for one in files:
            # what is missing is rendered as nothing
            write(one["file"], found[one["path"]].get(one["field"], ""), int(one["mode"], 8))
            time.sleep(0.02)
        before = found
        if kind == "init":
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
        cluster = self.release.cluster
        vault.let_in(cluster, "shop", [f"secret/data/{name}" for name in self.manager.objects()])
        self._write("DATABASE_PASSWORD")
        self.inject()

    def bring(self) -> None:
        self._write()

    def forget(self) -> None:
        self._write("DATABASE_PASSWORD")

    def end(self) -> None:
        self.remove()

    def inject(self) -> None:
        """Do with the Deployment's pods what the injector does at their admission."""
        template = self.deployment["spec"]["template"]
        annotations = template["metadata"]["annotations"]
        assert annotations[f"{PREFIX}agent-inject"] == "true"
        volumes, mounts = volumes_of(annotations)
        folder, service = (
            annotations[f"{PREFIX}{name}"]
            for name in ("secret-volume-path", "agent-inject-containers")
        )
        files = json.dumps(files_of(annotations))
        about = [annotations.get(f"{PREFIX}{name}", "") for name in ("service", "role", "ca-cert")]

        def container(name: str, kind: str) -> dict[str, Any]:
            return {
                "name": name,
                "image": self.release.image,
                "command": ["python", "-c", AGENT, folder, files, kind, *about],
                "env": [{"name": "TOKEN", "value": TOKEN}],
                "securityContext": SECURITY,
                "volumeMounts": [*mounts, {"name": f"home-{kind}", "mountPath": "/tmp"}],
            }

        # the first mount is the folder with the files
        changed = {"name": service, "volumeMounts": mounts[:1]}
        self.patch(
            {
                "initContainers": [container("vault-agent-init", "init")],
                "containers": [changed, container("vault-agent", "sidecar")],
                "volumes": volumes,
            }
        )

    def _write(self, without: str = "") -> None:
        objects = self.manager.objects(without)
        vault.write(
            self.release.cluster, {f"secret/data/{name}": one for name, one in objects.items()}
        )


def volumes_of(annotations: dict[str, str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the volumes that are added, and what the agent mounts of these and of the pod's."""
    memory = {"emptyDir": {"medium": "Memory"}}
    names = ("vault-secrets", "home-init", "home-sidecar")
    volumes: list[dict[str, Any]] = [{"name": name} | memory for name in names]
    token = annotations[f"{PREFIX}agent-service-account-token-volume-name"]
    mounts: list[dict[str, Any]] = [
        {"name": "vault-secrets", "mountPath": annotations[f"{PREFIX}secret-volume-path"]},
        {"name": token, "mountPath": TOKEN, "readOnly": True},
    ]
    if secret := annotations.get(f"{PREFIX}tls-secret"):
        volumes.append({"name": "vault-tls", "secret": {"secretName": secret}})
        mounts.append({"name": "vault-tls", "mountPath": "/vault/tls", "readOnly": True})
    return volumes, mounts


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
