"""The environment is the second source: the same keys, taken out of it, once."""

from __future__ import annotations

import os
import subprocess
import sys
import traceback

import pytest

from app.secret_keys import KEYS
from secret_files import Environment, SecretError, SecretStore
from tests.mount import SECRETS


def test_has_the_same_keys_and_takes_them_away() -> None:
    environ = {**SECRETS, "PATH": "/bin"}
    found = SecretStore(Environment(KEYS, environ)).current()
    assert {name: found[name].reveal() for name in found} == {
        name: value for name, value in SECRETS.items() if value
    }
    assert found.generation == 1700000000
    assert environ == {"PATH": "/bin"}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "is missing: set the variable"),
        ("", "is empty"),
        ("Xq7-tooshort", "is too short: at least 32 bytes"),
        ("changeme", "is a known placeholder"),
        ("Xq7-not-utf-8-0123456789abcdef\udcff", "is not UTF-8"),
    ],
)
def test_refuses_what_a_folder_refuses_and_takes_it_away_all_the_same(
    value: str | None, reason: str
) -> None:
    environ = {**SECRETS}
    if value is None:
        del environ["SECRET_KEY"]
    else:
        environ["SECRET_KEY"] = value
    with pytest.raises(SecretError) as caught:
        Environment(KEYS, environ).read()
    assert str(caught.value).startswith(f"SECRET_KEY in the environment {reason}")
    traceback_below = caught.tb.tb_next  # not this test, which has the value
    shown = traceback.StackSummary.extract(traceback.walk_tb(traceback_below), capture_locals=True)
    assert "_outcome" in "".join(shown.format())
    assert "Xq7" not in "".join(shown.format())
    assert environ == {}


def test_never_changes() -> None:
    environ = {**SECRETS}
    store = SecretStore(Environment(KEYS, environ), check_seconds=0)
    first = store.current()
    # pragma: allowlist nextline secret
    environ.update(SECRETS, DATABASE_PASSWORD="another-one-5d41402abc4b")
    assert store.current() is first


SCRIPT = """
import os, subprocess, sys
from app.secret_keys import KEYS
from secret_files import Environment
Environment(KEYS)
child = subprocess.run([sys.executable, "-c", "import os; print(sorted(os.environ))"],
                       stdout=subprocess.PIPE, text=True)
print("DATABASE_PASSWORD" in os.environ, "DATABASE_PASSWORD" in child.stdout)
print(open("/proc/self/environ").read().count("DATABASE_PASSWORD="))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_no_child_inherits_them_and_proc_still_shows_them() -> None:
    """The second half is a limit, which the documentation names."""
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, **SECRETS},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert ran.stdout.split() == ["False", "False", "1"]
