"""The pages of docs/external as somebody walks them: a shell, its programs, and words replaced."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import termios
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.pages import ROOT, Block

#: Ends with the first command that fails, also in the middle of a pipe.
LOOP: Final = """
set -euo pipefail
while read -r file; do
  . "$file" </dev/null >"$file.out" 2>&1
  echo done
done
"""

AWS: Final = ROOT / ".venv-moto" / "bin"
VAULT: Final = Path(__file__).with_name("vault_cli.py")

#: What the machine has to have, with Debian's package of it.
NEEDED: Final = {"jq": "jq", "openssl": "openssl", "python3": "python3"}

#: How long a command may take, in seconds; helm waits for as long as five minutes.
LIMIT: Final = 330


def skip_without(**needed: str) -> None:
    """Skip the test where programs are missing, and name the packages that have them."""
    missing = [package for name, package in needed.items() if not shutil.which(name)]
    if missing:
        pytest.skip(f"the pages' commands need what is not installed: {', '.join(missing)}")


def steps(block: Block) -> list[str]:
    """Return a block's commands, cut where a comment begins: there somebody waits, and goes on."""
    return [step for step in re.split(r"(?m)^(?=# )", block.text) if step.strip()]


class Shell:
    """One bash, from which a page's blocks go on, in a folder with what stands in the project's.

    :param folder: gets a folder for the work, one for the programs, and a home.
    :param replaced: what stands in the pages, and what is there in its place.
    :param environment: what the user of the pages has set before.
    """

    def __init__(
        self, folder: Path, replaced: Mapping[str, str], environment: Mapping[str, str]
    ) -> None:
        self._replaced = replaced
        self._scripts = folder / "scripts"
        self._count = 0
        self.work, programs = folder / "work", folder / "programs"
        for made in (self._scripts, self.work / "docs", programs):
            made.mkdir(parents=True)
        self._lay_out()
        _stand_in(programs / "vault", sys.executable, str(VAULT))
        _stand_in(programs / "aws", str(AWS / "python"), str(AWS / "aws"))
        path = f"{programs}:{environment['PATH']}"
        # a terminal, as a person has it: what asks there for a password waits in vain
        self._terminal = pty.openpty()
        self._bash = subprocess.Popen(
            ["bash", "-c", LOOP],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=self.work,
            env={**environment, "HOME": str(folder), "PATH": path},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(self._terminal[1], termios.TIOCSCTTY, 0),
        )

    def _lay_out(self) -> None:
        """Copy what the commands read, with the words replaced: `put your names into` them."""
        for package in ("app", "keeper", "secret_files"):
            (self.work / package).symlink_to(ROOT / package)
        shutil.copytree(ROOT / "chart", self.work / "chart")
        shutil.copytree(ROOT / "docs" / "external", self.work / "docs" / "external")
        for file in (self.work / "docs" / "external").iterdir():
            file.write_text(self.replace(file.read_text("utf-8")), "utf-8")

    def replace(self, text: str) -> str:
        """Return a text of the pages with the words replaced."""
        for word, other in self._replaced.items():
            text = text.replace(word, other)
        return text

    def run(self, commands: Block | str, as_it_stands: bool = False) -> str:
        """Run a block, or a part of it, and return what it printed.

        :param as_it_stands: with no word replaced.

        :raises AssertionError: a command failed; the shell has ended with it.
        """
        text = commands.text if isinstance(commands, Block) else commands
        self._count += 1
        script = self._scripts / str(self._count)
        script.write_text(text if as_it_stands else self.replace(text))
        assert self._bash.stdin
        assert self._bash.stdout
        self._bash.stdin.write(f"{script}\n")
        self._bash.stdin.flush()
        in_time = bool(select.select([self._bash.stdout], [], [], LIMIT)[0])
        done = in_time and self._bash.stdout.readline() == "done\n"
        printed = script.with_name(f"{script.name}.out").read_text(errors="replace")
        why = "failed" if in_time else f"takes more than {LIMIT} s"
        assert done, f"a command {why}: {commands}\n{text}\n{printed[-2000:]}"
        return printed

    def value(self, name: str) -> str:
        """Return a variable of the shell."""
        return self.run(f'printf %s "${{{name}-}}"')

    def kill(self) -> None:
        """End it in the middle of a command, which the kernel tells that the terminal is gone."""
        self._bash.kill()

    def end(self) -> None:
        """End it, and let its terminal go."""
        self.kill()
        self._bash.communicate()
        for side in self._terminal:
            os.close(side)


@contextmanager
def shell(
    folder: Path, replaced: Mapping[str, str], environment: Mapping[str, str]
) -> Iterator[Shell]:
    """Start a shell, and end it."""
    started = Shell(folder, replaced, environment)
    try:
        yield started
    finally:
        started.end()


def _stand_in(program: Path, *command: str) -> None:
    """Make a program that is another one."""
    program.write_text(f'#!/bin/sh\nexec {" ".join(command)} "$@"\n')
    program.chmod(0o755)
