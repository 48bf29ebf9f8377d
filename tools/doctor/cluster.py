"""What `make deploy` and `make e2e` need, and the kind clusters that there are."""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from .lines import GB, GIB, KIND, MISSING, OK, PAGES, WARNING, Line, Silent, ask, numbers, tool
from .lines import version as version_in
from .nodes import Node, leftovers, nodes
from .ports import own_cluster, port_line, why_not

#: Measured: the node image takes 1.6 GB, its volume 3.4, the service's and the database's 1.1.
DISK: Final = 7
#: Measured: a node with the release on it takes 1.2 GiB, and 2.1 in the e2e tests.
MEMORY: Final = 3
#: What kind recommends.
INOTIFY: Final = {"max_user_watches": 524_288, "max_user_instances": 512}
PROC: Final = Path("/proc/sys/fs/inotify")
INOTIFY_PAGE: Final = "https://kind.sigs.k8s.io/docs/user/known-issues/"

#: What one processor is called by Python, and by Docker's images.
ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}


def cluster() -> Iterator[Line]:
    """Tell of the programs, of Docker's engine, and of each cluster."""
    info = docker_info()
    found: list[Node] = []
    trouble = None
    if info.get("ServerVersion"):
        try:
            found = nodes()
        except Silent as silent:
            trouble = Line(KIND, WARNING, "clusters", str(silent), "try `docker ps --all`")
    yield from _docker(info, any(node.cluster == own_cluster() for node in found))
    yield tool(KIND, "kind", "kind", "version", about="makes the cluster")
    yield _kubectl(found)
    yield _helm()
    yield from _ports(found)
    if platform.system() == "Linux":
        yield from _inotify()
    if trouble:
        yield trouble
    elif info.get("ServerVersion"):
        yield from (node.line() for node in found)
        yield from leftovers(found)


def docker_info() -> Mapping[str, Any]:
    """Return what Docker's engine tells of itself; nothing, where it does not answer."""
    try:
        info = json.loads(ask("docker", "info", "--format", "{{json .}}"))
    except (Silent, ValueError):
        return {}
    return info if isinstance(info, dict) else {}


def _docker(info: Mapping[str, Any], has_cluster: bool) -> Iterator[Line]:
    """Tell of the program, its builder, and the engine."""
    docker = tool(KIND, "docker", "docker", "--version", about="the image, and the cluster's node")
    yield docker
    if docker.mark != OK:
        return
    yield tool(KIND, "buildx", "docker", "buildx", "version", about="docker build")
    if not info.get("ServerVersion"):
        about = "start Docker, and see that `docker info` works"
        yield Line(KIND, MISSING, "engine", "no answer", about)
        return
    yield Line(KIND, OK, "engine", str(info["ServerVersion"]), str(info.get("OperatingSystem")))
    yield _memory(info)
    yield from _disk(info, has_cluster)
    yield _architecture(info)
    yield _cgroup(info)


def _memory(info: Mapping[str, Any]) -> Line:
    memory, processors = info.get("MemTotal", 0) / GIB, info.get("NCPU", 0)
    found = f"{memory:.1f} GiB, {processors} CPUs"
    if memory < MEMORY or processors < 2:
        about = f"give Docker {MEMORY} GiB and 2 CPUs (in Docker Desktop: Settings, Resources)"
        return Line(KIND, WARNING, "memory", found, about)
    return Line(KIND, OK, "memory", found, f"{MEMORY} GiB: a node takes 1.2, in tests 2.1")


def _disk(info: Mapping[str, Any], has_cluster: bool) -> Iterator[Line]:
    """Tell of the disk that holds images and nodes, where it is this machine's."""
    try:
        free = shutil.disk_usage(str(info.get("DockerRootDir"))).free / GB
    except OSError:
        return  # it stands in a virtual machine, which does not tell
    found = f"{free:.1f} GB free"
    if free < DISK and not has_cluster:
        about = f"{DISK} GB for the images and the node: `docker system df` shows what takes it"
        yield Line(KIND, WARNING, "disk", found, about)
        return
    yield Line(KIND, OK, "disk", found, f"{DISK} GB for the images and the node")


def _architecture(info: Mapping[str, Any]) -> Line:
    """Tell whether something would be emulated: the images are there for amd64 and arm64."""
    said, asked = str(info.get("Architecture")), os.environ.get("DOCKER_DEFAULT_PLATFORM", "")
    engine, here = ARCHITECTURES.get(said, said), platform.machine()
    own = ARCHITECTURES.get(here, here)
    if asked and asked.split("/")[1:2] != [engine]:
        about = f"DOCKER_DEFAULT_PLATFORM asks for emulation: unset it, or make it linux/{engine}"
        return Line(KIND, WARNING, "processor", engine, about)
    if engine not in ARCHITECTURES.values():
        about = "the images are for amd64 and arm64"
        return Line(KIND, MISSING, "processor", engine, about)
    if own != engine:
        about = f"this is {own}: emulated, or Python is (Rosetta); minutes become many"
        return Line(KIND, WARNING, "processor", engine, about)
    return Line(KIND, OK, "processor", engine, "the images are for amd64 and arm64")


def _cgroup(info: Mapping[str, Any]) -> Line:
    found = f"v{info.get('CgroupVersion')}"
    if found != "v2":
        about = "Kubernetes 1.35 and later may not start: use a Linux with cgroup v2"
        return Line(KIND, WARNING, "cgroup", found, about)
    return Line(KIND, OK, "cgroup", found, "limits of containers")


def _kubectl(found: Sequence[Node]) -> Line:
    """Tell of kubectl, which may be one minor version apart from the API server."""
    about = "asks the cluster"
    try:
        said = json.loads(ask("kubectl", "version", "--client", "--output", "json"))
        own = str(said["clientVersion"]["gitVersion"])
    except Silent as silent:
        return Line(KIND, MISSING, "kubectl", str(silent), f"{about}: {PAGES['kubectl']}")
    except (ValueError, LookupError, TypeError):
        return Line(KIND, WARNING, "kubectl", "of unknown version", f"{about}: {PAGES['kubectl']}")
    server = next((node.version for node in found if node.cluster == own_cluster()), "")
    minors = [numbers(one)[1:2] for one in (own, server)]
    if all(minors) and abs(minors[0][0] - minors[1][0]) > 1:
        about = f"the cluster is {server}, and one minor apart is allowed: {PAGES['kubectl']}"
        return Line(KIND, WARNING, "kubectl", version_in(own), about)
    return Line(KIND, OK, "kubectl", version_in(own), about)


def _helm() -> Line:
    command = ("helm", "version", "--template", "{{.Version}}")
    line = tool(KIND, "helm", *command, about="the release")
    if line.mark == OK and numbers(line.found)[:1] not in ((3,), (4,)):
        return Line(KIND, MISSING, "helm", line.found, f"3 or 4: {PAGES['helm']}")
    return line


def _ports(found: Sequence[Node]) -> Iterator[Line]:
    holders = {node.port: f"cluster {node.cluster}" for node in found if node.is_running}
    yield port_line(KIND, "HTTPS_PORT", 8443, "make deploy", holders)
    holder = holders.get(9443, "") or why_not(9443)
    if holder in ("", "cluster flask-app-e2e"):
        yield Line(KIND, OK, "port 9443", holder or "free", "make e2e")
    else:
        yield Line(KIND, WARNING, "port 9443", holder, "make e2e needs it: end what has it")


def _inotify() -> Iterator[Line]:
    """Tell of the limits that several nodes on one Linux reach first."""
    for name, recommended in INOTIFY.items():
        try:
            limit = int((PROC / name).read_text())
        except (OSError, ValueError):
            continue
        about = f"{recommended} for several clusters"
        if limit < recommended:
            about += f": sysctl fs.inotify.{name}={recommended}, {INOTIFY_PAGE}"
        yield Line(KIND, OK if limit >= recommended else WARNING, name, str(limit), about)
