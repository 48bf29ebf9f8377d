"""A shell in which somebody follows a page, and what its commands print there."""

from __future__ import annotations

import os
import secrets
import shlex
import signal
import subprocess
import threading
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType

from tools.cluster.client import ROOT, Cluster

#: How long the commands of one block may take, in seconds.
LIMIT = 900

#: Each command that fails is told, not the last one alone. In a pipe it is the last that counts.
PREPARE = "set -o errtrace; trap 'failed_here=${failed_here:-$BASH_COMMAND}' ERR\n"


class Shell:
    """A bash in the project's folder, from the `with` statement to its end.

    What pages call the cluster and its port is replaced by the name and port of this one.

    :param replaced: other words of a page, and what stands for them.
    """

    def __init__(self, cluster: Cluster, replaced: Mapping[str, str] | None = None) -> None:
        self._replaced = {
            ".local/cluster/flask-app/": f".local/cluster/{cluster.name}/",
            "https://localhost:8443": f"https://localhost:{cluster.port}",
            **(replaced or {}),
        }
        self._environment = cluster.environment()
        self._end = secrets.token_hex(8)

    def __enter__(self) -> Shell:
        """Start it, with its children in a group of their own."""
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
            env=self._environment,
            start_new_session=True,
        )
        self._write(PREPARE)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End it, with all that it has started."""
        self._kill()
        self._bash.communicate()

    def run(self, commands: str) -> str:
        """Run the commands of a page, and return what they print.

        :raises AssertionError: one of them failed, or all of them took too long.
        """
        for word, here in self._replaced.items():
            commands = commands.replace(word, here)
        # in this very shell, but what it is about to read is not for them
        self._write(
            f"failed_here=; eval {shlex.quote(commands)} </dev/null\n"
            f'printf "\\n%s %s\\n" {self._end} "$failed_here"\n'
        )
        shown, failed = self._read()
        assert not failed, f"{failed}\nfailed in\n{commands}\nwhich printed\n{shown}"
        return shown

    def _read(self) -> tuple[str, str]:
        """Return what is printed until the end of the commands, and the first that failed."""
        assert self._bash.stdout
        timer = threading.Timer(LIMIT, self._kill)
        timer.start()
        try:
            shown = ""
            for line in self._bash.stdout:
                if line.startswith(self._end):
                    return shown[:-1], line.removeprefix(self._end).strip()
                shown += line
        finally:
            timer.cancel()
        raise AssertionError(f"the shell ended, or took too long. It printed\n{shown}")

    def _write(self, text: str) -> None:
        assert self._bash.stdin
        self._bash.stdin.write(text)
        self._bash.stdin.flush()

    def _kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._bash.pid, signal.SIGKILL)
