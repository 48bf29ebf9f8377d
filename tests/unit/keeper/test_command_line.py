"""``python -m app.keeper``: its exit status, and that it logs one line of JSON for a problem."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.unit.keeper.test_settings import ENVIRONMENT


def keeper(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if "KUBERNETES" not in name}
    return subprocess.run(
        [sys.executable, "-m", "app.keeper", *arguments],
        env={**kept, **environment},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("arguments", [(), ("fill",), ("run", "now")])
def test_wrong_usage_is_2(arguments: tuple[str, ...]) -> None:
    done = keeper(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: python -m app.keeper")


def test_a_missing_setting_is_2() -> None:
    done = keeper("run")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert json.loads(line)["message"].startswith("SERVICE_SECRET is not set")


def test_what_can_not_be_done_is_1() -> None:
    done = keeper("run", **ENVIRONMENT)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert json.loads(line)["message"].startswith("this is no pod with a token")
