"""Programs on a terminal, as a person runs them, and what that person then sees."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

#: How long a program may take to write something that is awaited, or to end, in seconds.
LIMIT = 30
PAUSE = 0.1
#: How long a signal may take until what it was for has gone, in seconds.
DYING = 0.5

CTRL_C = b"\x03"

#: What moves the cursor or erases, and what gives colours.
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


#: What has a terminal in real life: a shell, which is there before a program and after it.
SHELL = 'trap : INT; "$@"; echo $? >"/dev/fd/$STATUS"; read -r _'


class Terminal:
    """A program that runs on a terminal of its own.

    :param shell: what runs it.
    :param ours: our side of the terminal.
    :param status: where the program's exit status can be read when it has ended.
    """

    def __init__(self, shell: subprocess.Popen[bytes], ours: int, status: int) -> None:
        self._shell = shell
        self._ours = ours
        self._status = status
        #: All that was written, with what moves the cursor.
        self.written = ""

    def press(self, keys: bytes) -> None:
        """Press keys, as `CTRL_C`."""
        os.write(self._ours, keys)

    def wait_for(self, pattern: str) -> None:
        """Wait until it wrote something that a regular expression finds."""
        deadline = time.monotonic() + LIMIT
        while not re.search(pattern, self.written):
            assert time.monotonic() < deadline, f"not written: {pattern} in {self.written!r}"
            assert self._read() or not self._has_ended(), self.written

    def wait_for_program(self, command: str) -> None:
        """Wait until this command runs in its session: a shell that begins one loses a Ctrl-C."""
        deadline = time.monotonic() + LIMIT
        while command not in self._running():
            assert time.monotonic() < deadline, f"{command!r} does not run: {self.written!r}"
            self._read()

    def end(self) -> int:
        """Wait until it has ended, and return its exit status as a shell sees it."""
        deadline = time.monotonic() + LIMIT
        while not self._has_ended():
            assert time.monotonic() < deadline, f"it does not end: {self.written!r}"
            self._read()
        while self._read():
            pass
        return int(os.read(self._status, 10))

    def left_over(self) -> list[str]:
        """Return the commands of its session that still run, when the signal had its time."""
        deadline = time.monotonic() + DYING
        while (found := self._running()) and time.monotonic() < deadline:
            time.sleep(0.02)
        return found

    def _running(self) -> list[str]:
        return [
            " ".join(one.info["cmdline"] or [one.info["name"]])
            for one in psutil.process_iter(["pid", "name", "cmdline", "status"])
            if one.info["status"] != psutil.STATUS_ZOMBIE
            and one.pid != self._shell.pid
            and _session(one.pid) == self._shell.pid
        ]

    def screen(self) -> list[str]:
        """Return the lines as they stand there in the end."""
        return [shown(line) for line in self.written.replace("\r\n", "\n").split("\n")]

    def _has_ended(self) -> bool:
        return bool(select.select([self._status], [], [], 0)[0])

    def _read(self) -> bool:
        """Take what was written, and wait a moment for it; tell whether there was anything."""
        if not select.select([self._ours], [], [], PAUSE)[0]:
            return False
        more = os.read(self._ours, 1 << 16)
        self.written += more.decode()
        return bool(more)


@contextmanager
def terminal(
    command: Sequence[str | Path], cwd: Path, env: Mapping[str, str], columns: int = 80
) -> Iterator[Terminal]:
    """Run a command on a terminal that is so wide, until the end of the `with` statement."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    status, told = os.pipe()

    def take() -> None:
        # so that Ctrl-C reaches it
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    try:
        with subprocess.Popen(
            ["/bin/sh", "-c", SHELL, "sh", *command],
            cwd=cwd,
            env={"TERM": "xterm", **env, "STATUS": str(told)},
            stdin=its,
            stdout=its,
            stderr=its,
            pass_fds=[told],
            start_new_session=True,
            preexec_fn=take,
        ) as shell:
            os.close(told)
            try:
                yield Terminal(shell, ours, status)
            finally:
                # the kernel tells all that run there
                shell.kill()
    finally:
        for one in (ours, its, status):
            os.close(one)


def shown(line: str) -> str:
    """Return what is seen of a line that was written over itself."""
    cells: list[str] = []
    cursor = 0
    for part in re.findall(r"\r|\x1b\[K|\x1b\[[0-9;]*m|.", line):
        if part == "\r":
            cursor = 0
        elif part == "\x1b[K":
            del cells[cursor:]
        elif len(part) == 1:
            assert part.isprintable(), f"{part!r} in {line!r}"
            cells[cursor : cursor + 1] = part
            cursor += 1
    return "".join(cells).rstrip()


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except (ProcessLookupError, PermissionError):
        return 0
