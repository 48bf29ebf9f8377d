"""Sees the processes on the node, also of pods that come and go."""

from __future__ import annotations

import re
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, Final, Self

from tools.cluster.client import Cluster
from tools.poll import poll

from .engine import Unreadable

#: Prints a frame for each process that is new, was replaced (exec) or has changed: a young one is
#: read again soon, an old one every 2 seconds. A short frame tells that one has ended, an empty one
#: ends each round. It ends with its input, as nobody kills what `docker exec` has started.
FOLLOW: Final = r"""
use strict; use warnings;
binmode STDOUT; my %known;
sub text {
  my ($path, $read, $text) = (shift, 0, '');
  open my $file, '<:raw', $path or die $!+0, "\n";
  while ($read = sysread $file, $text, 65536, length $text) {}
  defined $read or die $!+0, "\n";
  $text;
}
sub stat_of { my $text = text("/proc/$_[0]/stat"); $text =~ /\((.*)\) (.*)/s; ($1, split ' ', $2) }
sub files {
  opendir my $folder, "/proc/$_[0]/fd" or die $!+0, "\n";
  my %names = map { $_ => 1 } grep { defined and !/^(socket|pipe|anon_inode):/ }
    map { readlink "/proc/$_[0]/fd/$_" } grep { !/^\./ } readdir $folder;
  my $maps = text("/proc/$_[0]/maps");
  $names{$1} = 1 while $maps =~ /^(?:\S+ +){5}([^\[\s].*)$/mg;
  join "\0", sort keys %names;
}
sub all {
  my ($pid, $parent, $core) = (@_, '');
  my $status = text("/proc/$pid/status");
  my ($inner) = $status =~ /^NSpid:.*?(\d+)$/m;
  $core = $1 if text("/proc/$pid/limits") =~ /^Max core file size +(\S+ +\S+)/m;
  ($parent, $inner, text("/proc/$pid/cgroup"), $core, text("/proc/$pid/environ"),
   text("/proc/$pid/cmdline"), files($pid));
}
while (1) {
  my ($now) = split ' ', text('/proc/uptime'); my %here;
  opendir my $folder, '/proc' or die; my @pids = grep { /^\d+$/ } readdir $folder;
  for my $pid (@pids) {
    my ($comm, @stat) = eval { stat_of($pid) };
    unless (@stat) { next if $@+0 == 2 or $@+0 == 3; die }
    my ($started, $image) = ($stat[19], "$comm $stat[25] $stat[47]");
    my $one = $known{$pid};
    $one = {started => $started, first => $now, read => 0, sent => ''}
      unless $one and $one->{started} == $started;
    $here{$pid} = $one;
    my $pace = $one->{read} - $one->{first}; $pace = 2 if $pace > 2;
    next if $one->{read} and $one->{image} eq $image and $now - $one->{read} < $pace;
    @$one{qw(read image)} = ($now, $image);
    my @fields = eval { all($pid, $stat[1]) }; my $error = $@ ? $@+0 : 0;
    next if $error == 2 or $error == 3; # it has ended
    my $frame = pack '(N/a*)*', $pid, $started, $comm, $error, @fields;
    next if $frame eq $one->{sent};
    $one->{sent} = $frame; print pack 'N/a*', $frame;
  }
  for (keys %known) {
    print pack 'N/a*', pack '(N/a*)*', $_, $known{$_}{started}
      unless $here{$_} and $here{$_} == $known{$_};
  }
  %known = %here; print pack 'N', 0; $| = 1; $| = 0;
  vec(my $input = '', fileno STDIN, 1) = 1;
  exit if select $input, undef, undef, 0.1;
}
"""

#: A pod's cgroup, with either driver; and that of a container within it.
POD: Final = re.compile(rb"pod([0-9a-f]{8}[0-9a-f_-]{24,28})")
CONTAINER: Final = re.compile(rb"pod[^\n]*?([0-9a-f]{64})")

#: How long a round may take, in seconds; and how often it is looked whether one is over.
ROUND: Final = 20
PAUSE: Final = 0.05


@dataclass
class Process:
    """What was seen of a process in its whole life; of its limits and cgroup, the last."""

    pid: int
    command: str = ""
    parent: int = 0
    #: The UID of its pod and the ID of its container; empty for one of the node.
    pod: str = ""
    container: str = ""
    #: Whether it is the one that the container was started with.
    first: bool = False
    ended: bool = False
    #: The soft and the hard limit of a core file's size.
    core_limits: tuple[str, ...] = ()
    environs: set[bytes] = field(default_factory=set, repr=False)
    cmdlines: set[bytes] = field(default_factory=set, repr=False)
    files: set[bytes] = field(default_factory=set, repr=False)

    def update(self, fields: list[bytes]) -> None:
        """Take what is known now."""
        command, parent, inner, cgroup, core, environ, cmdline, files = fields
        self.command = command.decode(errors="replace")
        self.parent = int(parent)
        pod, container = POD.search(cgroup), CONTAINER.search(cgroup)
        self.pod = pod[1].decode().replace("_", "-") if pod else ""
        self.container = container[1].decode() if container else ""
        self.first = inner == b"1"
        self.core_limits = tuple(core.decode().split())
        self.environs.add(environ)
        self.cmdlines.add(cmdline)
        self.files.update(files.split(b"\0"))


class Watch:
    """Follows the node's processes, from the `with` statement to its end.

    They stay known after they ended. One that lives for less than 0.2 seconds can be missed.
    """

    def __init__(self, cluster: Cluster) -> None:
        #: What the containers are called, by their ID.
        self.names: dict[str, str] = {}
        #: The Jobs that were started to be seen, which are to be removed.
        self.jobs: list[str] = []
        self._cluster = cluster
        self._processes: dict[tuple[int, bytes], Process] = {}
        self._refused: dict[tuple[int, bytes], str] = {}
        self._rounds = 0
        self._lock = threading.Lock()
        self._once: dict[str, Future[None]] = {}

    def __enter__(self) -> Self:
        command = ("docker", "exec", "--interactive", self._cluster.control_plane)
        self._follower = subprocess.Popen(
            [*command, "perl", "-e", FOLLOW], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._thread = threading.Thread(target=self._read)
        self._thread.start()
        try:
            self.processes()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        assert self._follower.stdin
        with suppress(BrokenPipeError):
            self._follower.stdin.close()
        self._thread.join()
        # closes its output
        with self._follower:
            pass

    def processes(self) -> list[Process]:
        """Return all processes that were seen, up to this moment.

        :raises Unreadable: there is one that can't be read, or it sees nothing any more.
        """
        # the round of this moment may have passed a process before it was there
        until = self._rounds + 2
        self._wait(lambda: self._rounds >= until, ROUND, "a round of all processes")
        with self._lock:
            if self._refused:
                raise Unreadable("; ".join(sorted(self._refused.values())))
            return list(self._processes.values())

    def until_seen(self, identity: str, seconds: float) -> None:
        """Wait until a process of a pod or of a container was seen.

        :param identity: the pod's UID, or the container's ID.
        :raises PollTimeout: there was none.
        :raises Unreadable: it sees nothing any more.
        """
        name = self.names.get(identity, identity)
        self._wait(lambda: self._seen(identity), seconds, f"a process of {name}")

    def once(self, key: str, do: Callable[[], None]) -> None:
        """Do something, unless it was done; who asks meanwhile waits, and has the same error."""
        with self._lock:
            asked = key in self._once
            future = self._once.setdefault(key, Future())
        if not asked:
            try:
                do()
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(None)
        future.result()

    def _seen(self, identity: str) -> bool:
        with self._lock:
            return any(identity in (one.pod, one.container) for one in self._processes.values())

    def _wait(self, done: Callable[[], bool], seconds: float, what: str) -> None:
        def is_done() -> bool:
            if done():
                return True
            if not self._thread.is_alive():
                raise Unreadable(
                    f"the node's processes are not followed any more: {what} is awaited"
                )
            return False

        poll(is_done, what, seconds, PAUSE)

    def _read(self) -> None:
        assert self._follower.stdout
        for frame in _frames(self._follower.stdout):
            with self._lock:
                if frame:
                    self._take(list(_parts(frame)))
                else:
                    self._rounds += 1

    def _take(self, fields: list[bytes]) -> None:
        key = int(fields[0]), fields[1]
        if len(fields) == 2:
            if ended := self._processes.get(key):
                ended.ended = True
            return
        command, error, *rest = fields[2:]
        if error != b"0":
            self._refused[key] = f"process {key[0]} ({command.decode()}): error {int(error)}"
            return
        self._refused.pop(key, None)
        self._processes.setdefault(key, Process(key[0])).update([command, *rest])


def _frames(stream: IO[bytes]) -> Iterator[bytes]:
    while len(length := stream.read(4)) == 4:
        yield stream.read(*struct.unpack(">I", length))


def _parts(frame: bytes) -> Iterator[bytes]:
    place = 0
    while place < len(frame):
        (length,) = struct.unpack_from(">I", frame, place)
        yield frame[place + 4 : place + 4 + length]
        place += 4 + length
