"""`make leak-scan` shows on a terminal where it is; its report is the same anywhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.terminal import CTRL_C, terminal

ROOT = Path(__file__).parents[3]

#: The command, with a scan of one place that needs no cluster, and takes as long as it is told.
SCAN = """
import sys, time
from contextlib import contextmanager
from secret_files import Secret
from tools.leakscan import __main__ as command
from tools.leakscan.engine import Place, Sample, scan
from tests.tools.leakscan.nowhere import target_for

seconds = float(sys.argv.pop())

def read(target):
    '''What is harmless.'''
    yield Sample("a file", b"nothing of interest")

class Scan:
    values = []
    def __init__(self, progress):
        self.progress = progress
    def report(self):
        # a signal that comes just before a sleep is heeded after it
        for _ in range(int(seconds * 20)):
            time.sleep(0.05)
        secret = Secret("flask-app-secrets/KEY", "the-value-of-this-test-4f1c")
        return scan(target_for(secret), [Place("group", "place", read)], self.progress)

@contextmanager
def scanning(cluster, progress):
    with progress.step("begin"):
        pass
    yield Scan(progress)

command.scanning = scanning
sys.exit(command.main())
"""


def test_elsewhere_the_report_is_all_that_is_written() -> None:
    command = [sys.executable, "-c", SCAN, "0"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].split() == "PLACE WHAT WAS SEARCHED OBJECTS BYTES VERDICT".split()
    assert lines[-1].startswith("1 values in 1 places, 19 B: 1 clean")


def test_on_a_terminal_each_place_is_told_as_it_is_read() -> None:
    with terminal([sys.executable, "-c", SCAN, "0"], ROOT, {}, columns=100) as shown:
        assert shown.end() == 0
    begin, place, empty, title = shown.screen()[:4]
    assert re.fullmatch(" +[0-9]+ s  begin", begin)
    assert re.fullmatch(" +[0-9]+ s  group: place: clean", place)
    assert not empty
    assert title.startswith("PLACE ")


def test_ctrl_c_ends_it_with_a_sentence() -> None:
    with terminal([sys.executable, "-c", SCAN, "60"], ROOT, {}) as shown:
        shown.wait_for("begin\r\n")
        shown.press(CTRL_C)
        assert shown.end() == 130
        assert shown.left_over() == []
    assert "flask-app was not scanned to the end." in shown.written
    assert "Traceback" not in shown.written
