"""A PostgreSQL over TCP with the service's roles and tables, and what can happen to it."""

from __future__ import annotations

import secrets
import shutil
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from keeper.database import Login, Server
from keeper.folder_secrets import FolderSecrets
from keeper.keeper import Keeper
from keeper.plan import Plan
from secret_files import Redactor, Secret
from tools.poll import poll
from tools.problem import Problem
from tools.service import free_port

from .place import plan_for
from .postgres import PROGRAMS, Postgres, run

HOST = "127.0.0.1"
#: Another address of this machine, for a server on the same port.
SECOND_HOST = "127.0.0.2"


@dataclass(frozen=True)
class Database:
    """A running server, the folder with its Secrets, and the plan that filled them."""

    server: Server
    administrator: Login
    root: Path
    plan: Plan

    def execute(self, statement: str) -> list[tuple[object, ...]]:
        """Run a statement as the administrator."""
        with self.server.connect(self.administrator) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []


def hurry(server: Server, administrator: Login) -> None:
    """Let a server that nobody keeps wait for no disk, and hash passwords once, not 4,096 times."""
    password = administrator.password.reveal()
    with server.connect(administrator) as connection:
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")
        connection.execute("ALTER ROLE ALL SET scram_iterations = 1")
        connection.execute("SET scram_iterations = 1")
        connection.execute(f"ALTER ROLE {administrator.user} PASSWORD '{password}'".encode())


class OwnServer(Postgres):
    """A server with the roles and tables of the service."""

    def __init__(self, root: Path, of: OwnServer | None = None) -> None:
        self.root = root
        self.password: str = of.password if of else secrets.token_urlsafe(24)
        self.port = of.port if of else free_port()
        self.address = SECOND_HOST if of else HOST
        super().__init__(root / "postgres", "postgres", self.password, self.address)

    @property
    def server(self) -> Server:
        """Return what the keeper connects to, through the Unix socket."""
        return Server(self.host, self.port, "postgres", "disable")

    @property
    def administrator(self) -> Login:
        """Return the administrator's login."""
        return Login("postgres", Secret("password", self.password))

    @property
    def data(self) -> Path:
        """Return PostgreSQL's own directory."""
        return self.root / "postgres" / "data"

    def prepare(self) -> None:
        """Start it, and let the keeper make the roles, the tables and the Secret."""
        self.start()
        objects = FolderSecrets(self.root)
        pair = {"username": "postgres", "password": self.password}
        objects.patch(objects.get("admin"), pair)
        hurry(self.server, self.administrator)
        Keeper(objects, plan_for(self.database.server), Redactor()).run()

    @property
    def database(self) -> Database:
        """Return the service's database on it."""
        server = replace(self.server, database="flask_app")
        return Database(server, self.administrator, self.root, plan_for(server))

    @property
    def settings(self) -> dict[str, str]:
        """Return the environment of a service on it."""
        return {
            "SECRETS_DIR": str(self.root / "secrets"),
            "SECRETS_CHECK_SECONDS": "0",
            "DATABASE_HOST": self.address,
            "DATABASE_PORT": str(self.port),
            "DATABASE_SSLMODE": "disable",
        }

    def execute(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements as the administrator, whatever state the server is in.

        :returns: the rows of the last one.
        """
        server = replace(
            self.database.server,
            require_auth="scram-sha-256,password",
            target_session_attrs="any",
        )
        with server.connect(self.administrator) as connection:
            for statement in statements:
                cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def first_rule(self, rule: str) -> Iterator[None]:
        """Put a line before those of `pg_hba.conf`."""
        file = self.data / "pg_hba.conf"
        before = file.read_text()
        file.write_text(f"{rule}\n{before}")
        try:
            self._reload()
            yield
        finally:
            file.write_text(before)
            self._reload()

    def _reload(self) -> None:
        """Wait until a new session is of a server that has read its configuration again."""
        load_time = "SELECT pg_conf_load_time()"
        before = self.execute(load_time)
        self.execute("SELECT pg_reload_conf()")
        poll(lambda: self.execute(load_time) != before, "PostgreSQL's new configuration", 60, 0)

    @contextmanager
    def standby(self, root: Path) -> Iterator[OwnServer]:
        """Start a server that follows this one, on the same port of another address.

        It ends with the `with` block.
        """
        standby = OwnServer(root, self)
        shutil.copytree(self.root / "secrets", root / "secrets", symlinks=True)
        (root / "postgres").mkdir(parents=True)
        shutil.chown(root / "postgres", self.data.owner(), self.data.group())
        where = f"host={self.host} port={self.port} user=postgres password={self.password}"
        arguments = ["--write-recovery-conf", "--checkpoint=fast", "--no-sync"]
        program = str(PROGRAMS / "pg_basebackup")
        copied = run(program, "--dbname", where, "--pgdata", str(standby.data), *arguments)
        if copied.returncode:
            raise Problem(f"PostgreSQL could not be copied: {copied.stdout}")
        standby.data.chmod(0o700)
        standby.start()
        try:
            yield standby
        finally:
            standby.stop()

    @contextmanager
    def frozen(self, sessions: Sequence[int] | None = None) -> Iterator[None]:
        """Stop some sessions, or every process, while the kernel accepts and acknowledges."""
        if not self._process:
            raise Problem("PostgreSQL does not run")
        postmaster = psutil.Process(self._process.pid)
        processes = [postmaster, *postmaster.children(recursive=True)]
        if sessions is not None:
            processes = [process for process in processes if process.pid in sessions]
        try:
            for process in processes:
                process.send_signal(signal.SIGSTOP)
            yield
        finally:
            for process in processes:
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGCONT)

    def sessions(self) -> list[int]:
        """Return the process ids of the service's sessions."""
        return [pid for pid, _ in self._of_service()]

    def client_ports(self) -> list[int]:
        """Return the ports from which the service is connected."""
        return [port for _, port in self._of_service()]

    def _of_service(self) -> list[tuple[int, int]]:
        """Return the process id and the client's port of each session of the service."""
        sessions = "SELECT pid, client_port FROM pg_stat_activity"
        return self.execute(f"{sessions} WHERE application_name = 'flask-app'")


@contextmanager
def own_server(root: Path) -> Iterator[OwnServer]:
    """Start a server, which ends with the `with` block."""
    server = OwnServer(root)
    try:
        server.prepare()
        yield server
    finally:
        server.stop()


class Address:
    """A TCP address that leads to one of several servers, as a Service or a virtual IP does."""

    def __init__(self, server: OwnServer) -> None:
        self._server = server
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", free_port()))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]

    def lead_to(self, server: OwnServer, cut_off: bool = True) -> None:
        """Lead there from now on; what is open is cut off, or stays."""
        self._server = server
        if cut_off:
            self._cut_off()

    def _cut_off(self) -> None:
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with suppress(OSError):  # the listener's end
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection((self._server.address, self._server.port))
                self._sockets += [near, far]
                for ends in ((near, far), (far, near)):
                    self._threads.append(threading.Thread(target=self._pump, args=ends))
                    self._threads[-1].start()

    @staticmethod
    def _pump(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Address:
        self._threads[0].start()
        return self

    def __exit__(self, *error: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join()
        self._cut_off()
        for thread in self._threads:
            thread.join()
        for one in self._sockets:
            one.close()
