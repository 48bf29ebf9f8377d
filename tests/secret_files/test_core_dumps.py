"""No process with secrets leaves a core file."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

LIMITS = "import resource; print(*resource.getrlimit(resource.RLIMIT_CORE))"
FORBID = "from secret_files import forbid_core_dumps as forbid; forbid(); "
CHILD = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {LIMITS!r}])"
KEEPER = """
import runpy
try:
    runpy.run_module("keeper", run_name="__main__", alter_sys=True)
except SystemExit:
    pass
"""


def printed(script: str) -> list[str]:
    """Return what a script prints that may leave cores, as far as this machine lets it."""

    def let_it() -> None:
        limit = resource.getrlimit(resource.RLIMIT_CORE)[1]
        resource.setrlimit(resource.RLIMIT_CORE, (limit, limit))

    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        preexec_fn=let_it,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    return done.stdout.split()


@pytest.mark.skipif(
    resource.getrlimit(resource.RLIMIT_CORE)[1] == 0, reason="nothing here can leave a core"
)
def test_without_it_a_process_may() -> None:
    assert printed(LIMITS) != ["0", "0"]


@pytest.mark.parametrize(
    "script", [FORBID + LIMITS, FORBID + CHILD, KEEPER + LIMITS], ids=["process", "child", "keeper"]
)
def test_neither_a_process_nor_its_children_may(script: str) -> None:
    assert printed(script) == ["0", "0"]
