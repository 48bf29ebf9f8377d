"""A PostgreSQL of a test's own, over TCP, which the test may freeze, cut off or fail over."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from app.keeper.database import Login, Server
from app.keeper.folder_secrets import FolderSecrets
from app.keeper.keeper import Keeper
from app.secret_files import Redactor, Secret
from local.postgres import PROGRAMS, Postgres, _run
from tests.integration.conftest import Database, hurry, plan_for
from tests.integration.service import free_port

HOST = "127.0.0.1"
#: Another address of this machine, for a server on the same port.
SECOND_HOST = "127.0.0.2"


class OwnServer(Postgres):
    """A server with the roles and tables of the service."""

    def __init__(self, root: Path, of: OwnServer | None = None) -> None:
        self.root = root
        self.password: str = of.password if of else secrets.token_urlsafe(24)
        self.port = of.port if of else free_port()
        self.address = SECOND_HOST if of else HOST
        super().__init__(root / "postgres", "postgres", self.password, self.address)

    @property
    def login(self) -> Login:
        return Login("postgres", Secret("password", self.password))

    @property
    def data(self) -> Path:
        return self.root / "postgres" / "data"

    def prepare(self) -> None:
        """Start it, and let the keeper make the roles, the tables and the Secret."""
        self.start()
        objects = FolderSecrets(self.root)
        pair = {"username": "postgres", "password": self.password}
        objects.patch(objects.get("admin"), pair)
        hurry(Server(self.host, self.port, "postgres", "disable"), self.login)
        Keeper(objects, plan_for(self.database.server), Redactor()).run()

    @property
    def database(self) -> Database:
        server = Server(self.host, self.port, "flask_app", "disable")
        return Database(server, self.login, self.root, plan_for(server))

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

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement as the administrator, whatever state the server is in."""
        with closing(
            psycopg.connect(
                host=self.host,
                port=self.port,
                user="postgres",
                password=self.password,
                dbname="flask_app",
                autocommit=True,
            )
        ) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def standby(self, root: Path) -> OwnServer:
        """Start a server that follows this one, on the same port of another address."""
        standby = OwnServer(root, self)
        shutil.copytree(self.root / "secrets", root / "secrets", symlinks=True)
        (root / "postgres").mkdir(parents=True)
        shutil.chown(root / "postgres", self.data.owner(), self.data.group())
        where = f"host={self.host} port={self.port} user=postgres password={self.password}"
        arguments = ["--write-recovery-conf", "--checkpoint=fast", "--no-sync"]
        program = str(PROGRAMS / "pg_basebackup")
        copied = _run(program, "--dbname", where, "--pgdata", str(standby.data), *arguments)
        assert copied.returncode == 0, copied.stdout
        standby.data.chmod(0o700)
        standby.start()
        return standby

    def processes(self) -> list[psutil.Process]:
        assert self._process
        postmaster = psutil.Process(self._process.pid)
        return [postmaster, *postmaster.children(recursive=True)]

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop every process of it, while the kernel goes on to accept and to acknowledge."""
        processes = self.processes()
        for process in processes:
            process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for process in processes:
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGCONT)

    def sessions(self) -> list[int]:
        """Return the process ids of the service's sessions."""
        found = self.execute(
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'flask-app'"
        )
        return [int(pid) for (pid,) in found]

    def client_ports(self) -> list[int]:
        """Return the ports from which the service is connected."""
        found = self.execute(
            "SELECT client_port FROM pg_stat_activity WHERE application_name = 'flask-app'"
        )
        return [int(port) for (port,) in found]


@contextmanager
def own_server(root: Path) -> Iterator[OwnServer]:
    """Start a server, which ends with the `with` block."""
    server = OwnServer(root)
    try:
        server.prepare()
        yield server
    finally:
        server.stop()


@contextmanager
def dropped(port: int, *clients: int) -> Iterator[None]:
    """Drop what is sent between a server's port and its clients', or all of it, without a word."""
    if os.geteuid() or not shutil.which("iptables"):
        pytest.skip("needs iptables, and root")
    rules = [
        ["INPUT", "--protocol", "tcp", "--in-interface", "lo", way, str(port), *other]
        for way, back in (("--dport", "--sport"), ("--sport", "--dport"))
        for other in ([[back, str(client)] for client in clients] or [[]])
    ]
    added = []
    try:
        for rule in rules:
            _iptables("--insert", *rule, "--jump", "DROP")
            added.append(rule)
        yield
    finally:
        for rule in added:
            _iptables("--delete", *rule, "--jump", "DROP")


def _iptables(*arguments: str) -> None:
    command = ["iptables", "--wait", *arguments]
    ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode:
        pytest.skip(f"iptables can't be used: {ran.stderr.strip()}")


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
