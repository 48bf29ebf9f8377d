"""What stands in the blocks of the project's pages: commands, in the language `sh`, and changes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]

#: Their paths from the project's root.
PAGES: Final = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("*.md", "docs/**/*.md", "chart/README.md")
    for path in ROOT.glob(pattern)
)

_PIECE: Final = re.compile(
    r"^#+ (?P<heading>[^\n]*)$|^(?P<margin> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=margin)```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """One block, as it stands in its page."""

    page: str
    #: The text of the heading above it.
    heading: str
    #: The line on which its text begins.
    line: int
    text: str

    def __str__(self) -> str:
        """Say where it stands."""
        return f"{self.page}:{self.line}"


def blocks(page: str, *languages: str) -> list[Block]:
    """Return the blocks of one page, in order: those of `sh`, if no other language is named."""
    text = (ROOT / page).read_text("utf-8")
    found, heading = [], ""
    for piece in _PIECE.finditer(text):
        heading = piece["heading"] or heading
        if piece["language"] in (languages or ("sh",)):
            line = text.count("\n", 0, piece.start("text")) + 1
            lines = re.sub(rf"(?m)^{piece['margin']}", "", piece["text"])
            found.append(Block(page, heading, line, lines))
    return found


class Walk:
    """One page, block by block: `left` is what nobody has taken yet, to run it."""

    def __init__(self, page: str, *languages: str) -> None:
        self._blocks = blocks(page, *languages)
        self.left = list(self._blocks)

    def under(self, heading: str) -> list[Block]:
        """Take the blocks under that heading.

        :raises AssertionError: there is none.
        """
        found = [block for block in self._blocks if block.heading == heading]
        assert found, f"no commands under {heading}"
        self.left = [block for block in self.left if block not in found]
        return found
