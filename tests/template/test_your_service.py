"""docs/your-service.md: its changes apply to the tree, one after the other, and name what is there.

What becomes of them on a cluster, tests/e2e/test_your_service.py shows.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.git import git
from tests.pages import ROOT, blocks

PAGE = "docs/your-service.md"
TEXT = (ROOT / PAGE).read_text("utf-8")


@pytest.mark.skipif(
    (ROOT / "app" / "invites.py").exists(), reason="this project went that way already"
)
def test_each_change_applies_as_it_stands(tmp_path: Path) -> None:
    for name in ("app", "chart", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name)
    git(tmp_path, "init", "--quiet")
    changes = blocks(PAGE, "diff")
    assert len(changes) > 4
    for change in changes:
        git(tmp_path, "apply", "-", stdin=change.text)
    assert (tmp_path / "app/invites.py").read_text() in _added(changes[2].text)


def _added(change: str) -> str:
    return "".join(line[1:] for line in change.splitlines(keepends=True) if line[0] == "+")


def test_there_are_six_steps() -> None:
    steps = TEXT.partition("in six steps\n")[2].partition("\n## ")[0]
    assert re.findall(r"^\*\*(\d)\. ", steps, re.MULTILINE) == list("123456")


def test_each_file_that_it_names_is_there() -> None:
    rows = "\n".join(line for line in TEXT.splitlines() if line.startswith("| "))
    named = re.findall(r"`((?:app|chart|keeper|secret_files|tests|tools)/[\w./-]*)`", rows)
    assert len(named) > 10
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_each_file_of_the_example_is_there() -> None:
    (listed,) = [block.text for block in blocks(PAGE, "") if "app/notes.py" in block.text]
    assert len(listed.split()) == 6
    assert [name for name in listed.split() if not (ROOT / name).exists()] == []
