"""A shell that follows a page: what it prints, and that no failure gets lost in it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.e2e import shell as module
from tests.e2e.shell import Shell
from tools.cluster.client import Cluster


@pytest.fixture
def shell() -> Iterator[Shell]:
    with Shell(Cluster("another", "9999"), {"/etc/hosts": "/dev/null"}) as shell:
        yield shell


def test_it_returns_what_the_commands_print_wherever_they_do(shell: Shell) -> None:
    assert shell.run("echo one; echo two >&2\nprintf three") == "one\ntwo\nthree"


def test_it_remembers_functions_and_variables(shell: Shell) -> None:
    assert shell.run("name='of it'; tell() { echo \"$1 $name\"; }\n") == ""
    assert shell.run("tell all") == "all of it\n"


def test_its_commands_go_to_this_cluster_and_what_else_is_replaced(shell: Shell) -> None:
    others = "https://localhost:8443/api /etc/hosts $CLUSTER"
    page = f"echo .local/cluster/flask-app/ca.crt {others}"
    told = ".local/cluster/another/ca.crt https://localhost:9999/api /dev/null another\n"
    assert shell.run(page) == told


@pytest.mark.parametrize(
    ("commands", "failed"),
    [
        ("echo before\nls /nowhere\necho after", "ls /nowhere"),
        ("of_it() { ls /nowhere; echo after; }; of_it", "ls /nowhere"),
        ("echo something | grep 'something else'", "grep 'something else'"),
        ("grpe something", "grpe something"),
        ("echo 'never ends", "eval"),
    ],
)
def test_any_command_that_fails_is_named(shell: Shell, commands: str, failed: str) -> None:
    with pytest.raises(AssertionError, match=f"^{failed}"):
        shell.run(commands)
    assert shell.run("echo and goes on") == "and goes on\n"


def test_no_command_reads_what_the_shell_is_to_read_next(shell: Shell) -> None:
    assert shell.run("cat") == ""
    assert shell.run("echo next") == "next\n"


def test_an_exit_is_told(shell: Shell) -> None:
    with pytest.raises(AssertionError, match="the shell ended"):
        shell.run("echo so far; exit")


def test_what_does_not_end_is_ended(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIMIT", 0.2)
    began = time.monotonic()
    with pytest.raises(AssertionError, match=r"(?s)took too long.*so far"):
        shell.run("echo so far; sleep 60")
    assert time.monotonic() - began < 30
