"""Prometheus' own tool, where it is installed: it checks metrics, and its engine runs rules."""

from __future__ import annotations

import shutil
import subprocess

import pytest

needs_promtool = pytest.mark.skipif(
    not shutil.which("promtool"),
    reason="promtool is not installed: it comes with Prometheus (apt-get install prometheus)",
)


def promtool(*arguments: str, stdin: str = "") -> str:
    """Run it, and return what it complained about: nothing, if all is well.

    Some of its complaints don't change its exit status.
    """
    done = subprocess.run(
        ["promtool", *arguments], input=stdin, capture_output=True, text=True, timeout=120
    )
    # what was found to be in order stands in the standard output of `check rules`
    return done.stderr + (done.stdout if done.returncode else "")
