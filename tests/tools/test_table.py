"""A table: a line for each row, cells under each other, and nothing that a terminal obeys."""

from __future__ import annotations

from tools.table import Table


def test_cells_stand_under_their_heading_and_figures_end_at_one_place() -> None:
    table = Table(["NAME", "SIZE", "WHAT"], right=[1])
    assert table.begin([["a longer one", "7", "x"], ["b", "1,000", ""]]) == [
        "NAME           SIZE  WHAT",
        "a longer one      7  x",
        "b             1,000",
    ]


def test_a_row_that_comes_later_stands_under_the_same_headings() -> None:
    table = Table(["NAME", "WHAT"], least=[6])
    assert table.begin([]) == ["NAME    WHAT"]
    assert table.row(["a", "b"]) == "a       b"
    # it is not cut
    assert table.row(["a longer one", "b"]) == "a longer one  b"


def test_without_headings_there_are_rows_alone() -> None:
    assert Table(["", ""]).begin([["a", "b"], ["long", "c"]]) == ["a     b", "long  c"]
    assert Table(["", ""]).begin([]) == []


def test_however_wide_it_is_a_row_is_one_line() -> None:
    (row,) = Table(["", ""]).begin([["x" * 500, "y" * 500]])
    assert row == f"{'x' * 500}  {'y' * 500}"


def test_what_moves_the_cursor_is_not_written_and_brackets_are_no_style() -> None:
    (row,) = Table(["", ""]).begin([["a\x1b[2J\nb\tc", "[red]d"]])
    assert row == "a?[2J?b?c  [red]d"


def test_a_character_that_is_two_columns_wide_counts_twice() -> None:
    assert Table(["", ""]).begin([["日本", "x"], ["abcd", "x"]]) == ["日本  x", "abcd  x"]
