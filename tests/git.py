"""Repositories of git that a test makes, without what this machine's user has set for it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

#: Not what a hook tells git of its own repository either.
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    **{f"GIT_{who}_NAME": "test" for who in ("AUTHOR", "COMMITTER")},
    **{f"GIT_{who}_EMAIL": "test@example.org" for who in ("AUTHOR", "COMMITTER")},
}


def git(folder: Path, *arguments: str | Path, stdin: str = "") -> None:
    """Run git in a folder."""
    subprocess.run(
        ["git", "-C", folder, *arguments],
        input=stdin,
        text=True,
        env=ENVIRONMENT,
        check=True,
        capture_output=True,
    )


def commit(folder: Path, message: str) -> None:
    """Commit everything that stands in a repository's folder."""
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--no-verify", "--message", message)
