"""Tables of what was measured, for the terminal and for docs/benchmarks.md."""

from __future__ import annotations

import os
import platform
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

from tools.local.postgres import VERSION

from . import load

LIBRARIES: Final = ("Flask", "Werkzeug", "gunicorn", "SQLAlchemy", "psycopg", "prometheus_client")

#: Of a line of text.
WIDTH: Final = 90


@dataclass(frozen=True)
class Goal:
    """A number that is not to be passed; with `least`, one that has to be reached."""

    limit: float
    unit: str = ""
    least: bool = False

    def cells(self, value: float) -> tuple[str, str]:
        """Return the goal, and whether `value` meets it."""
        words = "at least" if self.least else "at most"
        met = value >= self.limit if self.least else value <= self.limit
        return f"{words} {self.limit:g}{self.unit}", "met" if met else "missed"


#: The cells of what is shown without a goal.
NO_GOAL: Final = ("", "")


@dataclass(frozen=True)
class Table:
    """Some rows that belong together, and what is to be known of them."""

    title: str
    note: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]

    def __str__(self) -> str:
        """Return it as Markdown, which a terminal shows well, too."""
        widths = [max(map(len, column)) for column in zip(self.headings, *self.rows, strict=True)]
        lines = [self.headings, ["-" * width for width in widths], *self.rows]
        drawn = [
            "| " + " | ".join(f"{cell:{width}}" for cell, width in zip(line, widths, strict=True))
            for line in lines
        ]
        return "\n".join(
            [
                f"## {self.title}\n",
                fill(self.note),
                "",
                *(f"{line} |" for line in drawn),
            ]
        )


def introduction(request_rounds: int, start_rounds: int, seconds: int) -> str:
    """Say where and how it was measured."""
    versions = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    paragraphs = (
        f"Written by `make bench`, on {os.cpu_count()} CPUs ({platform.machine()}), with Python "
        f"{platform.python_version()}, {versions} and PostgreSQL {VERSION}.",
        f"Each pair runs in turn: {request_rounds} rounds of requests, {start_rounds} of starts. A "
        "figure is the median of its rounds, and a ratio the median of the ratios of each round; "
        f"half of them lie in the range beside it. Requests come from {load.NAME} on the same "
        f"machine, over {load.CONNECTIONS} connections, for {seconds} s a round; one that fails "
        "ends the run.",
    )
    return "\n\n".join(["# Benchmarks", *map(fill, paragraphs)])


def fill(text: str) -> str:
    """Break a paragraph into lines."""
    return textwrap.fill(text, WIDTH)


def write(path: Path, introduction: str, tables: Sequence[Table]) -> None:
    """Write one part of the page, whose heading `introduction` begins with; the others stay."""
    heading = introduction.splitlines()[0]
    written = path.read_text() if path.exists() else ""
    parts = {
        part.splitlines()[0]: part for part in re.split(r"^(?=# )", written, flags=re.M) if part
    }
    parts[heading] = "\n\n".join([introduction, *map(str, tables)])
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n\n".join(part.strip() for part in parts.values()) + "\n")
