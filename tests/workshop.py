"""The labs of docs/workshop, as their pages say them, and what is seen of what they promise."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from tests.pages import ROOT, Block, Walk

FOLDER: Final = "docs/workshop"

#: Of each lab, in order.
PAGES: Final = sorted(str(path.relative_to(ROOT)) for path in (ROOT / FOLDER).glob("[0-9]*.md"))

PARTS: Final = ("Goal", "Commands", "What you should see", "Question", "Way back")

#: In a line that is expected: here stands what is another each time.
ANYTHING: Final = "…"

_PART: Final = re.compile(r"(?m)^## (.*)\n((?:(?!^## ).*\n?)*)")


@dataclass(frozen=True)
class Lab:
    """One page: its parts by their headings, its commands, and what each block of them prints."""

    page: str
    parts: Mapping[str, str]
    commands: tuple[Block, ...]
    #: As many as there are blocks of commands.
    seen: tuple[str, ...]
    way_back: Block

    def __str__(self) -> str:
        """Name it as its file is named."""
        return self.page.removeprefix(f"{FOLDER}/").removesuffix(".md")


def lab(page: str) -> Lab:
    """Read one page.

    :raises AssertionError: it has commands in another place, or more than one way back.
    """
    walk = Walk(page)
    commands, (way_back,) = walk.under("Commands"), walk.under("Way back")
    assert walk.left == [], f"nobody runs {walk.left[0]}"
    parts = dict(_PART.findall((ROOT / page).read_text("utf-8")))
    seen = [block.text for block in Walk(page, "").under("What you should see")]
    return Lab(page, parts, tuple(commands), tuple(seen), way_back)


def missing(expected: str, printed: str) -> str | None:
    """Return the first expected line that does not come in its turn, or None.

    Between the lines that are expected others may stand. How wide a column is says nothing.
    """
    lines = iter(map(_squeezed, printed.splitlines()))
    for line in filter(None, map(_squeezed, expected.splitlines())):
        wanted = _pattern(line)
        if not any(map(wanted.fullmatch, lines)):
            return line
    return None


def here(text: str, cluster: str, port: str) -> str:
    """Return commands, or what they print, for a cluster that is not the default one."""
    for before, after in (
        (".local/cluster/flask-app", f".local/cluster/{cluster}"),
        ("flask-app-control-plane", f"{cluster}-control-plane"),
        ("kind-flask-app", f"kind-{cluster}"),
        ("localhost:8443", f"localhost:{port}"),
    ):
        text = text.replace(before, after)
    return text


def says_something(lines: Iterable[str]) -> bool:
    """Return whether each line would miss something, whatever is left out in it."""
    return all(re.search(r"\w", line.replace(ANYTHING, "")) for line in lines)


def _squeezed(line: str) -> str:
    return " ".join(line.split())


def _pattern(line: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, line.split(ANYTHING))))
