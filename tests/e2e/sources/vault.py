"""A stand-in for Vault: a pod that keeps objects in memory, and gives them to who may read them.

It speaks HTTPS, and looks at the token of a caller as Vault's Kubernetes auth method does: for
whom it is, and whose.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tests.e2e.cluster import HARDENED, Cluster
from tests.e2e.release import Release

NAME = "vault"
PORT = 8200

#: Its argument says who may read, as `sub` in a token.
SERVER = r"""
import base64, json, ssl, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from app.keeper.certificates import new_authority, new_certificate
from app.secret_files import forbid_core_dumps

forbid_core_dumps()
objects = {}

def may_read(token):
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (IndexError, ValueError):
        return False
    return "vault" in claims["aud"] and claims["sub"] == sys.argv[1]

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        path = self.path.removeprefix("/v1/")
        if not may_read(token):
            self.answer(403, {"errors": ["permission denied"]})
        elif path not in objects:
            self.answer(404, {"errors": []})
        else:
            self.answer(200, {"data": {"data": objects[path]}})

    def do_PUT(self):
        if self.client_address[0] != "127.0.0.1":
            return self.answer(403, {"errors": ["permission denied"]})
        content = self.rfile.read(int(self.headers["Content-Length"]))
        objects.clear()
        objects.update(json.loads(content))
        self.answer(200, {})

    def answer(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *arguments):
        pass

authority = new_authority("vault")
pair = new_certificate(authority, ("vault",))
for name, text in (("tls.crt", pair.certificate), ("tls.key", pair.key)):
    Path("/tmp", name).write_text(text)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/tmp/tls.crt", "/tmp/tls.key")
server = ThreadingHTTPServer(("", 8200), Handler)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""

#: Its input is the program, with the objects in it: they stand on no command line.
WRITE = """
import json, ssl, urllib.request
request = urllib.request.Request(
    "https://127.0.0.1:8200/", data=json.dumps({objects!r}).encode(), method="PUT"
)
urllib.request.urlopen(request, timeout=10, context=ssl._create_unverified_context()).read()
"""


def pod(image: str, account: str) -> dict[str, Any]:
    """Return the pod, and its Service."""
    memory = {"emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": NAME, "labels": {"app": NAME}},
        "spec": {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "securityContext": {"runAsUser": 10001},
            "containers": [
                {
                    "name": NAME,
                    "image": image,
                    "command": ["python", "-c", SERVER, account],
                    "ports": [{"containerPort": PORT}],
                    "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
                    "securityContext": HARDENED | {"readOnlyRootFilesystem": True},
                    "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
                }
            ],
            "volumes": [{"name": "tmp"} | memory],
        },
    }


def start(release: Release) -> None:
    """Start it in the release's namespace, for the release's account, and wait for it."""
    cluster = release.cluster
    account = f"system:serviceaccount:{cluster.namespace}:{cluster.fullname}"
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": NAME},
        "spec": {"selector": {"app": NAME}, "ports": [{"port": PORT}]},
    }
    items = [pod(release.image, account), service]
    listed = {"apiVersion": "v1", "kind": "List", "items": items}
    cluster.kubectl("apply", "--filename=-", stdin=json.dumps(listed))
    cluster.kubectl("wait", f"pod/{NAME}", "--for=condition=Ready", "--timeout=60s")


def write(cluster: Cluster, objects: Mapping[str, Mapping[str, str]]) -> None:
    """Keep these objects, by their paths, and no others."""
    script = WRITE.format(objects=objects)
    cluster.kubectl("exec", "--stdin", NAME, "--", "python", "-", stdin=script)
