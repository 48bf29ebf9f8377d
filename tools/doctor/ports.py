"""Whether the ports of this machine that the project takes are free."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Mapping

from .lines import MISSING, OK, WARNING, Line


def port_line(
    group: str, name: str, default: int, command: str, holders: Mapping[int, str] | None = None
) -> Line:
    """Tell whether a port is free.

    :param name: the setting that names another one.
    :param holders: the ports that clusters have.
    """
    text = os.environ.get(name) or str(default)
    if not text.isdecimal() or not 0 < int(text) < 65536:
        return Line(group, MISSING, name, "no port", "has to be a number up to 65535: set another")
    port, about = int(text), f"{command}, {name}"
    found = (holders or {}).get(port) or why_not(port)
    if not found:
        return Line(group, OK, f"port {port}", "free", about)
    if found == f"cluster {own_cluster()}":
        return Line(group, OK, f"port {port}", found, about)
    other = port + 1 if 1024 <= port < 65535 else default + 1
    return Line(group, WARNING, f"port {port}", found, f"take another: {name}={other} {command}")


def own_cluster() -> str:
    """Return the name of the kind cluster of `make deploy`."""
    return os.environ.get("CLUSTER") or "flask-app"


def why_not(port: int) -> str:
    """Return why nobody else can listen on a port, or nothing."""
    with socket.socket() as probe:
        probe.settimeout(1)
        # where it is another address' of this machine, macOS would let it be bound
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            return "taken"
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            return "for root only" if error.errno == errno.EACCES else "taken"
    return ""
