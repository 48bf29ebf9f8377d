"""A shell that follows a page loses no failure of a command."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.shell import Shell
from tools.cluster.client import Cluster


@pytest.fixture
def shell() -> Iterator[Shell]:
    with Shell(Cluster("another", "9999")) as shell:
        yield shell


@pytest.mark.parametrize(
    ("commands", "failed"),
    [
        ("echo before\nls /nowhere\necho after", "ls /nowhere"),
        ("of_it() { ls /nowhere; echo after; }; of_it", "ls /nowhere"),
        ("echo something | grep 'something else'", "grep 'something else'"),
        ("grpe something", "grpe something"),
        ("echo 'never ends", "eval"),
        ("echo so far; exit", "the shell ended"),
    ],
)
def test_any_command_that_fails_is_named(shell: Shell, commands: str, failed: str) -> None:
    assert shell.run("echo one; echo two >&2\nprintf three") == "one\ntwo\nthree"
    with pytest.raises(AssertionError, match=f"^{failed}"):
        shell.run(commands)
