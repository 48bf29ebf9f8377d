"""docs/evidence.md names what is there: files, tests, places and every planted leak."""

from __future__ import annotations

import re
from pathlib import Path

from tests.e2e.planted.everything import EVERYTHING
from tools.leakscan.places import PLACES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "evidence.md").read_text()
PRACTICES = PAGE.partition("\n## ")[0]
TABLE = [line for line in PRACTICES.splitlines() if line.startswith("| ")][2:]
CODE = re.findall(r"`([^`]+)`", "\n".join(TABLE))


def test_every_file_is_there() -> None:
    files = re.findall(r"\]\(([^)#]+)\)", PAGE)
    assert len(files) > 30
    assert [file for file in files if not (ROOT / "docs" / file).exists()] == []


def test_every_planted_leak_stands_in_the_table() -> None:
    assert {plant.name for plant in EVERYTHING} - set(CODE) == set()


def test_every_place_stands_in_the_table() -> None:
    groups = {place.group for place in PLACES}
    named = set()
    group = ""
    for code in CODE:
        first, _, name = code.partition(": ")
        group = first if first in groups else group
        named.add(f"{group}: {name or code}")
    assert {str(place) for place in PLACES} - named == set()


def test_every_test_is_one() -> None:
    tests = {code for code in CODE if code.startswith("test_") and not code.endswith(".py")}
    assert len(tests) > 3
    sources = "".join(path.read_text() for path in (ROOT / "tests" / "e2e").glob("test_*.py"))
    assert {name for name in tests if f"def {name}(" not in sources} == set()


def test_every_practice_has_a_test_that_was_seen_to_fail() -> None:
    cells = [[cell.strip() for cell in line.split("|")] for line in TABLE]
    rows = {practice: leak for _, practice, _, _, leak, *_ in cells}
    assert len(rows) > 12
    assert [practice for practice, leak in rows.items() if not leak] == []
