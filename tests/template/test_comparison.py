"""docs/comparison.md says something in every cell, and where each was seen, to the very commit."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "comparison.md").read_text("utf-8")

#: The lines of each table, cell by cell, without its rule.
TABLES = [
    [[cell.strip() for cell in line.strip("|").split("|")] for line in lines.splitlines()]
    for lines in re.findall(r"(?m)((?:^\|.*\n)+)", re.sub(r"(?m)^[-| ]+\n", "", PAGE))
]
#: Where each reference leads to.
PLACES = dict(re.findall(r"(?m)^\[([\w-]+)\]: (\S+)$", PAGE))


def test_every_cell_says_something() -> None:
    assert len(TABLES) == 5
    for heads, *rows in TABLES:
        assert len(rows) > 3
        assert [row for row in rows if len(row) != len(heads)] == []
        assert [row for row in rows if "" in row and row[0] != "a plain `secretKeyRef`"] == []


def test_every_cell_has_its_source() -> None:
    _, secrets, where_secrets, more, where_more = TABLES
    assert [row[0] for row in secrets[1:]] == [row[0] for row in where_secrets[1:]]
    assert [row[0] for row in more[1:]] == [row[0] for row in where_more[1:]]
    assert secrets[0] == where_secrets[0]
    assert where_more[0] == [more[0][0], *more[0][2:]]
    sourceless = {cell for row in where_secrets[1:] + where_more[1:] for cell in row[1:]}
    assert {cell for cell in sourceless if "](" not in cell and "][" not in cell} <= {
        *("no code to look at", "nothing to test", "nothing to run")
    }


def test_every_source_is_a_file_at_the_commit_that_was_looked_at() -> None:
    used = set(re.findall(r"\]\[([\w-]+)\]", PAGE))
    assert used == PLACES.keys()
    assert len(used) > 30
    form = r"https://github\.com/[\w-]+/([\w-]+)/blob/([0-9a-f]{40})/\S+"
    found = {match.groups() for place in PLACES.values() if (match := re.fullmatch(form, place))}
    assert len([place for place in PLACES.values() if re.fullmatch(form, place)]) == len(PLACES)
    said = re.findall(r"`([0-9a-f]{7})`", PAGE)
    assert len(found) == len(said) == 4, "one commit for each project"
    assert {commit[:7] for _, commit in found} == set(said)
