"""docs/architecture.md names what is there, with the figures of the benchmarks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")


def test_every_part_of_the_tree_is_there() -> None:
    blocks = re.findall(r"(?ms)^```(\w*)\n(.*?)^```$", PAGE)
    (tree,) = (text for language, text in blocks if not language)
    parts = [line.split()[0] for line in tree.splitlines()]
    assert len(parts) > 12
    assert [part for part in parts if not (ROOT / part).exists()] == []


@pytest.mark.parametrize("page", ["architecture.md", "comparison.md"])
def test_figures_are_those_of_the_benchmarks(page: str) -> None:
    measured = set(_figures((ROOT / "docs" / "benchmarks.md").read_text("utf-8")))
    text = (ROOT / "docs" / page).read_text("utf-8")
    named = set(re.findall(r"(?m)^\| ([^|]+?) \|.*\]\(benchmarks\.md\)", text))
    rows = [line for line in text.splitlines() if line[2:].partition(" |")[0] in named]
    figures = _figures("\n".join(rows))
    assert len(figures) >= 4
    assert [one for one in figures if one not in measured] == []


def _figures(text: str) -> list[str]:
    return re.findall(r"\b\d[\d,]*(?:\.\d+)?\b", text)
