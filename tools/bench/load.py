"""Requests per second: with wrk where it is installed, and with `client.py` otherwise."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import Final

from app.core.database import POOL_SIZE
from tools.problem import Problem

from .servers import ROOT

WRK: Final = shutil.which("wrk")

#: As many as gunicorn has threads.
CONNECTIONS: Final = POOL_SIZE

NAME: Final = "wrk" if WRK else "a Python client"


@dataclass(frozen=True)
class Load:
    """What a client has done."""

    requests: int
    per_second: float


def send(port: int, path: str, seconds: int) -> Load:
    """Send requests for some seconds, over a few connections that are kept alive.

    :raises Problem: a request failed.
    """
    url = f"http://127.0.0.1:{port}{path}"
    if WRK:
        output = _run([WRK, "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", url])
        return _wrk_load(path, output)
    client = [sys.executable, "-m", "tools.bench.client", str(port), path]
    answered, failed, elapsed = _run([*client, str(CONNECTIONS), str(seconds)]).split()
    return _load(path, int(answered), int(failed), int(answered) / float(elapsed))


def _wrk_load(path: str, output: str) -> Load:
    def number(pattern: str) -> str:
        found = re.search(pattern, output)
        return found[1] if found else "0"

    errors = re.search(r"Socket errors: (.*)", output)
    broken = sum(map(int, re.findall(r"\d+", errors[1]))) if errors else 0
    refused = int(number(r"Non-2xx or 3xx responses: (\d+)"))
    answered = int(number(r"(\d+) requests in")) - refused
    return _load(path, answered, broken + refused, float(number(r"Requests/sec:\s+([\d.]+)")))


def _load(path: str, answered: int, failed: int, per_second: float) -> Load:
    if failed or not answered:
        raise Problem(f"{failed:,} requests for {path} failed, and {answered:,} did not.")
    return Load(answered, per_second)


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        lines = done.stderr.splitlines() or ["it said nothing"]
        raise Problem(f"{NAME} failed: {lines[-1]}")
    return done.stdout
