"""Copies of this repository, as a user's clone of it begins."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

from tests.git import ENVIRONMENT, commit, git

ROOT: Final = Path(__file__).parents[2]


def copy_project(folder: Path) -> None:
    """Make a repository with the work tree's files, whether they are committed or not."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        env=ENVIRONMENT,
        check=True,
        capture_output=True,
    )
    for name in map(os.fsdecode, filter(None, listed.stdout.split(b"\0"))):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    git(folder, "init", "--quiet")
    commit(folder, "begin")
