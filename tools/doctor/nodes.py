"""The kind clusters of this machine, and what makes one stale."""

from __future__ import annotations

import functools
import http.client
import json
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from .lines import KIND, OK, ROOT, WARNING, Line, Silent, ask
from .ports import own_cluster

#: How long an API server may take to answer, in seconds.
LIMIT: Final = 3

_CLUSTER: Final = "io.x-k8s.kind.cluster"
#: Where kind-config.yaml mounts the key file that `make deploy` makes.
KEY_FILE: Final = "/etc/kubernetes/secrets/encryption.yaml"


@dataclass(frozen=True)
class Node:
    """A control plane: the container that is a cluster of this project, or of somebody else."""

    cluster: str
    container: str
    is_running: bool
    #: The API server's port on this machine, and the service's; 0 without one.
    api_port: int
    port: int
    #: The file with the key of its Secrets; none in a cluster of somebody else's.
    key_file: Path | None

    @functools.cached_property
    def version(self) -> str:
        """The version of Kubernetes, as the API server tells everybody; empty if it is silent."""
        if not self.is_running or not self.api_port:
            return ""
        # nothing is sent that somebody else must not see, and nothing is believed but a number
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self.api_port, timeout=LIMIT, context=context
        )
        try:
            connection.request("GET", "/version")
            return str(json.loads(connection.getresponse().read(1 << 16))["gitVersion"])
        except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError):
            return ""
        finally:
            connection.close()

    @property
    def folder(self) -> Path | None:
        """The clone that made it, as far as its mount tells."""
        # .local/cluster/NAME/encryption.yaml
        return self.key_file.parents[3] if self.key_file else None

    def line(self) -> Line:
        """Tell whether it can be used, and by whom."""
        destroy = f"CLUSTER={self.cluster} make destroy"
        if not self.key_file:
            return self._line(OK, "not of this project")
        if not self.is_running:
            return self._line(WARNING, f"stopped: docker start {self.container}, or {destroy}")
        if not self.version:
            return self._line(WARNING, f"its API server does not answer: {destroy}")
        if _has_gone(self.key_file):
            return self._line(
                WARNING, f"{self.key_file} is gone, it can't start again once it stops: {destroy}"
            )
        if self.folder == ROOT:
            return self._line(OK, "of this folder")
        if self.cluster == own_cluster():
            other = f"CLUSTER={self.cluster}-2 HTTPS_PORT=8444 make deploy"
            return self._line(WARNING, f"of {self.folder}, which would lose it: {other}")
        return self._line(OK, f"of {self.folder}")

    def _line(self, mark: str, about: str) -> Line:
        found = self.version or ("silent" if self.is_running else "stopped")
        return Line(KIND, mark, f"cluster {self.cluster}", found, about)


def nodes() -> list[Node]:
    """Return the control planes of all clusters.

    :raises Silent: Docker does not say.
    """
    label = (f"label={_CLUSTER}", "label=io.x-k8s.kind.role=control-plane")
    listed = ask("docker", "ps", "--all", "--quiet", "--filter", label[0], "--filter", label[1])
    if not listed.split():
        return []
    try:
        found = [_node(one) for one in json.loads(ask("docker", "inspect", *listed.split()))]
    except (ValueError, LookupError, TypeError):
        raise Silent("not understood") from None
    return sorted(found, key=lambda node: node.container)


def _node(told: dict[str, Any]) -> Node:
    mounts = {mount["Destination"]: mount.get("Source", "") for mount in told["Mounts"]}
    key_file = mounts.get(KEY_FILE, "")
    return Node(
        cluster=str(told["Config"]["Labels"][_CLUSTER]),
        container=str(told["Name"]).lstrip("/"),
        is_running=told["State"]["Status"] == "running",
        api_port=_port(told, "6443/tcp"),
        port=_port(told, "30443/tcp"),
        # Docker Desktop may name the virtual machine's own path
        key_file=Path(key_file.removeprefix("/host_mnt")) if key_file else None,
    )


def _port(told: dict[str, Any], of: str) -> int:
    bound = (told["HostConfig"].get("PortBindings") or {}).get(of) or [{}]
    return int(bound[0].get("HostPort") or 0)


def _has_gone(file: Path) -> bool:
    try:
        file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False  # it is somebody else's to see
    return False


def leftovers(found: Sequence[Node]) -> Iterator[Line]:
    """Tell of the folders whose cluster has gone."""
    there = {node.cluster for node in found}
    folder = ROOT / ".local" / "cluster"
    for state in sorted(folder.iterdir()) if folder.is_dir() else ():
        if state.name not in there:
            about = f"{state.relative_to(ROOT)} is left of it: CLUSTER={state.name} make destroy"
            yield Line(KIND, WARNING, f"cluster {state.name}", "gone", about)
