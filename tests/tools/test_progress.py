"""Steps are told when they are done; on a terminal, what is under way is shown, too."""

from __future__ import annotations

import io
import os
import re
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.terminal import COLOUR, CONTROL, CTRL_C, Terminal, terminal
from tools.progress import Progress

ROOT = Path(__file__).parents[2]

#: Two steps at the same time, a line of another kind, and a step alone.
STEPS = """
import sys, time
from tools.progress import Progress
with Progress(sys.stdout) as progress:
    with progress.step("the first") as first:
        with progress.step("the second"):
            time.sleep(float(sys.argv[1]))
        progress.say("something else")
        first.outcome = "well done"
    with progress.step("the last"):
        pass
"""
TOLD = ["the second", "something else", "the first: well done", "the last"]


def run(seconds: float, columns: int = 80, **variables: str) -> AbstractContextManager[Terminal]:
    command = [sys.executable, "-c", STEPS, str(seconds)]
    return terminal(command, ROOT, {"PATH": os.environ["PATH"], **variables}, columns)


def texts(lines: list[str]) -> list[str]:
    """Return what is told, without the seconds."""
    return [re.sub(r"^ +[0-9]+ s  ", "", line) for line in lines if line]


def test_elsewhere_each_step_is_a_plain_line() -> None:
    stream = io.StringIO()
    with Progress(stream) as progress:
        with progress.step("the first") as first, progress.step("the second"):
            first.outcome = "well done"
        progress.say("something else")
    assert (
        stream.getvalue() == "    0 s  the second\n    0 s  the first: well done\nsomething else\n"
    )


def test_without_a_stream_nothing_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    with Progress() as progress, progress.step("the first"):
        progress.say("something else")
    assert capfd.readouterr() == ("", "")


def test_what_does_not_end_well_is_told_so() -> None:
    stream = io.StringIO()
    with Progress(stream) as progress:
        for problem in (ValueError, KeyboardInterrupt):
            with pytest.raises(problem), progress.step("the first"):
                raise problem
    assert texts(stream.getvalue().splitlines()) == ["the first: failed", "the first: interrupted"]


def test_on_a_terminal_what_is_under_way_counts_its_seconds() -> None:
    with run(2.5) as shown:
        assert shown.end() == 0
    under_way = (
        r"\r    0 s  the first, the second \.\.\..*\r    [12] s  the first, the second \.\.\."
    )
    assert re.search(under_way, shown.written)
    assert texts(shown.screen()) == TOLD
    assert COLOUR.search(shown.written) is None


def test_steps_that_end_as_they_begin_have_a_line_each_and_nothing_else() -> None:
    script = STEPS.partition("    with ")[0]
    script += """
    for number in range(100):
        with progress.step(f"number {number}"):
            pass
    progress.finish()
"""
    command = [sys.executable, "-c", script]
    with terminal(command, ROOT, {"PATH": os.environ["PATH"]}) as shown:
        assert shown.end() == 0
        assert shown.left_over() == []
    assert texts(shown.screen()) == [*(f"number {number}" for number in range(100)), "in all"]


def test_a_dumb_terminal_has_plain_lines() -> None:
    with run(0, TERM="dumb") as shown:
        assert shown.end() == 0
    assert texts(shown.screen()) == TOLD
    assert CONTROL.search(shown.written.replace("\r\n", "\n")) is None


def test_what_is_rewritten_fits_a_narrow_terminal() -> None:
    with run(0, columns=20) as shown:
        assert shown.end() == 0
    rewritten = re.findall(r"\r([^\r\n]+)\x1b\[K", shown.written)
    assert max(map(len, rewritten)) == 19
    assert texts(shown.screen()) == TOLD


def test_ctrl_c_ends_it_and_says_what_was_under_way() -> None:
    with run(60) as shown:
        shown.wait_for(r"[1-9] s  the first, the second \.\.\.")
        shown.press(CTRL_C)
        assert shown.end() == 130
    assert " s  the first: interrupted" in shown.written
    assert shown.left_over() == []
