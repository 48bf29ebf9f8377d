"""Tables for people: a row is one line, however wide, so that a table can be searched and cut.

On a terminal, too. rich measures the cells; its own Table would take 0.7 ms a row, and an audit log
has thousands.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.cells import cell_len


class Table:
    """Columns, which are as wide as the rows that they begin with.

    :param headings: of the columns, or "" for each where there are none.
    :param least: how wide each is at least, for rows that come later.
    :param right: the numbers of those whose cells end at the same place, as figures do.
    """

    def __init__(
        self, headings: Sequence[str], least: Sequence[int] = (), right: Sequence[int] = ()
    ) -> None:
        self._headings = headings
        self._widths = [*least, *[0] * (len(headings) - len(least))]
        self._right = right

    def begin(self, rows: Iterable[Sequence[str]]) -> list[str]:
        """Return a line with the headings, if there are any, and one for each row."""
        rows = [self._headings, *rows] if any(self._headings) else [*rows]
        for row in rows:
            lengths = (cell_len(printable(cell)) for cell in row)
            self._widths = [max(pair) for pair in zip(self._widths, lengths, strict=True)]
        return [self.row(row) for row in rows]

    def row(self, cells: Sequence[str]) -> str:
        """Return a line for a row that comes later."""
        return "  ".join(map(self._fit, range(len(self._widths)), cells)).rstrip()

    def _fit(self, number: int, cell: str) -> str:
        text = printable(cell)
        space = " " * (self._widths[number] - cell_len(text))
        return space + text if number in self._right else text + space


def printable(text: str) -> str:
    """Return a text without what would move a terminal's cursor."""
    return "".join(one if one.isprintable() else "?" for one in text)
