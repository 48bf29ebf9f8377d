"""README.md's first commands, word for word, on a machine that has what it names and no more.

The machine is a container, once for root and once for somebody without rights. Afterwards its
network is cut off, and `make test` is run again: it fetches nothing, nor asks where it could.

The tests that are run are a part of them; with WHOLE=1 it is all of them, for somebody with the
network, and for root without it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.pages import ROOT, Block, Walk, blocks
from tests.terminal import CTRL_C, terminal

#: What README.md names: Python is in the image; git and curl are for its commands.
DOCKERFILE: Final = """
FROM python:3.13-slim
RUN apt-get update && apt-get install -y --no-install-recommends make git curl
RUN useradd --create-home somebody
"""
IMAGE: Final = "fresh-machine"

HOMES: Final = {"somebody": "/home/somebody", "root": "/root"}

#: A part of the tests: a service, its database, and the chart.
PART: Final = "tests/core/test_settings.py tests/app/test_notes.py tests/chart/test_names.py"

#: How long installing, or all tests, may take, in seconds.
LIMIT: Final = 1200

#: Notes the names that are asked for, and knows none.
NAMES: Final = """
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 53))
open("/etc/resolv.conf", "w").write("nameserver 127.0.0.1")
with open("/tmp/names", "w", buffering=1) as names:
    while True:
        query, sender = server.recvfrom(4096)
        labels, end = [], 12
        while length := query[end]:
            labels.append(query[end + 1 : end + 1 + length].decode())
            end += 1 + length
        print(".".join(labels), file=names)
        unknown = query[:2] + b"\\x81\\x83" + query[4:6] + bytes(6) + query[12 : end + 5]
        server.sendto(unknown, sender)
"""


def docker(*arguments: str | Path, stdin: str = "", check: bool = True) -> str:
    """Run docker, and return what it printed, also where it went wrong."""
    done = subprocess.run(
        ["docker", *arguments],
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT,
    )
    if check:
        assert done.returncode == 0, f"docker {arguments[0]} failed: {done.stdout[-4000:]}"
    return done.stdout


class Machine:
    """A container with a clone of HEAD in somebody's home."""

    def __init__(self, user: str, folder: Path) -> None:
        self.user = user
        self.name = f"fresh-machine-{uuid.uuid4().hex[:8]}"
        self.clone = f"{HOMES[user]}/flask-app"
        # what runs beside it has deadlines
        options = ("--detach", "--init", "--cpu-shares", "128", "--name", self.name)
        docker("run", *options, IMAGE, "sleep", "infinity")
        clone = folder / "flask-app"
        subprocess.run(
            ["git", "clone", "--quiet", "--depth", "1", f"file://{ROOT}", clone], check=True
        )
        docker("cp", clone, f"{self.name}:{self.clone}")
        self.as_root("chown", "--recursive", f"{user}:{user}", self.clone)

    def as_root(self, *command: str, check: bool = True) -> str:
        """Run a command that is not the one's who uses the machine."""
        return docker("exec", self.name, *command, check=check)

    def command(self, script: str, *options: str) -> list[str]:
        """Return the arguments with which docker runs a script in the clone."""
        where = ("--user", self.user, "--workdir", self.clone)
        return ["exec", *where, *options, self.name, "bash", "-ec", script]

    def run(self, script: str, check: bool = True, **settings: str) -> str:
        """Run a script in the clone, and return what it printed."""
        options = [part for item in settings.items() for part in ("--env", "=".join(item))]
        return docker(*self.command(script, *options), check=check)

    def cut_off(self) -> None:
        """Take the network away, and begin to note which names are asked for."""
        docker("network", "disconnect", "bridge", self.name)
        docker("exec", "--detach", self.name, "python3", "-c", NAMES)
        self.as_root("sh", "-c", "until [ -e /tmp/names ]; do sleep 0.1; done")

    def names(self) -> set[str]:
        """Return the names that were asked for since."""
        return set(self.as_root("cat", "/tmp/names").split())

    def remove(self) -> None:
        docker("rm", "--force", "--volumes", self.name)


@pytest.fixture(scope="module")
def image() -> Iterator[None]:
    docker("build", "--tag", IMAGE, "-", stdin=DOCKERFILE)
    yield
    docker("rmi", IMAGE)


@pytest.fixture(scope="module", params=HOMES)
def machine(
    image: None, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Machine]:
    machine = Machine(request.param, tmp_path_factory.mktemp("clone"))
    yield machine
    machine.remove()


def first_commands() -> list[str]:
    """Return the commands that README.md begins with."""
    return blocks("README.md")[0].text.splitlines()


def requests() -> Block:
    """Return the requests to what `make run` serves."""
    return Walk("README.md").under("On this machine: `make run`")[0]


def test_the_commands_are_those_that_are_run_here() -> None:
    assert [line.split("#")[0].split() for line in first_commands()] == [
        ["make", "run"],
        ["make", "test"],
    ]


def test_it_serves(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first command installs; Ctrl-C ends it, and nothing is left."""
    monkeypatch.setattr("tests.terminal.LIMIT", LIMIT)
    command = machine.command(first_commands()[0], "--interactive", "--tty")
    with terminal(["docker", *command], ROOT, os.environ) as shown:
        shown.wait_for("Install up to")
        shown.wait_for(re.escape(url()))
        # it is told a moment before it answers
        machine.run(f"until curl --silent --output /dev/null {url()}/livez; do sleep 0.1; done")
        said = machine.run(requests().text)
        shown.press(CTRL_C)
        assert shown.end() == 130
    note, _ = json.JSONDecoder().raw_decode(said, said.index("{"))
    assert note["text"] == "Hello"
    assert '"generation"' in said
    assert "\nsecrets_generation " in said
    assert "Failed to connect" in machine.run(f"curl {url()}/livez", check=False)
    assert "postgres" not in machine.as_root("sh", "-c", "cat /proc/[0-9]*/cmdline")
    there = machine.run("ls .venv/bin").split()
    assert "gunicorn" in there
    assert not {"ruff", "pytest", "playwright"} & set(there)


def url() -> str:
    found = re.search(r"http://[^/]+", requests().text)
    assert found
    return found[0]


def test_its_tests_pass(machine: Machine) -> None:
    is_whole = machine.user != "root" and os.environ.get("WHOLE") == "1"
    said = machine.run(first_commands()[1], TEST_ARGS="" if is_whole else PART)
    assert passed(said) > (3000 if is_whole else 0)
    assert "Traceback" not in said
    # a browser is to be had or not: if not, one sentence says what to do
    assert said.count("The tests of the page are skipped: ") <= 1


def test_its_tests_pass_again_without_a_network(machine: Machine) -> None:
    machine.cut_off()
    is_whole = machine.user == "root" and os.environ.get("WHOLE") == "1"
    said = machine.run(first_commands()[1], TEST_ARGS="" if is_whole else PART)
    assert passed(said) > (3000 if is_whole else 0)
    assert machine.names() == set()
    assert "Install" not in said
    assert "The tests of the page are skipped" not in said


def test_what_is_fetched_would_be_seen(machine: Machine) -> None:
    """The control: what is not there any more can't be had, and its source was asked for."""
    machine.run("rm -r .venv")
    # uv would take it from its cache
    settings = {"UV_CACHE_DIR": "/tmp/empty", "UV_HTTP_RETRIES": "0"}
    said = machine.run(first_commands()[1], check=False, TEST_ARGS=PART, **settings)
    assert "Install up to" in said
    assert "A package can't be fetched" in said
    assert " passed" not in said
    assert machine.names()


def passed(said: str) -> int:
    """Return how many tests passed."""
    found = re.findall(r"(\d+) passed", said)
    assert found, said[-4000:]
    return int(found[-1])
