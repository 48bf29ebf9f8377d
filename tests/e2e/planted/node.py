"""Leaks onto the disks of the node."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from tools.leakscan.node import PODS
from tools.leakscan.target import Target

from . import plants
from .pods import pod, write

#: Long enough to be a core file, and nothing else.
CORE: Final = "\x7fELF\x02\x01\x01" + "\0" * 9 + "\x04\0"

#: Gives a file another name. Both are its input, not arguments, and none is opened.
RENAME: Final = r"""chomp(my ($from, $to) = <STDIN>); rename $from, $to or die "$!\n";"""


@plants("node: secret volumes", fault="/planted-on-disk: lies on a disk")
def on_disk(target: Target, _: str) -> Iterator[None]:
    """A folder of a Secret volume that is no mount."""
    folder = f"{_folder(target)}/volumes/kubernetes.io~secret/planted-on-disk"
    target.cluster.node("mkdir", folder)
    try:
        yield
    finally:
        target.cluster.node("rmdir", folder)


@plants("node: secret volumes", fault="/planted-swappable: can be swapped out")
def swappable(target: Target, _: str) -> Iterator[None]:
    """One that is mounted without `noswap`."""
    folder = f"{_folder(target)}/volumes/kubernetes.io~secret/planted-swappable"
    target.cluster.node("mkdir", folder)
    try:
        target.cluster.node("mount", "-t", "tmpfs", "-o", "size=4k", "none", folder)
        yield
    finally:
        target.cluster.node("sh", "-c", 'umount "$1"; rmdir "$1"', "sh", folder)


@plants("node: disks")
def kubelet(target: Target, canary: str) -> Iterator[None]:
    """A file in an empty volume of a pod."""
    text = base64.b64encode(f"password={canary}".encode()).decode()
    file = f"{_folder(target)}/volumes/kubernetes.io~empty-dir/planted"
    with _file(target, file, text):
        yield


@plants("node: disks")
def file_name(target: Target, canary: str) -> Iterator[None]:
    """The name of a file of containerd, which no process has opened by that name."""
    name = hashlib.sha1(canary.encode(), usedforsecurity=False).hexdigest()
    names = ("/run/containerd/planted", f"/run/containerd/{name}")
    with _file(target, names[0], ""):
        target.cluster.node("perl", "-e", RENAME, stdin="\n".join(names))
        try:
            yield
        finally:
            target.cluster.node("perl", "-e", RENAME, stdin="\n".join(reversed(names)))


@plants("node: disks")
def writable_layer(target: Target, canary: str) -> Iterator[None]:
    """A file that a container wrote into what it has of its image."""
    with pod(target, "planted-layer", "ulimit -c 0; exec sleep 600"):
        write(target, "planted-layer", "/tmp/planted", canary)
        yield


@plants("node: core dumps", fault="pod planted-unlimited: .* may leave a core file")
def unlimited(target: Target, _: str) -> Iterator[None]:
    """A pod that sets no limit."""
    with pod(target, "planted-unlimited", "exec sleep 600"):
        yield


@plants("node: core dumps", fault="/core.1: is a core file")
def core(target: Target, _: str) -> Iterator[None]:
    """A core file in the folder of a pod."""
    file = f"{_folder(target)}/volumes/kubernetes.io~empty-dir/core.1"
    with _file(target, file, CORE):
        yield


def _folder(target: Target) -> str:
    """Return the kubelet's folder of the database's pod, which stays as it is."""
    pod = target.cluster.objects("pods", "app.kubernetes.io/component=database")[0]
    return f"{PODS}/{pod['metadata']['uid']}"


@contextmanager
def _file(target: Target, name: str, text: str) -> Iterator[None]:
    # it is told how to find the name in its input, not on its command line
    write = 'IFS= read -r name && cat > "$name"'
    remove = 'IFS= read -r name && rm "$name"'
    target.cluster.node("sh", "-c", write, stdin=f"{name}\n{text}")
    try:
        yield
    finally:
        target.cluster.node("sh", "-c", remove, stdin=f"{name}\n")
