"""What is measured: a PostgreSQL with notes in it, and gunicorns with the service's settings."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from keeper.database import Server
from keeper.folder_secrets import FolderSecrets
from keeper.keeper import Keeper
from secret_files import Redactor
from tools.local.place import plan_for
from tools.local.postgres import Postgres
from tools.poll import poll
from tools.problem import Problem

ROOT: Final = Path(__file__).parents[2]

CONFIG: Final = ROOT / "app" / "gunicorn.conf.py"
#: Without the service's code, which CONFIG imports.
BARE_CONFIG: Final = Path(__file__).with_name("bare.conf.py")
UNLIMITED_CONFIG: Final = Path(__file__).with_name("unlimited.conf.py")

SERVICE: Final = "app.wsgi:application"
FIXED: Final = "tools.bench.fixed:application"
UNLIMITED: Final = "tools.bench.unlimited:application"
BARE: Final = "tools.bench.bare:application"

NOTES: Final = 100
START_SECONDS: Final = 30
#: gunicorn waits 25 s for requests under way.
STOP_SECONDS: Final = 30

Settings = Mapping[str, str]


@contextmanager
def database(folder: Path) -> Iterator[Settings]:
    """Run a PostgreSQL under `folder` with some notes, and yield a service's settings for it."""
    objects = FolderSecrets(folder)
    nowhere = Server("", 0, "flask_app", "disable")
    login = Keeper(objects, plan_for(nowhere), Redactor()).fill_administrator()
    postgres = Postgres(folder / "postgres", login.user, login.password.reveal())
    postgres.start()
    try:
        server = Server(postgres.host, postgres.port, "flask_app", "disable")
        Keeper(objects, plan_for(server), Redactor()).run()
        with server.connect(login) as connection:
            connection.execute(
                "INSERT INTO notes (text) SELECT repeat('a note ', 10) FROM generate_series(1, %s)",
                [NOTES],
            )
        yield {
            "SECRETS_DIR": str(folder / "secrets"),
            "DATABASE_HOST": server.host,
            "DATABASE_PORT": str(server.port),
            "DATABASE_SSLMODE": server.sslmode,
        }
    finally:
        postgres.stop()


@dataclass(frozen=True)
class Running:
    """A gunicorn whose route /livez has answered."""

    port: int
    worker: psutil.Process
    #: From its spawn to the answer.
    start_seconds: float

    def cpu_seconds(self) -> float:
        """Return the CPU time that the worker has taken."""
        times = self.worker.cpu_times()
        return float(times.user + times.system)

    def memory(self) -> dict[str, float]:
        """Return the worker's RSS and, on Linux, the PSS of both processes, in MiB.

        Not the worker's USS: it is mostly how much a garbage collection touched since the fork.
        """
        worker, first = (each.memory_full_info() for each in (self.worker, self.worker.parent()))
        pss = {"pss": (worker.pss + first.pss) / 2**20} if hasattr(worker, "pss") else {}
        return {"rss": worker.rss / 2**20, **pss}


@contextmanager
def gunicorn(
    application: str, settings: Settings, folder: Path, config: Path = CONFIG
) -> Iterator[Running]:
    """Run an application under gunicorn, in `folder`, with the service's settings."""
    port, metrics_port = _free_ports()
    environment = {
        **os.environ,
        **settings,
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "METRICS_PORT": str(metrics_port),
        "TLS_DIR": "",
        "LOG_LEVEL": "INFO",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "gunicorn", "--config", str(config), application]
    output = folder / f"{application}.log"
    with output.open("wb") as log:
        started = time.perf_counter()
        process = subprocess.Popen(
            command,
            env=environment,
            cwd=folder,  # where no .env is
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for the one who stops things in order
        )
    try:
        _wait(process, port, output)
        start_seconds = time.perf_counter() - started
        (worker,) = psutil.Process(process.pid).children()
        yield Running(port, worker, start_seconds)
    finally:
        _stop(process)


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


def _wait(process: subprocess.Popen[bytes], port: int, output: Path) -> None:
    def answers() -> bool:
        if process.poll() is not None:
            raise Problem("gunicorn has ended")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_SECONDS)
        try:
            connection.request("GET", "/livez")
            return connection.getresponse().status == 200
        except OSError:
            return False  # it does not listen yet
        finally:
            connection.close()

    try:
        poll(answers, "an answer of gunicorn", START_SECONDS, 0.005)
    except Problem as problem:
        said = output.read_text(errors="replace")
        raise Problem(f"gunicorn did not start, {problem}:\n{said}") from None


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
