"""What the node keeps of the Secrets: in memory alone, and never swapped out."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from .engine import Fault, Reading, Sample, Swept, Unreadable, place
from .processes import containers, seen
from .target import Target
from .watch import Process

#: Where the kubelet has a pod's volumes.
PODS: Final = "/var/lib/kubelet/pods"

#: The folders of the kubelet and of containerd.
FOLDERS: Final = ("/var/lib/kubelet", "/var/lib/containerd", "/run/containerd")

#: Prints the folders of the Secret volumes, then the mounts, then the node's swap.
VOLUMES: Final = rf"""
for folder in {PODS}/*/volumes/kubernetes.io~secret/* {PODS}/*/volumes/kubernetes.io~projected/*
do [ -d "$folder" ] && echo "$folder"; done
echo; cat /proc/mounts && echo && cat /proc/swaps
"""

#: Prints the size and the name of every file in some folders, but for images' layers as containerd
#: got them, its blobs from a megabyte on: they stand beside these, unpacked. A folder that went
#: while find was about to enter it is no error; -ignore_readdir_race is about files alone.
LIST: Final = r"""
export LC_ALL=C
layers='*/io.containerd.content.v1.content/blobs/*'
{ errors=$(find "$@" -ignore_readdir_race -xdev -type f ! \( -path "$layers" -size +1023k \) \
    -printf '%s\t%p\0' 2>&1 >&3)
  status=$?; } 3>&1
[ $status = 0 ] || {
  [ $status = 1 ] && ! printf '%s\n' "$errors" | grep -v ': No such file or directory$' >&2
}
"""

#: Prints the names of the files with a match, each with a NUL. Its input is the patterns, then the
#: names of the files to be searched. One that went meanwhile is no error. It takes two thirds of
#: the time of `grep --fixed-strings`, and tells exactly what can't be read.
SEARCH: Final = r"""
use strict; use warnings;
$/ = "\0"; chomp(my ($patterns, @files) = <STDIN>);
my ($any) = map { qr/$_/ } join '|', map quotemeta, split /\n/, $patterns;
for my $name (@files) {
  my ($text, $read) = '';
  open my $file, '<:raw', $name or $!+0 == 2 ? next : die "$name: $!";
  while ($read = sysread $file, $text, 1 << 20, length $text) {
    if ($text =~ $any) { print "$name\0"; last }
    $text = substr $text, -4096 if length $text > 4096;
  }
  defined $read or die "$name: $!";
}
"""

#: Prints those of the files that are core files by their ELF header.
CORES: Final = r"""
$/ = "\0"; chomp(my @files = <STDIN>);
for (@files) {
  open my $file, '<:raw', $_ or $!+0 == 2 ? next : die "$_: $!";
  read $file, my $header, 18; print "$_\0" if $header =~ /^\x7fELF.{12}(\x04\x00|\x00\x04)/s;
}
"""

#: How often a fault is looked for again, and after how many seconds: the kubelet makes a folder
#: before it mounts the volume, and a process sets its limits after it has started.
LOOKS: Final = 3
PAUSE: Final = 1.0

Pod = dict[str, Any]


class Volumes(NamedTuple):
    """The folders of the Secret volumes, the mounts by their folders, and the node's swap."""

    folders: list[str]
    mounts: dict[str, str]
    swap: str


@place("node", "secret volumes")
def secret_volumes(target: Target) -> Reading:
    """The mounts of all Secret and projected volumes: in memory, and never swapped out."""
    pods = running(target)
    found = _volumes(target)
    for _ in range(LOOKS - 1):
        if not list(_exposed(found)):
            break
        time.sleep(PAUSE)
        found = _volumes(target)
    yield Sample("/proc/swaps", found.swap.encode())
    for folder in found.folders:
        yield Sample(folder, found.mounts.get(folder, "").encode())
    yield from _exposed(found)
    stay = {pod["metadata"]["uid"] for pod in running(target)}
    expected = {
        folder for pod in pods if pod["metadata"]["uid"] in stay for folder in _secret_folders(pod)
    }
    if not expected:
        raise Unreadable("no pod of the namespace has a Secret volume")
    if missing := expected - set(found.folders):
        raise Unreadable(f"these volumes are not there: {', '.join(sorted(missing))}")


@place("node", "disks", slow=True)
def disks(target: Target) -> Reading:
    """The files of the kubelet and of containerd on disk, images unpacked, and their names."""
    pods = running(target)
    files = _files(target, FOLDERS)
    _whole(files, pods, {pod["metadata"]["uid"] for pod in running(target)})
    yield Sample("the names of the files", b"\n".join(files))
    # the search can find something: each container's ID stands in its own configuration
    known = next(name for name in _configurations(pods) if name in files)
    patterns = target.needles.lines() + known.split(b"/")[-2] + b"\n"
    names = b"".join(name + b"\0" for name in files)
    found = b"".join(
        target.cluster.node_stream("perl", "-e", SEARCH, stdin=patterns + b"\0" + names)
    )
    named = found.split(b"\0")[:-1]
    if known not in named:
        raise Unreadable("what stands in a file was not found there")
    for name in named:
        yield from _file(target, name.decode())
    yield Swept(len(files) - len(named), sum(files.values()) - sum(files[name] for name in named))


@place("node", "core dumps")
def core_dumps(target: Target) -> Reading:
    """The limit of a core file's size of every process that runs, and files by that name."""
    processes = _processes(target)
    for _ in range(LOOKS - 1):
        if not any(map(_may_dump, processes)):
            break
        time.sleep(PAUSE)
        processes = _processes(target)
    for process in processes:
        where = f"{target.watch.names[process.container]}: {process.pid} ({process.command})"
        limits = ", ".join(process.core_limits)
        yield Sample(f"{where}: limit", limits.encode())
        if _may_dump(process):
            yield Fault(where, f"may leave a core file: its limits are {limits}")
    names = [
        name
        for name in _files(target, (*FOLDERS, *_storage(target)))
        if name.rpartition(b"/")[2].split(b".")[0] == b"core"
    ]
    yield Sample("the names of files named core", b"\n".join(names))
    told = target.cluster.node_stream("perl", "-e", CORES, stdin=b"\0".join(names))
    for name in b"".join(told).split(b"\0")[:-1]:
        yield Fault(name.decode(), "is a core file")


def running(target: Target) -> list[Pod]:
    """Return the pods of the namespace that run."""
    pods = [pod for pod in target.cluster.items("pods") if pod["status"]["phase"] == "Running"]
    if not pods:
        raise Unreadable("no pod runs")
    return pods


def _volumes(target: Target) -> Volumes:
    folders, mounts, swap = target.cluster.node("sh", "-c", VOLUMES).split("\n\n", 2)
    by_folder = {line.split()[1]: line for line in mounts.splitlines()}
    return Volumes(folders.splitlines(), by_folder, swap)


def _exposed(found: Volumes) -> Iterator[Fault]:
    """Give what is wrong with the volumes.

    The kubelet knows `noswap` from Linux 6.4 on; without it, there must be no swap.
    """
    mounts = {folder: found.mounts.get(folder, "- - none -").split() for folder in found.folders}
    knows = any("noswap" in mount[3].split(",") for mount in mounts.values())
    swap = len(found.swap.splitlines()) > 1
    for folder, mount in mounts.items():
        if mount[2] != "tmpfs":
            yield Fault(folder, "lies on a disk: no tmpfs is mounted there")
        elif "noswap" not in mount[3].split(",") and (knows or swap):
            yield Fault(folder, "can be swapped out: its tmpfs lacks noswap")


def _secret_folders(pod: Pod) -> Iterator[str]:
    folder = f"{PODS}/{pod['metadata']['uid']}/volumes"
    for volume in pod["spec"].get("volumes", []):
        if "secret" in volume:
            yield f"{folder}/kubernetes.io~secret/{volume['name']}"
        elif any("secret" in source for source in volume.get("projected", {}).get("sources", [])):
            yield f"{folder}/kubernetes.io~projected/{volume['name']}"


def _files(target: Target, folders: Iterable[str]) -> dict[bytes, int]:
    """Return the sizes of the files in these folders, by their names."""
    told = target.cluster.node_stream("sh", "-c", LIST, "sh", *folders)
    listed = b"".join(told).split(b"\0")[:-1]
    sizes = {name: int(size) for size, _, name in (line.partition(b"\t") for line in listed)}
    for folder in folders:
        if not any(name.startswith(folder.encode() + b"/") for name in sizes):
            raise Unreadable(f"there is no file in {folder}")
    return sizes


def _whole(files: dict[bytes, int], pods: list[Pod], stay: set[str]) -> None:
    """See that what the kubelet and containerd keep of these pods is among the files."""
    remain = [pod for pod in pods if pod["metadata"]["uid"] in stay]
    hosts = [f"{PODS}/{pod['metadata']['uid']}/etc-hosts".encode() for pod in remain]
    if missing := {*hosts, *_configurations(remain)} - set(files):
        raise Unreadable(f"not among the files are {b', '.join(sorted(missing)).decode()}")


def _configurations(pods: list[Pod]) -> list[bytes]:
    """Return the file of each container that runs."""
    return [
        f"/run/containerd/io.containerd.runtime.v2.task/k8s.io/{identity}/config.json".encode()
        for pod in pods
        for identity, status in containers(pod)
        if "running" in status["state"]
    ]


def _file(target: Target, name: str) -> Iterator[Sample | Fault]:
    """Give a file in which something was found."""
    size = 0

    def content() -> Iterator[bytes]:
        nonlocal size
        for chunk in target.cluster.node_file(name):
            size += len(chunk)
            yield chunk

    yield Sample(name, content())
    if not size:
        yield Fault(name, "went away when it was to be read, with something in it")


def _processes(target: Target) -> list[Process]:
    """Return the processes of the namespace's containers, from what they were started with.

    What a probe or an administrator starts in a container has the limits of the container runtime,
    and so have the runtime's own hooks, which end before the container starts.
    """
    ours = [one for one in seen(target) if one.container in target.watch.names]
    by_pid = {(one.container, one.pid): one for one in ours}

    def started(process: Process) -> bool:
        while parent := by_pid.get((process.container, process.parent)):
            process = parent
        return process.first

    # of one that has ended, the last look may have been before it set its limit
    judged = [one for one in ours if (not _may_dump(one) if one.ended else started(one))]
    expected = {
        one
        for pod in running(target)
        for one, status in containers(pod)
        if "running" in status["state"]
    }
    if missing := expected - {process.container for process in judged}:
        names = sorted(target.watch.names.get(identity, identity) for identity in missing)
        raise Unreadable(f"no process was seen of {', '.join(names)}")
    return judged


def _may_dump(process: Process) -> bool:
    return process.core_limits != ("0", "0")


def _storage(target: Target) -> list[str]:
    """Return the folders of the namespace's volumes that are on the node."""
    volumes = json.loads(target.cluster.kubectl("get", "persistentvolumes", "--output", "json"))
    specs = [volume["spec"] for volume in volumes["items"]]
    return [
        spec[kind]["path"]
        for spec in specs
        for kind in ("hostPath", "local")
        if kind in spec and spec.get("claimRef", {}).get("namespace") == target.cluster.namespace
    ]
