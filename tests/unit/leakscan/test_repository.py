"""The history is read whole, or not at all."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from app.secret_files import Secret
from tests.e2e.cluster import Cluster
from tests.e2e.leakscan.engine import Sample, Unreadable
from tests.e2e.leakscan.needles import Needles
from tests.e2e.leakscan.repository import history
from tests.e2e.leakscan.target import Target

VALUE = Secret("flask-app-secrets/KEY", "the-value-of-this-test-7e02")
FIRST = b"what a file held once, and does no more"


def git(*arguments: str | Path) -> None:
    author = ("-c", "user.name=test", "-c", "user.email=test@example.com")
    subprocess.run(["git", *author, *arguments], check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "origin"
    git("init", folder)
    for content in (FIRST, b"what it holds now"):
        (folder / "file").write_bytes(content)
        git("-C", folder, "add", "file")
        git("-C", folder, "commit", "--message", "a change")
    git("-C", folder, "config", "uploadpack.allowFilter", "true")
    return folder


def read(folder: Path) -> list[bytes]:
    nobody: Any = None
    target = Target(Cluster("none", "0"), Needles([VALUE]), nobody, nobody, "none", folder)
    return [
        sample.content if isinstance(sample.content, bytes) else b"".join(sample.content)
        for sample in history(target)
        if isinstance(sample, Sample)
    ]


def test_what_was_changed_is_read(repository: Path) -> None:
    assert FIRST in read(repository)


@pytest.mark.parametrize(
    ("option", "remedy"),
    [("--depth=1", "git fetch --unshallow"), ("--filter=blob:none", "git fetch --refetch")],
)
def test_a_clone_of_a_part_is_unreadable(
    repository: Path, tmp_path: Path, option: str, remedy: str
) -> None:
    git("clone", option, repository.as_uri(), tmp_path / "clone")
    with pytest.raises(Unreadable, match=remedy):
        read(tmp_path / "clone")
