"""docs/architecture.md names what is there, and the arrows between the parts point one way."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")

#: What each part of the service uses of the others.
USES: dict[str, set[str]] = {
    "secret_files": set(),
    "keys": {"secret_files"},
    "settings": {"keys"},
    "keeper": {"secret_files"},
    "session": {"secret_files"},
    "tls": {"secret_files"},
    "logs": {"secret_files"},
    "management": set(),
    "metrics": {"secret_files"},
    "worker": set(),
    "connection": {"secret_files", "settings"},
    "database": {"connection", "secret_files", "settings"},
    "journal": {"secret_files", "database"},
    "views": {"secret_files", "database", "journal", "management"},
}
#: What puts them together.
TOP = {"__init__", "wsgi", "gunicorn.conf"}


def modules(part: str) -> list[Path]:
    """Return the files of a part: one module, or all of a package."""
    folder = ROOT / "app" / part
    return sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]


def used(module: Path) -> set[str]:
    """Return the parts of the service that a module imports, its own included."""
    package = module.relative_to(ROOT).parent.parts
    names = set()
    for node in ast.walk(ast.parse(module.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            start = ".".join([*base, *([node.module] if node.module else [])])
            names |= {f"{start}.{name.name}" for name in node.names}
    return {name.split(".")[1] for name in names if name.startswith("app.")}


def test_every_part_is_known() -> None:
    code = {path.stem for path in (ROOT / "app").glob("*.py")}
    code |= {path.parent.name for path in (ROOT / "app").glob("*/__init__.py")}
    assert code == USES.keys() | TOP


@pytest.mark.parametrize("part", USES)
def test_arrows_point_one_way(part: str) -> None:
    found = set().union(*map(used, modules(part))) - {part}
    assert found == USES[part]


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
