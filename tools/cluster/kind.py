"""The kind cluster: whether it is there, whose it is, and how it is made and removed.

Its Secrets are encrypted at rest, and an audit log says who touches them.
"""

from __future__ import annotations

import base64
import os
import re
import secrets
import shutil
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Final

from tools.doctor.lines import PAGES
from tools.doctor.nodes import KEY_FILE
from tools.problem import Problem
from tools.progress import Progress
from tools.service import listens

from .client import Cluster, CommandError

#: The port of this machine, where no other is named.
PORT: Final = 8443

ENCRYPTION: Final = """\
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
  - resources: [secrets]
    providers:
      - secretbox:
          keys:
            - name: key1
              secret: {key}
"""


def require(cluster: Cluster, *programs: str) -> None:
    """See that programs are there, and that Docker answers, before anything is changed.

    :raises Problem: otherwise; it names every missing program, with its install page.
    """
    if missing := [program for program in programs if not shutil.which(program)]:
        raise Problem("\n".join(f"{name} is missing: {PAGES[name]}" for name in missing))
    if not _docker_answers(cluster):
        raise Problem("Docker does not answer: start it, and see that `docker info` works.")


def _docker_answers(cluster: Cluster) -> bool:
    return cluster.complete("docker", "info").returncode == 0


def quietly(cluster: Cluster, *command: str) -> None:
    """Run a command that talks too much.

    :raises Problem: it failed; the message is all that it said.
    """
    done = cluster.complete(*command)
    if done.returncode:
        raise Problem((done.stdout + done.stderr).strip() or f"{command[0]} does not say why")


def exists(cluster: Cluster) -> bool:
    """Tell whether there is a cluster of this name, whoever made it."""
    return cluster.name in _names(cluster)


def _names(cluster: Cluster) -> list[str]:
    try:
        return cluster.run("kind", "get", "clusters").splitlines()
    except CommandError:
        why = "kind does not say which clusters there are: try `kind get clusters`."
        raise Problem(why) from None


def foreign_owner(cluster: Cluster) -> str:
    """Return in words who else made it; "" if this folder did, or one that has gone since.

    The node has a file of that folder mounted.

    :raises Problem: Docker does not say.
    """
    is_it = '{{ if eq .Destination "' + KEY_FILE + '" }}'
    form = "{{ range .Mounts }}" + is_it + "{{ .Source }}{{ end }}{{ end }}"
    try:
        file = cluster.run("docker", "inspect", "--format", form, cluster.control_plane).strip()
    except CommandError:
        raise Problem(f"Docker does not say who made the cluster {cluster.name}.") from None
    if not file:
        return "something else than `make deploy`"
    # Docker Desktop has this machine's folders in one of its own
    file = file.removeprefix("/host_mnt")
    folder = Path(file.rpartition("/.local/cluster/")[0] or file)
    is_foreign = folder.is_dir() and not folder.samefile(cluster.root)
    return f"the folder {folder}" if is_foreign else ""


def is_own(cluster: Cluster) -> bool:
    """Tell whether there is one of this folder's; where a program is missing, there is none."""
    return (
        all(map(shutil.which, ("docker", "kind", "kubectl")))
        and _docker_answers(cluster)
        and exists(cluster)
        and not foreign_owner(cluster)
    )


def take_kubeconfig(cluster: Cluster) -> None:
    """Write the kubeconfig, of which the folder that made the cluster may have had the only one."""
    cluster.state.mkdir(parents=True, exist_ok=True)
    quietly(cluster, *_kind(cluster, "export", "kubeconfig"))


def ensure_kubeconfig(cluster: Cluster) -> None:
    """Write the kubeconfig, where there is none."""
    if not (cluster.state / "kubeconfig").exists():
        take_kubeconfig(cluster)


def _kind(cluster: Cluster, *command: str) -> list[str]:
    # a kubeconfig of its own: the user's, and its current context, are never touched
    kubeconfig = str(cluster.state / "kubeconfig")
    return ["kind", *command, "--name", cluster.name, "--kubeconfig", kubeconfig]


def https_port(cluster: Cluster) -> str:
    """Return the port of this machine that leads to the service."""
    mapped = cluster.run("docker", "port", cluster.control_plane, "30443/tcp")
    return mapped.partition("\n")[0].rpartition(":")[2]


def create(cluster: Cluster, progress: Progress) -> None:
    """Make the cluster, or see that the one that is there can be used.

    :raises Problem: it can't be, or it can't be made; half a cluster is removed again.
    """
    require(cluster, "docker", "kind", "kubectl")
    if exists(cluster):
        _see_that_it_fits(cluster)
        take_kubeconfig(cluster)
        return
    port = _asked_port(cluster)
    if listens(port):
        free = f"`CLUSTER={cluster.name} HTTPS_PORT={_free_port(port + 1)} make deploy`"
        raise Problem(f"Port {port} is taken: choose another one, as in {free}.")
    with progress.step(f"create the cluster {cluster.name}"):
        cluster.state.mkdir(parents=True, exist_ok=True)
        _ensure_encryption_key(cluster.state / "encryption.yaml")
        config = cluster.state / "kind-config.yaml"
        config.write_text(_configuration(cluster, port))
        image = os.environ.get("KIND_NODE_IMAGE")
        options = ["--config", str(config), *(["--image", image] if image else []), "--wait=120s"]
        try:
            quietly(cluster, *_kind(cluster, "create", "cluster"), *options)
        except BaseException:
            # half a cluster would look like a whole one the next time
            _remove_half(cluster)
            raise


def _see_that_it_fits(cluster: Cluster) -> None:
    if owner := foreign_owner(cluster):
        port = _free_port(_asked_port(cluster) + 1)
        own = f"`CLUSTER={_free_name(cluster)} HTTPS_PORT={port} make deploy`"
        made = f"The cluster {cluster.name} was made by {owner}"
        raise Problem(f"{made}: make one of your own, as in {own}.")
    mapped = https_port(cluster)
    if cluster.port not in ("", mapped):
        way = "`make destroy`, then again"
        is_on = f"The cluster {cluster.name} is on port {mapped}"
        raise Problem(f"{is_on}, which can't be changed: {way}.")


def _remove_half(cluster: Cluster) -> None:
    """Remove what was begun; another folder may have been quicker, and made it."""
    owner = ""
    with suppress(Problem):
        owner = foreign_owner(cluster)
    if not owner:
        cluster.complete(*_kind(cluster, "delete", "cluster"))


def _ensure_encryption_key(file: Path) -> None:
    """Make a key that only its owner can read; it is never an argument, which others could see."""
    # never made twice: without the one that it has, a cluster can't read its Secrets
    if not file.exists():
        descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with open(descriptor, "w") as output:
            key = base64.b64encode(secrets.token_bytes(32)).decode()
            output.write(ENCRYPTION.format(key=key))


def _configuration(cluster: Cluster, port: int) -> str:
    """Return kind-config.yaml with this cluster's folder, port, and pace of the kubelet."""
    text = (cluster.root / "kind-config.yaml").read_text("utf-8")
    text = text.replace(".local/cluster/flask-app/", f".local/cluster/{cluster.name}/")
    text = text.replace(f"hostPort: {PORT}", f"hostPort: {port}")
    pace = os.environ.get("SYNC_FREQUENCY") or "2s"
    return re.sub(r"syncFrequency: .*", f"syncFrequency: {pace}", text)


def destroy(cluster: Cluster) -> None:
    """Remove the cluster, and what belongs to it; again, it does nothing.

    :raises Problem: somebody else made it.
    """
    require(cluster, "docker", "kind")
    if exists(cluster) and (owner := foreign_owner(cluster)):
        folder = owner.removeprefix("the folder ")
        way = f"`kind delete cluster --name {cluster.name}`"
        if folder != owner:
            way = f"`make -C '{folder}' destroy CLUSTER={cluster.name}`"
        raise Problem(f"The cluster {cluster.name} was made by {owner}: to remove it, {way}.")
    quietly(cluster, *_kind(cluster, "delete", "cluster"))
    if cluster.state.exists():
        shutil.rmtree(cluster.state)


def _asked_port(cluster: Cluster) -> int:
    port = cluster.port or str(PORT)
    if not re.fullmatch("[0-9]{1,5}", port) or not 0 < int(port) < 65536:
        raise Problem(f"HTTPS_PORT must be a port's number, not {port!r}.")
    return int(port)


def _free_port(port: int) -> int:
    """Return the first port from this one on that nobody listens on."""
    while port < 65535 and listens(port):
        port += 1
    return port


def _free_name(cluster: Cluster) -> str:
    """Return a name that no cluster has: this one's, with a number behind it."""
    taken, name = _names(cluster), re.sub("-[0-9]$", "", cluster.name)
    return next(f"{name}-{n}" for n in count(2) if f"{name}-{n}" not in taken)
