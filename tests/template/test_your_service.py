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

#: Where a file of the project asks for the notes.
ASKING = ("app", "tools", "tests")


@pytest.mark.skipif(
    (ROOT / "app" / "views" / "invites.py").exists(), reason="this project went that way already"
)
def test_each_change_applies_as_it_stands(tmp_path: Path) -> None:
    for name in ("app", "chart", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name)
    git(tmp_path, "init", "--quiet")
    changes = blocks(PAGE, "diff")
    assert len(changes) > 4
    for change in changes:
        git(tmp_path, "apply", "-", stdin=change.text)
    assert (tmp_path / "app/views/invites.py").read_text() in _added(changes[2].text)


def _added(change: str) -> str:
    return "".join(line[1:] for line in change.splitlines(keepends=True) if line[0] == "+")


def test_there_are_six_steps() -> None:
    steps = TEXT.partition("in six steps\n")[2].partition("\n## ")[0]
    assert re.findall(r"^\*\*(\d)\. ", steps, re.MULTILINE) == list("123456")


def test_each_file_that_it_names_is_there() -> None:
    rows = "\n".join(line for line in TEXT.splitlines() if line.startswith("| "))
    named = re.findall(r"`((?:app|chart|cluster|tests)/[\w./-]*)`", rows)
    assert len(named) > 20
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_whatever_asks_for_the_notes_is_named() -> None:
    row = TEXT.partition("ask for `/api/notes` |")[2].partition("\n")[0]
    asking = {
        str(path.relative_to(ROOT))
        for folder in ASKING
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", "") and path.is_file() and "/api/notes" in path.read_text("utf-8")
    }
    own = {
        "app/views/notes.py",
        "tests/app/test_notes.py",
        str(Path(__file__).relative_to(ROOT)),
    }
    own |= {"tests/app/test_page.py"}
    assert set(re.findall(r"`([^`]+)`", row)) == asking - own
