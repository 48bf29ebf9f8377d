"""The service under gunicorn, in a process of its own."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Answer:
    """What became of a request."""

    #: 0: there was no answer.
    status: int
    #: How long it took.
    seconds: float


def free_port() -> int:
    """Return a TCP port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listens(port: int, host: str = "127.0.0.1") -> bool:
    """Tell whether a connection to this port is accepted."""
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0


@dataclass
class Service:
    """A running gunicorn, and what it wrote."""

    process: subprocess.Popen[bytes]
    port: int
    metrics_port: int
    output: Path
    host: str = "127.0.0.1"

    @classmethod
    def start(
        cls, output: Path, settings: Mapping[str, str], config: str = "app/gunicorn.conf.py"
    ) -> Service:
        """Start gunicorn on free ports, without waiting for it.

        :param output: the file that takes what it writes; its directory becomes gunicorn's.
        :param settings: environment variables.
        :param config: gunicorn's configuration, relative to the project.
        """
        port, metrics_port = free_port(), int(settings.get("METRICS_PORT") or free_port())
        environment = {
            **os.environ,
            **settings,
            "PORT": str(port),
            "METRICS_PORT": str(metrics_port),
            "PYTHONPATH": str(ROOT),
        }
        command = [sys.executable, "-m", "gunicorn", "-c", str(ROOT / config)]
        with output.open("wb") as file:
            process = subprocess.Popen(
                command, env=environment, cwd=output.parent, stdout=file, stderr=file
            )
        return cls(process, port, metrics_port, output, settings.get("HOST", cls.host))

    def get(self, path: str, scheme: str = "http", cafile: Path | None = None) -> str:
        """Return the body of an answer.

        :raises urllib.error.URLError: there was none, or its status is an error.
        """
        context = ssl.create_default_context(cafile=cafile) if cafile else None
        with _open(f"{scheme}://localhost:{self.port}{path}", 20, context) as answer:
            text: str = answer.read().decode()
            return text

    def ask(self, path: str, body: bytes | None = None, patience: float = 60) -> Answer:
        """Ask once, with a JSON body if there is one, and wait so many seconds at most."""
        started = time.monotonic()
        headers = {"Content-Type": "application/json"}
        url = f"http://localhost:{self.port}{path}"
        request = urllib.request.Request(url, body, headers)
        try:
            with _open(request, patience) as answer:
                answer.read()
                status = answer.status
        except urllib.error.HTTPError as error:
            status = error.code
            error.close()
        except OSError:
            status = 0
        return Answer(status, time.monotonic() - started)

    def metrics(self) -> str:
        """Return the metrics."""
        return self.manage("/metrics")

    def manage(self, path: str) -> str:
        """Ask the management port."""
        url = f"http://localhost:{self.metrics_port}{path}"
        with _open(url, 20) as answer:
            text: str = answer.read().decode()
            return text

    def listens(self) -> bool:
        """Tell whether it accepts connections.

        :raises RuntimeError: the process has ended.
        """
        if self.process.poll() is not None:
            raise RuntimeError(f"the service ended: {self.output.read_text()[-2000:]}")
        return listens(self.port, self.host)

    def stop(self) -> None:
        """Terminate it, and wait for its end."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(30)


def _open(
    url: str | urllib.request.Request, seconds: float, context: ssl.SSLContext | None = None
) -> Any:
    https = [urllib.request.HTTPSHandler(context=context)] if context else []
    return urllib.request.build_opener(*https).open(url, timeout=seconds)
