"""What the database of Kubernetes holds, under the API server and on the disk."""

from __future__ import annotations

import base64
import json
from typing import Final

from tools.cluster.client import Cluster

from .engine import Fault, Reading, Sample, Unreadable, place
from .target import Target

#: How a value begins that the API server has encrypted.
ENCRYPTED: Final = b"k8s:enc:secretbox:v1:"

#: Where etcd has its files on the node.
FOLDER: Final = "/var/lib/etcd"

PKI: Final = "/etc/kubernetes/pki/etcd"
#: As the node runs it, where etcd sees its files: `kubectl exec` may lose the end of an answer and
#: succeed (kubernetes/kubernetes#124571).
THERE: Final = 'exec chroot "/proc/$(pgrep -x -o etcd)/root" "$@"'
ETCDCTL: Final = (
    *("sh", "-c", THERE, "sh", "etcdctl"),
    *("--endpoints", "https://127.0.0.1:2379", "--cacert", f"{PKI}/ca.crt"),
    *("--cert", f"{PKI}/server.crt", "--key", f"{PKI}/server.key"),
)


@place("etcd", "stored values")
def stored_values(target: Target, resource: str = "secrets") -> Reading:
    """The bytes that stand for each Secret of the cluster, which have to be encrypted."""
    cluster = target.cluster
    # as a table: without the values
    listed = cluster.kubectl("get", resource, "--no-headers").splitlines()
    expected = {f"{cluster.namespace}/{line.split()[0]}" for line in listed}
    stored = _stored(cluster, f"/registry/{resource}/")
    if not expected or not stored.keys() >= expected:
        raise Unreadable(f"not all {resource} of the namespace are in etcd")
    for name, value in stored.items():
        yield Sample(f"{resource}/{name}", value)
        if not value.startswith(ENCRYPTED):
            yield Fault(f"{resource}/{name}", f"is not encrypted by {ENCRYPTED.decode()}")


@place("etcd", "database files")
def database_files(target: Target) -> Reading:
    """The database and its write-ahead log on the node, with what has been deleted."""
    found = target.cluster.node("find", FOLDER, "-type", "f", "-size", "+0", "-print0")
    files = sorted(filter(None, found.split("\0")))
    if f"{FOLDER}/member/snap/db" not in files or not any(name.endswith(".wal") for name in files):
        raise Unreadable(f"{FOLDER} has no database, or no write-ahead log")
    for file in files:
        yield Sample(file, target.cluster.node_file(file))


def _stored(cluster: Cluster, prefix: str) -> dict[str, bytes]:
    """Return what stands under the keys that begin so, by the rest of the key."""
    asked = (*ETCDCTL, "get", "--prefix", prefix, "--write-out", "json")
    answer = json.loads(cluster.node(*asked))
    return {
        base64.b64decode(one["key"]).decode().removeprefix(prefix): base64.b64decode(one["value"])
        for one in answer.get("kvs", [])
    }
