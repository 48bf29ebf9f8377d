"""Faults that a test injects into the network of this machine, and into its own process."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


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


@contextmanager
def no_more_files() -> Iterator[None]:
    """Let this process open no more file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
