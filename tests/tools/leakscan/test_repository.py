"""The history is read whole, or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from secret_files import Secret
from tests.git import ENVIRONMENT, commit, git
from tests.tools.leakscan.nowhere import target_for
from tools.leakscan.engine import Sample, Unreadable
from tools.leakscan.repository import history

VALUE = Secret("flask-app-secrets/KEY", "the-value-of-this-test-7e02")
FIRST = b"what a file held once, and does no more"


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in set(os.environ) - set(ENVIRONMENT):
        monkeypatch.delenv(name)
    folder = tmp_path / "origin"
    git(tmp_path, "init", folder)
    for content in (FIRST, b"what it holds now"):
        (folder / "file").write_bytes(content)
        commit(folder, "a change")
    git(folder, "config", "uploadpack.allowFilter", "true")
    return folder


def read(folder: Path) -> list[bytes]:
    return [
        sample.content if isinstance(sample.content, bytes) else b"".join(sample.content)
        for sample in history(target_for(VALUE, folder))
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
    git(tmp_path, "clone", option, repository.as_uri(), "clone")
    with pytest.raises(Unreadable, match=remedy):
        read(tmp_path / "clone")
