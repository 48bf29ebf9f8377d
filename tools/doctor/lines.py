"""What a check tells, how it is shown, and how a program is asked."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]

#: How long a program may take to answer, in seconds.
LIMIT: Final = 10

GB: Final = 10**9
GIB: Final = 2**30

OK, WARNING, MISSING = "ok", "warning", "missing"

#: The groups, by what they are for.
LOCAL: Final = "make run, make test"
KIND: Final = "make deploy, make e2e"
SETTINGS: Final = "settings"

#: Where to get what; `make deploy` and README.md name the same pages.
PAGES: Final = {
    "make": "https://www.gnu.org/software/make/",
    "Python": "https://www.python.org/downloads/",
    "git": "https://git-scm.com/downloads",
    "curl": "https://curl.se/download.html",
    "promtool": "https://prometheus.io/download/",
    "docker": "https://docs.docker.com/get-started/get-docker/",
    "buildx": "https://github.com/docker/buildx#installing",
    "kind": "https://kind.sigs.k8s.io/docs/user/quick-start/#installation",
    "kubectl": "https://kubernetes.io/docs/tasks/tools/",
    "helm": "https://helm.sh/docs/intro/install/",
}


@dataclass(frozen=True)
class Line:
    """What one check tells."""

    group: str
    mark: str
    name: str
    #: A version or a figure.
    found: str
    #: What it is needed for, or what to do about it.
    about: str


class Silent(Exception):
    """A program can't be asked; the message ends a sentence that it begins."""


def ask(*command: str) -> str:
    """Return what a program prints.

    :raises Silent: it is missing, fails, or takes too long.
    """
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except FileNotFoundError:
        raise Silent("not found") from None
    except OSError as error:
        raise Silent(f"can't be run: {error.strerror}") from None
    with process:
        try:
            said = process.communicate(timeout=LIMIT)[0].decode(errors="replace")
        except subprocess.TimeoutExpired:
            # with what it has started, which would hold the pipe open
            os.killpg(process.pid, signal.SIGKILL)
            raise Silent(f"no answer in {LIMIT} s") from None
    if process.returncode:
        raise Silent(f"fails with {process.returncode}")
    return said


def version(text: str) -> str:
    """Return the version that stands in what a program prints of itself."""
    found = re.search(r"\d+(\.\d+)+", text)
    return found[0] if found else "of unknown version"


def numbers(version: str) -> tuple[int, ...]:
    """Return a version as something that can be compared."""
    return tuple(int(part) for part in re.findall(r"\d+", version))


def tool(group: str, name: str, *command: str, about: str, mark: str = MISSING) -> Line:
    """Tell of a program by its version.

    :param mark: that of one that can't be asked.
    """
    try:
        return Line(group, OK, name, version(ask(*command)), about)
    except Silent as silent:
        return Line(group, mark, name, str(silent), f"{about}: {PAGES[name]}")


def screen(lines: Sequence[Line]) -> str:
    """Return the lines as one screen, group by group."""
    names = max(len(line.name) for line in lines)
    founds = max(len(line.found) for line in lines if len(line.found) <= 30)
    rows: list[str] = []
    group = ""
    for line in lines:
        if line.group != group:
            rows += ["", line.group] if group else [line.group]
            group = line.group
        row = f"  {line.mark:7}  {line.name:{names}}  {line.found:{founds}}  {line.about}"
        # the name of a folder may hold what a terminal heeds
        rows.append("".join(sign if sign.isprintable() else "?" for sign in row))
    return "\n".join([*rows, ""])
